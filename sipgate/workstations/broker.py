"""The broker for a first try: amqtt, embedded, behind a door of our own.

amqtt 0.12.1 asks for client certificates without requiring them, deletes a session by its client id before it
authenticates anybody, sends Last Wills past its access rules, hands every new client the retained messages of
everybody's subscriptions, and never gives up on a frozen client. So nothing of it listens: we accept TLS connections
ourselves (certificate required), rewrite CONNECT (``admission``), pass on whole packets only, cut off who exceeds the
keep alive (MQTT 3.1.1 §3.1.2.10), and give amqtt the rest as an "external" listener. Two of its inner methods are
replaced, which is why its version is pinned; tests/workstations runs the same tests against it and against mosquitto.

It keeps nothing on disk and logs nothing: topics and payloads are nobody's business. For more than a first try
put mosquitto in its place (deploy/mosquitto).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig, ListenerType
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from sipgate.errors import ConfigurationError, SipgateError, WorkstationError
from sipgate.workstations import admission
from sipgate.workstations.admission import Doing, Peer
from sipgate.workstations.pki import SERVER_NAME, SERVER_UNIT

_LISTENER = "default"
_CONNECT_SECONDS = 10.0
_PACKETS_PER_SECOND = 200
_STOP_SECONDS = 3.0
_WRONG_VERSION = b"\x20\x02\x00\x01"
_DOING = {Action.SUBSCRIBE: Doing.SUBSCRIBE, Action.PUBLISH: Doing.PUBLISH, Action.RECEIVE: Doing.RECEIVE}


def peer_of(certificate: ssl.SSLObject | None) -> Peer | None:
    """Who shows this (verified) certificate; None when it shows none, or it names nobody."""
    found = certificate.getpeercert() if certificate is not None else None
    if not found:
        return None
    subject: dict[str, str] = {}
    for names in found.get("subject", ()):
        for pair in names:  # a relative name may hold several pairs
            subject[str(pair[0])] = str(pair[1])
    name, unit = subject.get("commonName", ""), subject.get("organizationalUnitName", "")
    if not name or (name == SERVER_NAME) != (unit == SERVER_UNIT):
        return None
    return Peer(name, unit == SERVER_UNIT)


class CertificateOnly(BaseAuthPlugin):
    """amqtt's own gate behind ours: no certificate, or another's client id, and the answer is no."""

    async def authenticate(self, *, session: Session) -> bool:
        peer = peer_of(session.ssl_object)
        return peer is not None and peer.name == session.client_id


class _GuardedBroker(Broker):
    """amqtt with our access rules, asked without yielding: it iterates over what others change meanwhile."""

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        peer = peer_of(session.ssl_object)
        return peer is not None and peer.may(_DOING[action], topic)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        # amqtt calls this with everybody's subscriptions for every new client.
        if any(found.client_id == session.client_id for found, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)


@dataclass(frozen=True, slots=True, eq=False)
class _Connection:
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class EmbeddedBroker:
    """One TLS listener and the broker behind it."""

    def __init__(
        self, address: str, port: int, ssl_context: ssl.SSLContext, admits: Callable[[str], bool] = lambda _: True
    ) -> None:
        """``ssl_context`` is the authority's ``broker_ssl_context``; ``admits`` says whether a workstation of this
        name is still registered. Port 0 takes any free one."""
        self._address, self._port = address, port
        self._ssl_context = ssl_context
        self._admits = admits
        self._broker: Broker | None = None
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None], _Connection] = {}
        self._connections: dict[str, _Connection] = {}

    @property
    def port(self) -> int:
        """The port really bound."""
        return self._port

    async def start(self) -> None:
        """Listen. Raises ConfigurationError when the port is taken."""
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        listeners = {_LISTENER: ListenerConfig(type=ListenerType.EXTERNAL)}
        plugins: dict[str, dict[str, str]] = {f"{CertificateOnly.__module__}.{CertificateOnly.__qualname__}": {}}
        self._broker = _GuardedBroker(BrokerConfig(listeners=listeners, plugins=plugins))
        await self._broker.start()
        try:
            self._server = await asyncio.start_server(
                self._accept,
                self._address,
                self._port,
                ssl=self._ssl_context,
                ssl_shutdown_timeout=1.0,
                ssl_handshake_timeout=_CONNECT_SECONDS,
            )
        except OSError as error:
            await self._broker.shutdown()
            self._broker = None
            raise ConfigurationError(f"mqtt.port: {self._port} cannot be listened on: {error.strerror}") from error
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut everybody off, and stop. Idempotent."""
        if self._server is None or self._broker is None:
            return
        self._server.close()
        for connection in self._serving.values():
            connection.writer.transport.abort()
        await _finished(list(self._serving))
        with suppress(TimeoutError):  # from Python 3.12 on it waits for those still shaking hands
            await asyncio.wait_for(self._server.wait_closed(), _STOP_SECONDS)
        await self._broker.shutdown()
        self._server = self._broker = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        task = asyncio.get_running_loop().create_task(self._serve(reader, connection))
        self._serving[task] = connection
        task.add_done_callback(self._serving.pop)

    async def _serve(self, reader: asyncio.StreamReader, mine: _Connection) -> None:
        writer = mine.writer
        try:
            peer = peer_of(writer.get_extra_info("ssl_object"))
            if peer is None or not (peer.is_server or self._admits(peer.name)):
                return
            async with asyncio.timeout(_CONNECT_SECONDS):
                connect = admission.admit(await _read_packet(reader), peer)
            await self._take_over(peer, mine)
            await self._broke(reader, mine, connect, peer)
        except admission.UnsupportedVersionError:
            writer.write(_WRONG_VERSION)
            with suppress(OSError):
                await writer.drain()
        except (SipgateError, asyncio.IncompleteReadError, TimeoutError, OSError):
            pass  # a peer that does not keep to the protocol is cut off, and that is all
        finally:
            await _close(writer)
            mine.gone.set()

    async def _take_over(self, peer: Peer, mine: _Connection) -> None:
        """The newest connection of a name counts (§3.1.4): the older one is gone, its will sent, before we go on."""
        while (old := self._connections.get(peer.name)) is not None:
            old.writer.transport.abort()
            with suppress(TimeoutError):
                await asyncio.wait_for(old.gone.wait(), _STOP_SECONDS)
            if self._connections.get(peer.name) is old:
                del self._connections[peer.name]
        self._connections[peer.name] = mine

    async def _broke(
        self,
        reader: asyncio.StreamReader,
        mine: _Connection,
        connect: admission.Admission,
        peer: Peer,
    ) -> None:
        if self._broker is None:
            return
        whole = asyncio.StreamReader()
        whole.feed_data(connect.packet)
        pump = asyncio.create_task(_pump(reader, whole, connect.keep_alive, limited=not peer.is_server))
        try:
            await self._broker.external_connected(
                StreamReaderAdapter(whole), StreamWriterAdapter(mine.writer), _LISTENER
            )
        finally:
            pump.cancel()
            await asyncio.wait([pump])
            if self._connections.get(peer.name) is mine:
                del self._connections[peer.name]


