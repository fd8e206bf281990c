"""A workstation for tests: it speaks ``capture_client.protocol`` and knows nothing else of the client or the server."""

from __future__ import annotations

import asyncio
import base64
import itertools
import logging
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import aiomqtt
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from capture_client import protocol
from capture_client.protocol import Binding, ClockReply, Command, Report

_PATIENCE = 10.0
_SILENT = logging.Logger("tests.workstation", logging.CRITICAL + 1)
_Command = TypeVar("_Command", bound=Command)


def signing_request(key: Ed25519PrivateKey, common_name: str) -> str:
    """A CSR (PEM) that asks to be called ``common_name``."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, None)
    return request.public_bytes(serialization.Encoding.PEM).decode()


def leave_rudely(client: aiomqtt.Client) -> None:
    """Cut the connection without a DISCONNECT; aiomqtt itself is too polite."""
    found = client._client.socket()
    assert isinstance(found, socket.socket)
    found.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Obeyed(Generic[_Command]):
    """A command that came, and when (time.time_ns)."""

    command: _Command
    binding: Binding
    topic: str
    came_at_ns: int


class Workstation:
    """One desk: its key, its certificate, its boot, its own clock, which runs ``skew_ns`` apart from the server's."""

    def __init__(
        self, name: str, folder: Path, ca_pem: str, key: Ed25519PrivateKey, certificate_pem: str,
        command_key: Ed25519PublicKey, skew_ns: int = -7_000_000_000,
    ) -> None:  # fmt: skip
        self.name, self.key, self.skew_ns = name, key, skew_ns
        self.boot = secrets.token_hex(16)
        self.obeyed: asyncio.Queue[Obeyed[Command]] = asyncio.Queue()
        self.strays: list[str] = []
        """Topics of messages that are no command for this workstation."""
        self._counter = itertools.count(1)
        self._command_key = command_key
        self._client: aiomqtt.Client | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key_file = folder / f"{name}.crt", folder / f"{name}.key"
        self.certificate.write_text(certificate_pem)
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        self.key_file.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
        self._ca_pem = ca_pem

    @property
    def public_key(self) -> bytes:
        """What the register holds for it."""
        return self.key.public_key().public_bytes_raw()

    def restart(self) -> None:
        """Another boot."""
        self.boot = secrets.token_hex(16)
        self._counter = itertools.count(1)

    def now_ns(self) -> int:
        """Its own clock."""
        return time.time_ns() + self.skew_ns

    def ssl_context(self, *, shows_certificate: bool = True) -> ssl.SSLContext:
        """Trusts the site's CA alone; strict, as Python 3.13 is by default."""
        context = ssl.create_default_context(cadata=self._ca_pem)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        if shows_certificate:
            context.load_cert_chain(self.certificate, self.key_file)
        return context

    def seal(self, report: Report, counter: int | None = None, key: Ed25519PrivateKey | None = None) -> bytes:
        """The envelope of a report."""
        binding = Binding(self.name, self.boot, next(self._counter) if counter is None else counter, 0)
        return protocol.seal_message(report, binding, key or self.key)

    @asynccontextmanager
    async def connected(
        self, port: int, *, identifier: str | None = None, keep_alive: int = 60
    ) -> AsyncIterator[aiomqtt.Client]:
        """Connect, subscribe, announce presence, and collect commands. A connection lost in the block is no error."""
        topic = protocol.state_topic(self.name)
        will = aiomqtt.Will(topic, self.seal(protocol.Presence(False, "test")), qos=1, retain=True)
        client = aiomqtt.Client(
            "127.0.0.1", port, identifier=identifier or self.name, clean_session=True, will=will,
            tls_context=self.ssl_context(), keepalive=keep_alive, timeout=5, logger=_SILENT,
            max_inflight_messages=1000, socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        )  # fmt: skip
        listening: asyncio.Task[None] | None = None
        try:
            async with client:
                await client.subscribe(protocol.command_topic(self.name), qos=1)
                self._client = client
                listening = asyncio.create_task(self._listen(client))
                await self.report(protocol.Presence(True, "test"), retain=True)
                yield client
        except aiomqtt.MqttError:
            if self._client is None:
                raise
        finally:
            self._client = None
            if listening is not None:
                listening.cancel()
                await asyncio.wait([listening])

    def vanish(self) -> None:
        """The network is cut, or the process killed: no DISCONNECT."""
        assert self._client is not None
        leave_rudely(self._client)

    async def report(self, report: Report, *, retain: bool = False) -> None:
        """Say something."""
        await self.send(self.seal(report), retain=retain)

    async def send(self, payload: bytes, *, retain: bool = False) -> None:
        """Send what need not be a report."""
        assert self._client is not None
        await self._client.publish(protocol.state_topic(self.name), payload, qos=1, retain=retain)

    async def become_ready(self) -> ClockReply:
        """Measure the clock, say Ready; the reply that it was measured by."""
        t0 = self.now_ns()
        await self.report(protocol.ClockProbe(t0))
        while True:
            obeyed = await self.next_of(ClockReply)
            if obeyed.command.t0 == t0:
                break
        reply, t3 = obeyed.command, obeyed.came_at_ns + self.skew_ns
        offset = (reply.t1 - t0 + reply.t2 - t3) // 2
        await self.report(protocol.Ready(offset, ((t3 - t0) - (reply.t2 - reply.t1)) // 2))
        return reply

    async def next_of(self, kind: type[_Command]) -> Obeyed[_Command]:
        """The next command of this kind; others that come before it are passed over."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                obeyed = await self.obeyed.get()
                if isinstance(obeyed.command, kind):
                    return Obeyed(obeyed.command, obeyed.binding, obeyed.topic, obeyed.came_at_ns)

    async def _listen(self, client: aiomqtt.Client) -> None:
        with suppress(aiomqtt.MqttError):
            await self._listen_on(client)

    async def _listen_on(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            came = time.time_ns()
            try:
                command, binding = protocol.open_command(bytes(message.payload), self._command_key)
            except protocol.ProtocolViolation:
                self.strays.append(message.topic.value)
                continue
            if message.topic.value != protocol.command_topic(self.name) or binding.workstation != self.name:
                self.strays.append(message.topic.value)
            self.obeyed.put_nowait(Obeyed(command, binding, message.topic.value, came))

    def upload_headers(self, recording: str, take: str, part: str, body: bytes) -> dict[str, str]:
        """What proves an upload."""
        digest = protocol.upload_digest(self.name, recording, take, part, body)
        signature = base64.b64encode(self.key.sign(digest)).decode()
        return {"Sipgate-Workstation": self.name, "Sipgate-Signature": signature}
