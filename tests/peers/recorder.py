"""A SIPREC tap on free ports of 127.0.0.1 with a scripted service behind it, and a plain UDP client of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar, cast

from sipgate import config
from sipgate.core.events import Event, Offered, StreamsChanged
from sipgate.taps.siprec import SiprecTap

E = TypeVar("E")
Decide = Callable[["Recorder", Offered], None]
Restream = Callable[["Recorder", StreamsChanged], None]


def accept(recorder: Recorder, offered: Offered) -> None:
    """Accept with one even port for each stream, from 30000 on."""
    recorder.tap.accept(offered.session, [30000 + 2 * index for index in range(len(offered.streams))])


def refuse(recorder: Recorder, offered: Offered) -> None:
    """Refuse as policy does."""
    recorder.tap.refuse(offered.session)


def restreamed(recorder: Recorder, changed: StreamsChanged) -> None:
    """Answer at once with other ports, from 30100 on."""
    recorder.tap.restreamed(changed.session, [30100 + 2 * index for index in range(len(changed.streams))])


def unanswered(recorder: Recorder, changed: StreamsChanged) -> None:
    """Nobody takes the change up."""


def wait(recorder: Recorder, offered: Offered) -> None:
    """Answer later, or never."""


class Recorder:
    """The tap, what it emitted, and how a service would react."""

    def __init__(
        self,
        decide: Decide,
        restream: Restream,
        begins: str,
        peers: str,
        listen: Sequence[Mapping[str, object]] = (),
        connections: Sequence[Mapping[str, object]] = (),
        capacity: int = 5000,
    ) -> None:
        self.events: list[Event] = []
        self._decide = decide
        self._restream = restream
        self._news = asyncio.Event()
        connection: dict[str, object] = {
            "name": "pbx",
            "addresses": [peers],
            "begins": begins,
            "announcement": "before-answer",
        }
        siprec = config.Siprec.model_validate(
            {
                "listen": [{"port": 0}, {"transport": "tcp", "port": 0}, *listen],
                "connection": [{**connection, **other} for other in connections or [{}]],
                "capacity": capacity,
            }
        )
        self.tap = SiprecTap(siprec, "FR", "127.0.0.1", time.time_ns, self._emit)

    def port(self, transport: str) -> int:
        """The port that listens."""
        return next(port for kind, _, port in self.tap.bound if kind == transport)

    def all(self, kind: type[E]) -> list[E]:
        """Every event of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[E], number: int = 1) -> E:
        """The ``number``-th event of a kind, at most 5 s from now."""
        async with asyncio.timeout(5):
            while len(found := self.all(kind)) < number:
                self._news.clear()
                await self._news.wait()
        return found[number - 1]

    def _emit(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()
        if isinstance(event, Offered):
            self._decide(self, event)
        elif isinstance(event, StreamsChanged):
            self._restream(self, event)


@asynccontextmanager
async def recorder(
    decide: Decide = accept,
    *,
    restream: bool | Restream = True,
    begins: str = "answer",
    peers: str = "127.0.0.0/8",
    listen: Sequence[Mapping[str, object]] = (),
    connections: Sequence[Mapping[str, object]] = (),
    capacity: int = 5000,
) -> AsyncIterator[Recorder]:
    """A recorder that listens over UDP, TCP and ``listen``. ``connections``: what each has unlike the usual one."""
    chosen = restream if callable(restream) else restreamed if restream else unanswered
    found = Recorder(decide, chosen, begins, peers, listen, connections, capacity)
    await found.tap.start()
    try:
        yield found
    finally:
        await found.tap.stop()


class UdpClient(asyncio.DatagramProtocol):
    """Sends messages as they are, and hands out what comes back."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport | None = None
        self.sent_by = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        self.transport = cast("asyncio.DatagramTransport", transport)
        host, port = transport.get_extra_info("sockname")
        self.sent_by = f"{host}:{port}"

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Something came."""
        self.received.put_nowait(data)

    def send(self, data: bytes) -> None:
        """Send one datagram."""
        assert self.transport is not None
        self.transport.sendto(data)

    async def answer(self) -> bytes:
        """The next message, at most 5 s from now."""
        async with asyncio.timeout(5):
            return await self.received.get()

    async def ask(self, data: bytes) -> bytes:
        """Send, and wait for the next message."""
        self.send(data)
        return await self.answer()


@asynccontextmanager
async def udp_client(port: int) -> AsyncIterator[UdpClient]:
    """A client whose peer is 127.0.0.1:port."""
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_datagram_endpoint(UdpClient, remote_addr=("127.0.0.1", port))
    try:
        yield client
    finally:
        transport.close()
        await asyncio.sleep(0)