async def _finished(tasks: list[asyncio.Task[None]]) -> None:
    """Wait for tasks that have lost their connection; cancel those that do not notice."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)


async def _pump(reader: asyncio.StreamReader, whole: asyncio.StreamReader, keep_alive: int, *, limited: bool) -> None:
    """Pass on whole packets, none too long, none too many, until the peer leaves or falls silent."""
    patience = 1.5 * keep_alive if keep_alive else None
    loop = asyncio.get_running_loop()
    due = loop.time()
    try:
        while True:
            async with asyncio.timeout(patience):
                packet = await _read_packet(reader)
            admission.check_later(packet[0])
            whole.feed_data(packet)
            if limited:
                due = max(due, loop.time() - 1.0) + 1.0 / _PACKETS_PER_SECOND
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
    except (WorkstationError, asyncio.IncompleteReadError, TimeoutError, OSError):
        pass
    finally:
        whole.feed_eof()


async def _read_packet(reader: asyncio.StreamReader) -> bytes:
    head = bytearray(await reader.readexactly(2))
    while head[-1] & 0x80:
        if len(head) > 4:
            raise WorkstationError("malformed remaining length")
        head += await reader.readexactly(1)
    size = admission.remaining_length(head[1:])
    if size > admission.MAXIMUM_PACKET_BYTES:
        raise WorkstationError("the packet is too long")
    return bytes(head) + await reader.readexactly(size)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, TimeoutError):
        await writer.wait_closed()
