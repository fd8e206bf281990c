"""The server's side of filming with its real parts: authority, mosquitto, link, vault, uploads over HTTPS.

Only the register and the conductor are left out: a test says itself what they would.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

from capture_client.protocol import FilmState, command_topic
from sipgate.core.events import Event
from sipgate.core.policy import FilmPlan
from sipgate.errors import WorkstationError
from sipgate.vault.vault import Vault
from sipgate.workstations.link import WorkstationLink
from sipgate.workstations.pki import Authority
from sipgate.workstations.uploads import WorkstationParts, workstation_routes
from tests.peers.mosquitto import Mosquitto

NAMES = ("localhost", "127.0.0.1")
WORKSTATION = "desk-1"
_SECONDS = 20.0


@dataclass
class FilmServer:
    """Make it with ``film_server``. Its clock is two days ahead of the workstation's."""

    folder: Path
    authority: Authority = field(init=False)
    vault: Vault = field(init=False)
    broker: Mosquitto = field(init=False)
    link: WorkstationLink = field(init=False)
    port: int = 0
    codes: dict[str, str] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    filmed: dict[str, str] = field(default_factory=dict)
    said: list[Event] = field(default_factory=list)
    films: list[FilmState] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)
    unreachable: bool = False
    """Answer every upload with 503."""

    def __post_init__(self) -> None:
        self.authority = Authority(self.folder / "authority")
        self.vault = Vault(self.folder / "data", self.folder / "keys")
        self.broker = Mosquitto(self.folder, self.authority)
        self._ahead_ns = 2 * 86_400_000_000_000 + time.time_ns() - time.monotonic_ns()
        self.link = WorkstationLink(
            "127.0.0.1",
            self.broker.port,
            self.authority.link_ssl_context(),
            self.authority.command_key,
            self.keys.get,
            self.now_ns,
            self.said.append,
            on_film=lambda _, state: self.films.append(state),
        )

    def now_ns(self) -> int:
        """The server's steady clock."""
        return self._ahead_ns + time.monotonic_ns()

    @property
    def wall_ahead_ns(self) -> int:
        """How far the server's clock is ahead of the wall clock, which the demo's window shows."""
        return self.now_ns() - time.time_ns()

    @property
    def url(self) -> str:
        """The HTTPS server's."""
        return f"https://localhost:{self.port}"

    def code(self) -> str:
        """A fresh enrolment code."""
        secret = secrets.token_hex(8)
        self.codes[secret] = WORKSTATION
        return f"{secret}-{self.authority.fingerprint}"

    def start_film(self, application: str = "class=SipgateDemo") -> tuple[str, int]:
        """A call was answered just now: its recording and the answer's time."""
        recording = secrets.token_hex(16)
        keys = self.vault.create(recording)
        self.filmed[recording] = WORKSTATION
        answered_at_ns = self.now_ns()
        self.link.start_film(recording, FilmPlan(WORKSTATION, application, 10), keys.film_public, answered_at_ns)
        return recording, answered_at_ns

    def discard(self, recording: str) -> None:
        """As the service does: the key first."""
        self.filmed.pop(recording, None)
        self.vault.destroy(recording)

    @asynccontextmanager
    async def renewing(self, recording: str, every: float = 0.3) -> AsyncIterator[None]:
        """While the call lives."""

        async def renew() -> None:
            while True:
                self.link.renew_film(recording, WORKSTATION)
                await asyncio.sleep(every)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def publish(self, payload: bytes) -> None:
        """Anything at all, as a command: what a hostile broker could do."""
        client = self.link._client
        assert client is not None
        await client.publish(command_topic(WORKSTATION), payload, qos=1)

    def segments(self, recording: str) -> list[Path]:
        """What was uploaded."""
        return sorted((self.vault.folder(recording) / "film").glob("*/*.seg"))

    def state(self, recording: str, state: str) -> FilmState | None:
        """The client's report of this state, if it came."""
        return next((s for s in self.films if (s.recording, s.state) == (recording, state)), None)

    async def until(self, holds: Callable[[], object], what: str, seconds: float = _SECONDS) -> None:
        """Wait, bounded, for what another process does."""
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"no {what} within {seconds} s") from None

    async def until_ready(self) -> None:
        """The workstation can be commanded."""
        await self.until(lambda: any(s.ready for s in self.link.states()), "workstation")

    def parts(self) -> WorkstationParts:
        """What the routes stand on."""
        return WorkstationParts(
            authority=self.authority,
            store=self.vault,
            filmed_by=self.filmed.get,
            workstation_key=self.keys.get,
            redeem=self._redeem,
            set_certificate=lambda name, key, _: self.keys.update({name: key}),
            now_ns=self.now_ns,
            mqtt_host="localhost",
            mqtt_port=self.broker.port,
            on_part=self.whole.append,
        )

    def _redeem(self, secret: str, _: int) -> str:
        if secret not in self.codes:
            raise WorkstationError("wrong, used or expired code")
        return self.codes.pop(secret)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The routes behind uvicorn, with the authority's certificate."""
        app = FastAPI()
        app.include_router(workstation_routes(self.parts()))

        async def cut_off(request: Request, go_on: RequestResponseEndpoint) -> Response:
            refused = self.unreachable and request.method == "PUT"
            return Response(status_code=503) if refused else await go_on(request)

        app.add_middleware(BaseHTTPMiddleware, dispatch=cut_off)
        certificate, key = self.authority.server_certificate(NAMES)
        config = uvicorn.Config(app, ssl_certfile=certificate, ssl_keyfile=key, log_config=None, lifespan="off")
        with socket.create_server(("127.0.0.1", self.port)) as listening:
            self.port = listening.getsockname()[1]
            running = uvicorn.Server(config)
            thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
            thread.start()
            try:
                yield
            finally:
                running.should_exit = True
                thread.join(10)


@asynccontextmanager
async def film_server(folder: Path) -> AsyncIterator[FilmServer]:
    """A server that a client can be enrolled with, and its link, running."""
    folder.mkdir()
    server = FilmServer(folder)
    await server.broker.start()
    with server.serving():
        task = asyncio.create_task(server.link.run())
        try:
            await server.until(server.link.connected, "link")
            yield server
        finally:
            task.cancel()
            await asyncio.wait([task])
            await server.broker.stop()
