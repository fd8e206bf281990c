"""A recording client over UDP or TCP, request by request, that remembers all it sent and heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.peers.sip_messages import MIXED, field_of, recording_body, request, status_of, tag_of


@dataclass
class Sent:
    """What the client sent of one transport: the requests' (Call-ID, CSeq, method), and the answers by Call-ID."""

    port: int
    requests: list[tuple[str, str]] = field(default_factory=list)
    answers: dict[str, list[bytes]] = field(default_factory=dict)


class Client:
    """A recording client over UDP or TCP, request by request; everything of one call under its name."""

    def __init__(self, transport: str, own: str, write: Callable[[bytes], None], sent: Sent) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.write = write
        self._transport, self._own, self._sent = transport, own, sent

    async def ask(
        self, call: str, method: str, sequence: int, body: bytes = b"", kind: str = MIXED, **more: str
    ) -> int:
        """Send, wait for the final response; a response to INVITE is acknowledged. Its status."""
        answers = self._sent.answers.setdefault(call, [])
        self._emit(call, method, sequence, body, kind, **more)
        while status_of(answer := await self._next(f"{sequence} {method}")) < 200:
            pass
        answers.append(answer)
        if method == "INVITE":
            branch = more.get("branch") or f"z9hG4bK{call}{sequence}INVITE"
            branch = branch if status_of(answer) >= 300 else f"{branch}ACK"
            self._emit(call, "ACK", sequence, more.get("ack", "").encode(), "application/sdp", branch=branch)
        return status_of(answer)

    async def cancelled(self, call: str) -> int:
        """An INVITE that is cancelled once it has got a 100; the status of the INVITE."""
        answers = self._sent.answers.setdefault(call, [])
        self._emit(call, "INVITE", 1, recording_body(), MIXED)
        assert status_of(await self._next("1 INVITE")) == 100
        self._emit(call, "CANCEL", 1, b"", MIXED, branch=f"z9hG4bK{call}1INVITE")
        assert status_of(await self._next("1 CANCEL")) == 200
        answers.append(await self._next("1 INVITE"))
        self._emit(call, "ACK", 1, b"", MIXED, branch=f"z9hG4bK{call}1INVITE")
        return status_of(answers[0])

    async def expect(self, method: str) -> bytes:
        """A request of the server's."""
        async with asyncio.timeout(5):
            while not (message := await self.received.get()).startswith(method.encode() + b" "):
                pass
        return message

    def answer(self, message: bytes, status: str = "200 OK") -> None:
        """A response to a request of the server's."""
        names = ("Via", "From", "To", "Call-ID", "CSeq")
        lines = [f"{name}: {field_of(message, name)}" for name in names]
        self.write("\r\n".join([f"SIP/2.0 {status}", *lines, "Content-Length: 0", "", ""]).encode())

    def _emit(self, call: str, method: str, sequence: int, body: bytes, kind: str, **more: str) -> None:
        answers = self._sent.answers.get(call)
        tag = more.get("tag") or (tag_of(field_of(answers[0], "To")) if answers else "")
        tag = "" if method == "CANCEL" else tag
        self._sent.requests.append((call, f"{sequence} {method}"))
        data = request(
            method,
            branch=more.get("branch") or f"z9hG4bK{call}{sequence}{method}",
            sent_by=self._own,
            transport=self._transport.upper(),
            call_id=call,
            to_tag=tag or None,
            sequence=sequence,
            extra=[more["extra"]] if "extra" in more else [],
            body=body,
            content_type=kind if body else None,
        )
        self.write(data)

    async def _next(self, sequence: str) -> bytes:
        async with asyncio.timeout(5):
            while field_of(message := await self.received.get(), "CSeq") != sequence:
                pass
        return message


class _Reader(asyncio.DatagramProtocol, asyncio.Protocol):
    """Whole messages of either transport."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self._buffer = b""

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.messages.put_nowait(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            whole = end + 4 + int(field_of(self._buffer[: end + 4], "Content-Length"))
            if len(self._buffer) < whole:
                return
            self.messages.put_nowait(self._buffer[:whole])
            self._buffer = self._buffer[whole:]


@asynccontextmanager
async def conversing(transport: str, sent: Sent) -> AsyncIterator[Client]:
    """A client of ``sent.port``; whom it heard and what it sent stays in ``sent``."""
    loop, reader = asyncio.get_running_loop(), _Reader()
    write: Callable[[bytes], None]
    used: asyncio.BaseTransport
    if transport == "udp":
        datagrams, _ = await loop.create_datagram_endpoint(lambda: reader, remote_addr=("127.0.0.1", sent.port))
        used, write = datagrams, datagrams.sendto
    else:
        stream, _ = await loop.create_connection(lambda: reader, "127.0.0.1", sent.port)
        used, write = stream, stream.write
    own = used.get_extra_info("sockname")
    client = Client(transport, f"{own[0]}:{own[1]}", write, sent)
    reader.messages = client.received
    try:
        yield client
    finally:
        used.close()
