"""UDP, TCP and TLS: the thin asyncio shell around ``UserAgentServer``.

Peers that are not let in get no answer at all: their datagrams are dropped unread, their connections closed at once
(over TLS after the handshake, which shows who they are).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import cast

from sipgate.sip.call import UasEvent
from sipgate.sip.framing import PONG, Framer
from sipgate.sip.message import Flow
from sipgate.sip.timers import T1
from sipgate.sip.uas import UserAgentServer

Bound = tuple[str, str, int]

_LARGEST = 65_535  # bytes of a datagram
_AT_ONCE = 16  # datagrams, before connections and timers have their turn
_RECEIVE_BUFFER = 4 << 20  # bytes: a second of 1000 INVITEs, should the loop be busy
_PARTIAL_SECONDS = 64 * T1 / 1e9  # a message that has begun must end within it
_HANDSHAKE_SECONDS = 10.0
_KEEP_ALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))  # a dead peer shows in about 11 s


class SipTransport:
    """Sockets of one server. ``handle`` gets what messages and timers meant, with the time at which they came."""

    def __init__(
        self,
        uas: UserAgentServer,
        now_ns: Callable[[], int],
        admits: Callable[[Flow], bool],
        handle: Callable[[list[UasEvent], int], None],
        lost: Callable[[Flow], None],
        names_of: Callable[[Mapping[str, object] | None], frozenset[str]] = lambda _: frozenset(),
    ) -> None:
        self.uas = uas
        self.now_ns = now_ns
        self.admits = admits
        self.names_of = names_of
        self.lost = lost
        self.bound: tuple[Bound, ...] = ()
        self._handle = handle
        self._channels = count(1)
        self._listeners: dict[int, Bound] = {}
        self._datagrams: dict[int, _Datagrams] = {}
        self._servers: list[asyncio.Server] = []
        self._connections: dict[int, asyncio.Transport] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._closing = False

    async def bind(self, transport: str, address: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen; ``tls`` for transport "tls". Raises OSError when the port is taken or the address is not ours."""
        channel = next(self._channels)
        if transport == "udp":
            listening = udp_socket(address, port)
            self._datagrams[channel] = _Datagrams(self, channel, listening)
        else:
            loop = asyncio.get_running_loop()
            timeout = None if tls is None else _HANDSHAKE_SECONDS
            server = await loop.create_server(
                lambda: _Connection(self, transport, channel), address, port, ssl=tls, ssl_handshake_timeout=timeout
            )
            self._servers.append(server)
            listening = server.sockets[0]
        name = listening.getsockname()
        self._listeners[channel] = (transport, name[0], name[1])
        self.bound = (*self.bound, (transport, name[0], name[1]))

    async def close(self) -> None:
        """Send what is left, then close every socket."""
        self.flush()
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        for server in self._servers:
            server.close()
        for datagrams in self._datagrams.values():
            datagrams.close()
        for connection in self._connections.values():
            connection.close()
        await asyncio.sleep(0)  # asyncio closes the sockets in the loop's next round

    def local(self, flow: Flow) -> Bound:
        """Where a flow's messages are heard: transport, address and port of the listener."""
        if flow.channel in self._listeners:
            return self._listeners[flow.channel]
        connection = self._connections.get(flow.channel)
        name = connection.get_extra_info("sockname") if connection is not None else None
        if name is not None:
            return flow.transport, name[0], name[1]
        return next((b for b in self.bound if b[0] == flow.transport), (flow.transport, "0.0.0.0", 5060))

    def take(self, data: bytes, flow: Flow) -> None:
        """One whole message has come."""
        now = self.now_ns()
        events = self.uas.receive(data, flow, now)
        if events:
            self._handle(events, now)
        self.flush()

    def flush(self) -> None:
        """Send what waits, and be woken for the next timer."""
        for data, flow in self.uas.outgoing():
            datagrams = self._datagrams.get(flow.channel)
            if datagrams is not None:
                datagrams.send(data, (flow.address, flow.port))
            elif (connection := self._connections.get(flow.channel)) is not None:
                connection.write(data)
        self._wake()

    def opened(self, connection: asyncio.Transport) -> int:
        """A connection has been let in; returns its channel."""
        channel = next(self._channels)
        self._connections[channel] = connection
        return channel

    def closed(self, flow: Flow) -> None:
        """A connection is gone."""
        self._connections.pop(flow.channel, None)
        if self._closing:
            return
        now = self.now_ns()
        events = self.uas.flow_lost(flow, now)
        if events:
            self._handle(events, now)
        self.lost(flow)
        self.flush()

    def _wake(self) -> None:
        at = self.uas.next_timer()
        if at is None or self._closing or (self._timer is not None and self._timer_at <= at):
            return  # waking too early only finds nothing to do
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        delay = max(0, at - self.now_ns()) / 1e9
        self._timer = asyncio.get_running_loop().call_later(delay, self._run_timers)

    def _run_timers(self) -> None:
        self._timer = None
        now = self.now_ns()
        events = self.uas.handle_timer(now)
        if events:
            self._handle(events, now)
        self.flush()


