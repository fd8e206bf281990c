"""A site: its authority, its registered desks, its clock, and both brokers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sipgate.core.events import Event
from sipgate.workstations.broker import EmbeddedBroker
from sipgate.workstations.link import MqttVersion, WorkstationLink
from sipgate.workstations.pki import Authority
from tests.peers.mosquitto import Mosquitto, free_port
from tests.peers.workstation import Workstation, signing_request

NAMES = ("localhost", "127.0.0.1")
_PATIENCE = 10.0


class Site:
    """What the server knows, and what its link has told it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder / "keys")
        self.registered: dict[str, bytes] = {}
        self.said: list[Event] = []
        self._changed = asyncio.Condition()
        self._started_ns = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        """The server's steady clock."""
        return self._started_ns + time.monotonic_ns()

    def desk(self, name: str, *, registered: bool = True, skew_ns: int = -7_000_000_000) -> Workstation:
        """A new workstation with a certificate of this site."""
        key = Ed25519PrivateKey.generate()
        certificate = self.authority.sign_csr(signing_request(key, "sipgate"), name)
        public = self.authority.command_key.public_key()
        desk = Workstation(
            name, self.folder / "desks", self.authority.ca_pem, key, certificate, public, skew_ns=skew_ns
        )
        if registered:
            self.registered[name] = desk.public_key
        return desk

    def emit(self, event: Event) -> None:
        """What the link is given to say events to."""
        self.said.append(event)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait, bounded, until something outside this process has made it so."""
        async with asyncio.timeout(_PATIENCE):
            while not holds():
                await asyncio.sleep(0.005)

    def link(self, port: int, version: MqttVersion = "3.1.1") -> WorkstationLink:
        """The server's link, not yet running."""
        return WorkstationLink(
            "127.0.0.1",
            port,
            self.authority.link_ssl_context(),
            self.authority.command_key,
            self.registered.get,
            self.now_ns,
            self.emit,
            version,
        )

    @asynccontextmanager
    async def running(self, link: WorkstationLink) -> AsyncIterator[WorkstationLink]:
        """The link, connected."""
        task = asyncio.create_task(link.run())
        try:
            await self.until(lambda: link.connected() or task.done())
            yield link
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(params=["mosquitto", "embedded"])
async def broker(request: pytest.FixtureRequest, site: Site) -> AsyncIterator[Mosquitto | EmbeddedBroker]:
    """Each of the two brokers, running."""
    found: Mosquitto | EmbeddedBroker
    if request.param == "mosquitto":
        found = Mosquitto(site.folder, site.authority)
    else:
        found = EmbeddedBroker("127.0.0.1", free_port(), site.authority.broker_ssl_context(NAMES))
    await found.start()
    try:
        yield found
    finally:
        await found.stop()
