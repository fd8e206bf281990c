"""Who may do what at the embedded broker: pure, so that it can be attacked by tests without a socket.

The same rules as ``deploy/mosquitto`` gives a real broker:

* a workstation reads ``sipgate/<its name>/command`` and writes ``sipgate/<its name>/state``, nothing else, and that
  includes its Last Will;
* its client id is its certificate's common name, whatever it asks for: nobody can kick another off
  (mosquitto: ``use_username_as_clientid``);
* sessions are clean: nothing waits for whoever is not there.

The CONNECT packet (MQTT 3.1.1 §3.1) is therefore rewritten before the broker sees it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

from capture_client.protocol import command_topic, state_topic
from sipgate.errors import WorkstationError

MAXIMUM_PACKET_BYTES = 64 * 1024
"""Far above any command or report; films go over HTTPS."""

_CONNECT, _PUBLISH = 0x10, 0x30
_LEVEL_3_1_1 = 4
_FLAGS = struct.Struct(">BBH")
_CLEAN, _WILL, _WILL_BITS, _RESERVED = 0x02, 0x04, 0x3C, 0x01


class Doing(Enum):
    """What a peer wants to do with a topic."""

    SUBSCRIBE = "subscribe"
    PUBLISH = "publish"
    RECEIVE = "receive"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, by its certificate."""

    name: str
    is_server: bool

    def may(self, doing: Doing, topic: str) -> bool:
        """Whether this peer may do this with this topic (or, to subscribe, this topic filter)."""
        if self.is_server:
            return topic.startswith("sipgate/")
        return topic == (state_topic(self.name) if doing is Doing.PUBLISH else command_topic(self.name))


@dataclass(frozen=True, slots=True)
class Admission:
    """A CONNECT packet as the broker may see it, and the peer's keep alive (seconds, 0: none)."""

    packet: bytes
    keep_alive: int


class UnsupportedVersionError(WorkstationError):
    """The peer speaks another version of MQTT: CONNACK code 1 answers it (§3.2.2.3)."""


def admit(packet: bytes, peer: Peer) -> Admission:
    """Check and rewrite the first packet of a connection. Raises WorkstationError, UnsupportedVersionError."""
    if packet[0] != _CONNECT:
        raise WorkstationError("the first packet is not CONNECT")
    fields = _Fields(packet[1 + length_bytes(packet) :])
    if fields.text() != b"MQTT":
        raise UnsupportedVersionError("not MQTT 3.1.1")
    level, flags, keep_alive = fields.flags()
    if level != _LEVEL_3_1_1:
        raise UnsupportedVersionError("not MQTT 3.1.1")
    if flags & _RESERVED:
        raise WorkstationError("a reserved flag is set")
    fields.text()  # the client id that it asks for
    will = b""
    if flags & _WILL:
        topic, payload = fields.text(), fields.text()
        if not peer.may(Doing.PUBLISH, topic.decode("utf-8", "replace")):
            raise WorkstationError("the last will is for another's topic")
        will = _text(topic) + _text(payload)
    flags = (flags & _WILL_BITS if flags & _WILL else 0) | _CLEAN  # no user name or password: the certificate counts
    body = _text(b"MQTT") + _FLAGS.pack(level, flags, keep_alive) + _text(peer.name.encode()) + will
    return Admission(bytes([_CONNECT]) + _length(len(body)) + body, keep_alive)


def check_later(first: int) -> None:
    """The first byte of any packet after CONNECT. Raises WorkstationError for what must end the connection."""
    kind, qos = first & 0xF0, first >> 1 & 0x03
    if kind in (_CONNECT, 0x00, 0xF0) or (kind == _PUBLISH and qos == 0x03):  # §3.1.0-2, §2.2.1, §3.3.1-4
        raise WorkstationError("a packet that must not come")


def length_bytes(packet: bytes) -> int:
    """How many bytes the remaining length takes (§2.2.3), 1 to 4."""
    for count in range(1, 5):
        if count < len(packet) and not packet[count] & 0x80:
            return count
    raise WorkstationError("malformed remaining length")


def remaining_length(encoded: bytes | bytearray) -> int:
    """The value of a whole remaining-length field."""
    value = 0
    for place, byte in enumerate(encoded):
        value |= (byte & 0x7F) << (7 * place)
    return value


class _Fields:
    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def text(self) -> bytes:
        (size,) = struct.unpack(">H", self._take(2))
        return self._take(size)

    def flags(self) -> tuple[int, int, int]:
        level, flags, keep_alive = _FLAGS.unpack(self._take(_FLAGS.size))
        return level, flags, keep_alive

    def _take(self, size: int) -> bytes:
        if len(self._body) - self._at < size:
            raise WorkstationError("CONNECT is cut short")
        self._at += size
        return self._body[self._at - size : self._at]


def _text(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def _length(value: int) -> bytes:
    encoded = bytearray()
    while True:
        value, digit = divmod(value, 0x80)
        encoded.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(encoded)