def udp_socket(address: str, port: int) -> socket.socket:
    """A bound socket that never blocks. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


class _Datagrams:
    """One UDP socket. It is read here, as asyncio's own transport takes one datagram for every round of its loop."""

    def __init__(self, shell: SipTransport, channel: int, sock: socket.socket) -> None:
        self._shell, self._channel, self._socket = shell, channel, sock
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._read)

    def send(self, data: bytes, address: tuple[str, int]) -> None:
        """Send, or lose it, as datagrams may be lost: SIP repeats what matters."""
        with suppress(OSError):
            self._socket.sendto(data, address)

    def close(self) -> None:
        """Close the socket."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, address = self._socket.recvfrom(_LARGEST)
            except OSError:  # nothing waits; or an ICMP message about what was sent, which is cleared by being read
                return
            self._received(data, address)

    def _received(self, data: bytes, address: tuple[str, int]) -> None:
        """One datagram is one message; a blank one is a keep-alive."""
        flow = Flow("udp", self._channel, address[0], address[1])
        if self._shell.admits(flow) and not data.isspace():
            self._shell.take(data, flow)


class _Connection(asyncio.Protocol):
    """One connection, over TCP or TLS."""

    def __init__(self, shell: SipTransport, kind: str, channel: int) -> None:
        self._shell = shell
        self._framer = Framer()
        self._flow = Flow(kind, channel, "", 0)
        self._transport: asyncio.Transport | None = None
        self._overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the peer in, or close."""
        peer = transport.get_extra_info("peername")
        if peer is not None:
            names = self._shell.names_of(transport.get_extra_info("peercert"))
            self._flow = replace(self._flow, address=peer[0], port=peer[1], names=names)
        if peer is None or not self._shell.admits(self._flow):
            transport.close()
            return
        self._transport = cast("asyncio.Transport", transport)
        self._flow = replace(self._flow, channel=self._shell.opened(self._transport))
        stream: socket.socket = transport.get_extra_info("socket")
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE:
            if hasattr(socket, option):
                stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def data_received(self, data: bytes) -> None:
        """Cut into messages; a stream whose frame is lost is answered 400 and closed."""
        if self._transport is None:
            return
        for message in self._framer.feed(data):
            self._shell.take(message, self._flow)
        if self._framer.pings:
            self._transport.write(PONG * self._framer.pings)
            self._framer.pings = 0
        if self._framer.broken is not None:
            self._shell.uas.refuse_unframed(*self._framer.broken, self._flow)
            self._shell.flush()
            self._transport.close()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._overdue is not None:
            self._overdue.cancel()
        if self._transport is not None:
            self._transport = None
            self._shell.closed(self._flow)

    def _watch(self) -> None:
        if not self._framer.partial and self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        elif self._framer.partial and self._overdue is None and self._transport is not None:
            self._overdue = asyncio.get_running_loop().call_later(_PARTIAL_SECONDS, self._transport.close)
