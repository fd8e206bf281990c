"""The server's side of MQTT: commands go out with the least delay, reports come in and are judged by ``Desks``.

Nothing is sent twice. A command is void after ``COMMAND_LIFETIME_NS``, and whoever did not get it is kept to the rules
by its own lease; so a command for which there is no connection, or no workstation that is ready, is dropped and
counted. Every connection is a new client with a clean session: neither side's library may deliver late what belonged to
the one before. The delivery of a message is proven by the workstation's own report alone: a broker acknowledges what
its access rules then drop (LAB.md §7).
"""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
import ssl
import sys
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Literal

import aiomqtt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from capture_client import protocol
from capture_client.protocol import Acknowledged, Command, FilmState
from sipgate.core.events import Event, WorkstationDown
from sipgate.core.policy import FilmPlan
from sipgate.workstations.desks import ClockAsked, Desks, FilmReported, Heard, WorkstationStatus
from sipgate.workstations.pki import SERVER_NAME

MqttVersion = Literal["3.1.1", "5"]

_KEEP_ALIVE_SECONDS = 3
_RETRY_SECONDS = 1.0
_PUBLISH_SECONDS = 5.0
_QUEUED_REPORTS = 10_000
_FILMS_REMEMBERED = 10_000

_AT_ONCE = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""Else the start waits for the delayed TCP acknowledgement of the arm before it: 40 ms."""
_SILENT = logging.Logger("sipgate.workstations.mqtt", logging.CRITICAL + 1)
"""Given to the MQTT library, whose debug lines hold topics. Not in the tree of loggers: no one can turn it on."""


class WorkstationLink:
    """All workstations, through one broker."""

    def __init__(
        self,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext,
        command_key: Ed25519PrivateKey,
        workstation_key: Callable[[str], bytes | None],
        now_ns: Callable[[], int],
        emit: Callable[[Event], None],
        mqtt_version: MqttVersion = "3.1.1",
        *,
        on_film: Callable[[str, FilmState], None] = lambda _recording, _state: None,
        on_acknowledged: Callable[[str, Acknowledged], None] = lambda _recording, _report: None,
        filmed_by: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        """``ssl_context`` is the authority's ``link_ssl_context``. ``workstation_key`` is asked for every report.

        ``filmed_by`` tells of recordings that an earlier run of this process started (after a crash). Callbacks are
        called from the event loop; they must not block.
        """
        self._host, self._port, self._ssl_context = host, port, ssl_context
        self._version: MqttVersion = mqtt_version
        self._command_key = command_key
        self._now_ns = now_ns
        self._emit, self._on_film, self._on_acknowledged = emit, on_film, on_acknowledged
        self._films: OrderedDict[str, str] = OrderedDict()
        self._desks = Desks(workstation_key, lambda recording: self._films.get(recording) or filmed_by(recording))
        self._client: aiomqtt.Client | None = None
        self._publishing: set[asyncio.Task[None]] = set()
        self.unsent = 0
        """How many commands found no connection, or nobody ready."""

    # --- what health asks -----------------------------------------------------------------------------------------

    def connected(self) -> bool:
        """Whether the broker is in reach and the reports are subscribed to."""
        return self._client is not None

    def states(self) -> list[WorkstationStatus]:
        """What is known of each workstation."""
        return self._desks.states()

    def dropped(self) -> dict[str, int]:
        """How many messages were not believed, by reason; no reason names anybody."""
        return dict(self._desks.dropped)

    # --- commands -------------------------------------------------------------------------------------------------

    def start_film(self, recording: str, plan: FilmPlan, public_key: bytes, answered_at_ns: int) -> None:
        """Arm and start, one right behind the other, at once."""
        self._remember(recording, plan.workstation)
        key = base64.b64encode(public_key).decode()
        self._send(plan.workstation, protocol.Arm(recording, plan.application, plan.frames_per_second, key))
        self._send(plan.workstation, protocol.Start(recording, answered_at_ns))

    def renew_film(self, recording: str, workstation: str, lived_at_ns: int | None = None) -> None:
        """Prolong the lease: the call lived then (now, if not said), so what was filmed until then lies before any
        hangup."""
        self._send(workstation, protocol.Renew(recording, at_ns=lived_at_ns or self._now_ns()))

    def stop_film(self, recording: str, workstation: str, ended_at_ns: int) -> None:
        """The call was hung up."""
        self._send(workstation, protocol.Stop(recording, ended_at_ns))

    def discard_film(self, recording: str, workstation: str) -> None:
        """Stop and destroy. Whoever is not reached learns it when uploading: 410."""
        self._send(workstation, protocol.Discard(recording))

    def filmed_by(self, recording: str) -> str | None:
        """The workstation that this process told to film it, the latest recordings only."""
        return self._films.get(recording)

    def _remember(self, recording: str, workstation: str) -> None:
        self._films[recording] = workstation
        if len(self._films) > _FILMS_REMEMBERED:
            self._films.popitem(last=False)

    def _send(self, workstation: str, command: Command, boot: str | None = None) -> None:
        binding = self._desks.bind(workstation, self._now_ns(), boot) if self._client is not None else None
        if self._client is None or binding is None:
            self.unsent += 1
            return
        payload = protocol.seal_message(command, binding, self._command_key)
        self._soon(self._publish(self._client, protocol.command_topic(workstation), payload))

    async def _publish(self, client: aiomqtt.Client, topic: str, payload: bytes) -> None:
        try:
            await client.publish(topic, payload, qos=1, timeout=_PUBLISH_SECONDS)
        except aiomqtt.MqttError:
            self.unsent += 1

    def _soon(self, coroutine: Coroutine[None, None, None]) -> None:
        # The bytes are written in the task's first step: from Python 3.12 on, before this returns.
        loop = asyncio.get_running_loop()
        if sys.version_info >= (3, 12):
            task = asyncio.Task(coroutine, loop=loop, eager_start=True)
        else:
            task = loop.create_task(coroutine)
        if not task.done():
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)

    # --- the connection -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep connected, for ever; cancel it to end."""
        try:
            while True:
                await self._one_connection()
                await asyncio.sleep(_RETRY_SECONDS)
        finally:
            for task in list(self._publishing):
                task.cancel()
            if self._publishing:
                await asyncio.wait(list(self._publishing))

    async def _one_connection(self) -> None:
        watch = asyncio.create_task(self._watch())
        try:
            async with self._new_client() as client:
                await client.subscribe(protocol.STATE_TOPICS, qos=1)
                self._client = client
                async for message in client.messages:
                    self._received(message)
        except aiomqtt.MqttError:
            if self._client is not None:
                self._client = None
                self._desks.lost()
                self._emit(WorkstationDown(None, self._now_ns()))
        finally:
            watch.cancel()
            self._client = None

    def _new_client(self) -> aiomqtt.Client:
        v5 = self._version == "5"
        client = aiomqtt.Client(
            self._host,
            self._port,
            identifier=SERVER_NAME,
            protocol=aiomqtt.ProtocolVersion.V5 if v5 else aiomqtt.ProtocolVersion.V311,
            clean_session=None if v5 else True,
            keepalive=_KEEP_ALIVE_SECONDS,
            tls_context=self._ssl_context,
            max_queued_incoming_messages=_QUEUED_REPORTS,
            max_inflight_messages=1000,
            logger=_SILENT,
            socket_options=_AT_ONCE,
        )
        client.pending_calls_threshold = sys.maxsize
        return client

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._tell(self._desks.silent(self._now_ns()))

    def _received(self, message: aiomqtt.Message) -> None:
        at_ns = self._now_ns()
        payload = message.payload
        if isinstance(payload, bytes):
            self._tell(self._desks.receive(message.topic.value, payload, at_ns, retained=message.retain))

    def _tell(self, heard: list[Heard]) -> None:
        for one in heard:
            if isinstance(one, ClockAsked):
                reply = protocol.ClockReply(one.t0, one.t1, self._now_ns())
                self._send(one.workstation, reply, one.boot)
            elif isinstance(one, FilmReported):
                if isinstance(one.report, FilmState):
                    self._on_film(one.recording, one.report)
                else:
                    self._on_acknowledged(one.recording, one.report)
            else:
                self._emit(one)
