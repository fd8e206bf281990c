"""MQTT to the server: commands in, reports out, the clock measured. Reconnects for ever; sessions are clean.

Nothing that was said while we were away is heard afterwards, and reports that only made sense then are dropped; what
must be told (a film ended, "not this call") waits until the server answers again: a broker takes what nobody hears.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import aiomqtt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from capture_client.protocol import (
    PROBE_SECONDS,
    Binding,
    ClockProbe,
    FilmState,
    NotThisCall,
    Presence,
    Report,
    command_topic,
    seal_message,
    state_topic,
)

CLIENT_VERSION = "0.1.0"
_KEEPALIVE_SECONDS = 5
_RETRY_SECONDS = 1.0
_FAREWELL_SECONDS = 2.0
_OUTBOX = 512
_FIRST_PROBES = 4
"""In quick succession after a connect: the best of a few replies is soon a good one."""
_FIRST_PROBES_APART_SECONDS = 0.05
_AT_ONCE = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""Else a second small message waits for the first one's delayed TCP acknowledgement: 40 ms, also in the clock."""
_SILENT = logging.Logger("capture_client.mqtt", logging.CRITICAL + 1)
"""Given to the MQTT library, whose debug lines hold topics. Not in the tree of loggers: no one can turn it on."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where, and who we are there."""

    host: str
    port: int
    version: str
    context: ssl.SSLContext
    workstation: str


class Link:
    """``receive`` gets every envelope that comes; ``probe`` gives the next question about the time."""

    def __init__(
        self,
        broker: Broker,
        boot: str,
        key: Ed25519PrivateKey,
        receive: Callable[[bytes], None],
        probe: Callable[[], ClockProbe],
    ) -> None:
        self._broker, self._boot, self._key = broker, boot, key
        self._receive, self._probe = receive, probe
        self._counter = itertools.count(1)
        self._outbox: deque[Report] = deque(maxlen=_OUTBOX)
        self._filled = asyncio.Event()
        self._server_heard = asyncio.Event()

    def send(self, report: Report) -> None:
        """Report, now or after the next connect. Call it in the event loop."""
        self._outbox.append(report)
        self._filled.set()

    def server_heard(self) -> None:
        """The server has answered on this connection: it will get what is reported."""
        self._server_heard.set()

    async def drain(self, seconds: float) -> None:
        """Wait until all is said, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.sleep(0)  # what other threads have just said
                while self._outbox:
                    await asyncio.sleep(0.02)

    async def run(self) -> None:
        """Stay connected; cancel it to leave (the broker is told)."""
        while True:
            self._server_heard.clear()
            with contextlib.suppress(aiomqtt.MqttError):
                await self._connection()
            lasting = [r for r in self._outbox if isinstance(r, FilmState | NotThisCall)]
            self._outbox.clear()
            self._outbox.extend(lasting)
            await asyncio.sleep(_RETRY_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - not all desks at once

    async def _connection(self) -> None:
        topic = state_topic(self._broker.workstation)
        async with self._client(topic) as client:
            await client.subscribe(command_topic(self._broker.workstation), qos=1)
            await client.publish(topic, self._sealed(Presence(True, CLIENT_VERSION)), qos=1, retain=True)
            try:
                await self._talk(client, topic)
            except asyncio.CancelledError:  # leaving: the Last Will is for those who cannot say it themselves
                gone = self._sealed(Presence(False, CLIENT_VERSION))
                await client.publish(topic, gone, qos=1, retain=True, timeout=_FAREWELL_SECONDS)
                raise

    async def _talk(self, client: aiomqtt.Client, topic: str) -> None:
        lost: BaseExceptionGroup[aiomqtt.MqttError] | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(client))
                tasks.create_task(self._speak(client, topic))
                tasks.create_task(self._ask_the_time(client, topic))
        except* aiomqtt.MqttError as errors:
            lost = errors  # raised in here, it would become a group itself, and ``run`` would end
        if lost is not None:
            raise aiomqtt.MqttError("connection lost") from lost

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if isinstance(message.payload, bytes) and not message.retain:
                self._receive(message.payload)

    async def _speak(self, client: aiomqtt.Client, topic: str) -> None:
        while True:
            await self._server_heard.wait()
            self._filled.clear()
            while self._outbox:
                report = self._outbox[0]
                await client.publish(topic, self._sealed(report), qos=1)
                if self._outbox and self._outbox[0] is report:
                    self._outbox.popleft()
            await self._filled.wait()

    async def _ask_the_time(self, client: aiomqtt.Client, topic: str) -> None:
        for number in itertools.count():
            await client.publish(topic, self._sealed(self._probe()), qos=1)
            await asyncio.sleep(_FIRST_PROBES_APART_SECONDS if number < _FIRST_PROBES else PROBE_SECONDS)

    def _sealed(self, report: Report) -> bytes:
        return seal_message(report, Binding(self._broker.workstation, self._boot, next(self._counter), 0), self._key)

    def _client(self, topic: str) -> aiomqtt.Client:
        v5 = self._broker.version == "5"
        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            identifier=self._broker.workstation,
            protocol=aiomqtt.ProtocolVersion.V5 if v5 else aiomqtt.ProtocolVersion.V311,
            clean_session=None if v5 else True,
            keepalive=_KEEPALIVE_SECONDS,
            tls_context=self._broker.context,
            will=aiomqtt.Will(topic, self._sealed(Presence(False, CLIENT_VERSION)), qos=1, retain=True),
            logger=_SILENT,
            socket_options=_AT_ONCE,
        )
