"""The contract between server and workstation: topics, messages, signatures, expiry, sealed film segments.

This is the one module of ``capture_client`` that the server imports. It is pure: time comes in as an argument.

Topics (MQTT 3.1.1 semantics; a workstation's certificate names it, and the broker's ACL keeps it to its own two)::

    sipgate/<workstation>/command   server → workstation, QoS 1, never retained
    sipgate/<workstation>/state     workstation → server, QoS 1, retained only for ``Presence``

Every message is a JSON envelope ``{"body": <base64 of the JSON body>, "signature": <base64 Ed25519 over the body>}``.
A command is signed by the server's command key, pinned at enrolment; a report by the workstation's own key.
A command is *bound*: to one workstation, to the boot id that the workstation drew at its start, to a counter that
only rises, and to ``not_after_ns`` on the server's clock. Each of these is checked by the workstation itself, since
brokers deliver late, twice, or what somebody else sent (LAB.md §7).

Clock: the workstation sends ``ClockProbe(t0)``; the server answers at once with ``ClockReply(t0, t1, t2)``; from the
arrival t3, offset = ((t1-t0)+(t2-t3))/2 and uncertainty = ((t3-t0)-(t2-t1))/2, as in NTP (RFC 5905 §8).
The workstation probes at once after every connect and then every ``PROBE_SECONDS``, and after *every* reply sends
``Ready`` with its present best offset (of the last few replies, not older). The server takes a boot for alive only
when its latest probe's t0 + offset is now: what was recorded earlier and is played again shows an earlier time. A
workstation silent for ``SILENCE_SECONDS`` is down, since brokers send the Last Will of a frozen client late or never
(LAB.md §7).

A film is uploaded while it is made. The plaintext of a segment is a sequence of records
``>B key | q pts_ns | H width | H height | I size | size bytes of one VP9 frame``, where ``pts_ns`` counts from the
answer. A segment is sealed so that the workstation cannot read back what it filmed::

    magic "SGF1" | recording 16 | take 16 | index u32 | ephemeral X25519 public key 32 | AES-256-GCM ciphertext | tag 16

key = HKDF-SHA256(X25519(ephemeral, recording's public key), salt = recording‖take, info = "sipgate film v1"),
nonce = 8 zero bytes ‖ index, associated data = everything before the ciphertext. A *take* is one run of the camera
(16 random bytes): a client that was killed and comes back films the same call under a new take.

Upload: ``PUT /workstation/v1/films/<recording>/<take>/<index>`` with the sealed segment, then, once,
``PUT /workstation/v1/films/<recording>/<take>/end`` with ``{"segments": n}``. Headers ``Sipgate-Workstation: <name>``
and ``Sipgate-Signature: <base64 Ed25519 over upload_digest(...)>``. 204: kept (delete it); 410: discarded (delete it);
401 bad signature; 409 other content under the same name; 5xx or no answer: try again later.

Enrolment of a workstation. An admin gets a code ``<secret>-<fingerprint>``: the fingerprint is the first 32 hexadecimal
digits of the SHA-256 of the server's CA certificate (DER). The client fetches ``GET /workstation/v1/ca`` (PEM) without
trusting anybody, compares the fingerprint, and from then on trusts this CA alone. It makes an Ed25519 key that never
leaves the desk, and sends ``POST /workstation/v1/enrol {"code": ..., "csr": PEM}``; the answer is ``{"workstation":
name, "certificate": PEM, "command_key": base64 Ed25519 public key, "mqtt_host": ..., "mqtt_port": ...,
"mqtt_version": "3.1.1" or "5"}``. The certificate's common
name is the workstation's name; the same key signs reports and uploads. 401: wrong, used or expired code.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import struct
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeVar

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VERSION = 1
LEASE_SECONDS = 5.0
RENEW_SECONDS = 1.5
"""How often the server renews: two renewals may be lost before the lease ends."""
COMMAND_LIFETIME_NS = 3_000_000_000
PROBE_SECONDS = 2.0
SILENCE_SECONDS = 7.0
MINIMUM_FRAMES_PER_SECOND = 4
"""A slide show is a screenshot (R1): a cap below this is refused."""
SEGMENT_MAGIC = b"SGF1"
MAXIMUM_SEGMENT_BYTES = 8 * 1024 * 1024
_RECORD = struct.Struct(">BqHHI")
_SEGMENT_HEAD = struct.Struct(">4s16s16sI32s")


class ProtocolViolation(Exception):  # noqa: N818 - it is what it says
    """A message or segment that the contract does not allow; ``str`` names the check that failed, never a call."""


def command_topic(workstation: str) -> str:
    """Where the server commands this workstation."""
    return f"sipgate/{workstation}/command"


def state_topic(workstation: str) -> str:
    """Where this workstation reports."""
    return f"sipgate/{workstation}/state"


STATE_TOPICS = "sipgate/+/state"


# --- commands: server → workstation ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arm:
    """Find the window, open the encoder, capture nothing. ``application`` is a pattern, see ``Application``."""

    VERB: ClassVar[str] = "arm"
    recording: str
    application: str
    frames_per_second: int
    public_key: str
    """The recording's own X25519 public key, base64."""


@dataclass(frozen=True, slots=True)
class Disarm:
    """Forget an arm that no start followed."""

    VERB: ClassVar[str] = "disarm"
    recording: str


@dataclass(frozen=True, slots=True)
class Start:
    """Film from ``answered_at_ns`` on (server's clock), for ``lease_seconds`` unless renewed."""

    VERB: ClassVar[str] = "start"
    recording: str
    answered_at_ns: int
    lease_seconds: float = LEASE_SECONDS


@dataclass(frozen=True, slots=True)
class Renew:
    """The call still lives."""

    VERB: ClassVar[str] = "renew"
    recording: str
    lease_seconds: float = LEASE_SECONDS
    at_ns: int = 0
    """The server's time at which the call still lived: what was filmed before it lies before any hangup and may be
    uploaded. 0: not said; then nothing is uploaded until the stop."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Capture nothing from ``at_ns`` on; the timeline keeps its length."""

    VERB: ClassVar[str] = "pause"
    recording: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Capture again from ``at_ns`` on, beginning with a keyframe."""

    VERB: ClassVar[str] = "resume"
    recording: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Stop:
    """The call was hung up at ``ended_at_ns`` (server's clock): frames after it are dropped."""

    VERB: ClassVar[str] = "stop"
    recording: str
    ended_at_ns: int


@dataclass(frozen=True, slots=True)
class Discard:
    """Stop and destroy all that was filmed of this recording."""

    VERB: ClassVar[str] = "discard"
    recording: str


@dataclass(frozen=True, slots=True)
class ClockReply:
    """The server's answer to a ClockProbe."""

    VERB: ClassVar[str] = "clock"
    t0: int
    t1: int
    t2: int


Command = Arm | Disarm | Start | Renew | Pause | Resume | Stop | Discard | ClockReply
_COMMANDS: dict[str, type[Command]] = {
    c.VERB: c for c in (Arm, Disarm, Start, Renew, Pause, Resume, Stop, Discard, ClockReply)
}


# --- reports: workstation → server ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Presence:
    """Retained: whether the workstation is there. The Last Will is ``online`` False, with the same boot id."""

    VERB: ClassVar[str] = "presence"
    online: bool
    client_version: str


@dataclass(frozen=True, slots=True)
class ClockProbe:
    """What time is it? ``t0`` is the workstation's clock (ns)."""

    VERB: ClassVar[str] = "probe"
    t0: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The clock offset is known (``offset_ns`` = server - workstation): commands can be obeyed."""

    VERB: ClassVar[str] = "ready"
    offset_ns: int
    uncertainty_ns: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A command was obeyed at ``at_ns`` (server's clock). ``detail`` is a word of ``FilmState``, or empty."""

    VERB: ClassVar[str] = "ack"
    verb: str
    counter: int
    recording: str
    at_ns: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FilmState:
    """The camera's state changed. ``state``: filming, hidden (no window to be seen), stopped, lease-expired,
    indicator-lost, failed. ``first_frame_ns`` and ``last_frame_ns`` on the server's clock, 0 for none."""

    VERB: ClassVar[str] = "film"
    recording: str
    state: str
    first_frame_ns: int = 0
    last_frame_ns: int = 0
    frames: int = 0
    detail: str = ""
    """Why it failed, for an administrator; names no call."""


@dataclass(frozen=True, slots=True)
class NotThisCall:
    """The person at the desk stopped it: all of it is already destroyed here. No reason asked (R11)."""

    VERB: ClassVar[str] = "private"
    recording: str


Report = Presence | ClockProbe | Ready | Acknowledged | FilmState | NotThisCall
_REPORTS: dict[str, type[Report]] = {
    r.VERB: r for r in (Presence, ClockProbe, Ready, Acknowledged, FilmState, NotThisCall)
}


# --- envelopes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Binding:
    """What ties a message to one workstation, one boot, one place in the order, and one moment."""

    workstation: str
    boot: str
    counter: int
    not_after_ns: int
    """Commands: the server's clock after which it is void. Reports: 0."""


_Message = TypeVar("_Message", bound=Any)


def seal_message(message: Command | Report, binding: Binding, key: Ed25519PrivateKey) -> bytes:
    """The envelope, as it goes over MQTT."""
    body = {"version": VERSION, "verb": message.VERB, **asdict(binding), "message": asdict(message)}
    raw = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
    return json.dumps(
        {"body": base64.b64encode(raw).decode(), "signature": base64.b64encode(key.sign(raw)).decode()}
    ).encode()


def open_command(payload: bytes, key: Ed25519PublicKey) -> tuple[Command, Binding]:
    """Verify the signature and read; raises ProtocolViolation. The binding is the caller's to check: ``check``."""
    return _open(payload, key, _COMMANDS)


def open_report(payload: bytes, key: Ed25519PublicKey) -> tuple[Report, Binding]:
    """As ``open_command``, for what a workstation sends."""
    return _open(payload, key, _REPORTS)


def report_sender(payload: bytes) -> str:
    """The workstation that an envelope claims to come from, unverified: to look up its key."""
    claimed = _json_object(_envelope(payload)[0]).get("workstation")
    if not isinstance(claimed, str) or not _is_text(claimed):
        raise ProtocolViolation("no workstation")
    return claimed


def check(binding: Binding, *, workstation: str, boot: str, last_counter: int, server_now_ns: int) -> None:
    """Raise ProtocolViolation unless this command is for this workstation and boot, new, and not expired."""
    if binding.workstation != workstation:
        raise ProtocolViolation("for another workstation")
    if binding.boot != boot:
        raise ProtocolViolation("for another boot")
    if binding.counter <= last_counter:
        raise ProtocolViolation("replayed")
    if server_now_ns > binding.not_after_ns:
        raise ProtocolViolation("expired")


def _envelope(payload: bytes) -> tuple[bytes, bytes]:
    try:
        envelope = _json_object(payload)
        return base64.b64decode(envelope["body"], validate=True), base64.b64decode(envelope["signature"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ProtocolViolation("not an envelope") from error


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw, object_pairs_hook=_once_each, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation("not JSON") from error
    if not isinstance(value, dict):
        raise ProtocolViolation("not a JSON object")
    return value


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _is_text(value: str) -> bool:
    """No lone surrogate and no NUL, which JSON can write and neither UTF-8 nor a database can."""
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value)


def _open(payload: bytes, key: Ed25519PublicKey, kinds: dict[str, type[_Message]]) -> tuple[_Message, Binding]:
    raw, signature = _envelope(payload)
    try:
        key.verify(signature, raw)
    except InvalidSignature as error:
        raise ProtocolViolation("signature") from error
    body = _json_object(raw)
    version, verb = body.get("version"), body.get("verb")
    if type(version) is not int or version != VERSION:
        raise ProtocolViolation("version")
    kind = kinds.get(verb) if isinstance(verb, str) else None
    if kind is None:
        raise ProtocolViolation("unknown verb")
    return _typed(kind, body.get("message")), _typed(Binding, {f.name: body.get(f.name) for f in fields(Binding)})


_JSON_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}


def _typed(kind: type[_Message], values: object) -> _Message:
    """Build a dataclass from JSON values, each of exactly its declared type; unknown fields are passed over.

    Whole numbers are of 64 bits, others finite: what is read here goes into clocks and databases as it is.
    """
    if not isinstance(values, dict):
        raise ProtocolViolation("no fields")
    known: dict[str, object] = {}
    for field in fields(kind):
        if field.name not in values:
            continue
        value = values[field.name]
        allowed = _JSON_TYPES[str(field.type)]
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise ProtocolViolation(f"field {field.name}")
        if not _is_kept(value):
            raise ProtocolViolation(f"field {field.name}")
        known[field.name] = value
    try:
        message: _Message = kind(**known)
    except TypeError as error:
        raise ProtocolViolation("missing field") from error
    return message


def _is_kept(value: object) -> bool:
    if isinstance(value, str):
        return _is_text(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and -(2**63) <= value < 2**63


# --- the application that may be filmed -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Application:
    """Which windows belong to the business application. All that are given must hold.

    Written ``program=/usr/bin/crm,class=Crm,title=Orders*``: ``program`` is the executable's path or its name,
    ``class`` WM_CLASS's class, ``title`` a glob over the window's title. At least ``program`` or ``class`` is needed:
    a title alone could be any program's.
    """

    program: str | None = None
    window_class: str | None = None
    title: str | None = None

    @classmethod
    def parse(cls, text: str) -> Application:
        """Read the written form; raises ProtocolViolation naming the key."""
        names = {"program": "program", "class": "window_class", "title": "title"}
        found: dict[str, str] = {}
        for part in text.split(","):
            key, equals, value = part.partition("=")
            if key.strip() not in names or not equals or not value.strip():
                raise ProtocolViolation(f"application: {key.strip() or 'empty'} is none of program=, class=, title=")
            if names[key.strip()] in found:
                raise ProtocolViolation(f"application: {key.strip()}= stands twice")
            found[names[key.strip()]] = value.strip()
        if "program" not in found and "window_class" not in found:
            raise ProtocolViolation("application: give program= or class=")
        return cls(**found)

    def __str__(self) -> str:
        parts = (("program", self.program), ("class", self.window_class), ("title", self.title))
        return ",".join(f"{key}={value}" for key, value in parts if value is not None)


# --- film segments --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FilmPacket:
    """One VP9 frame. ``pts_ns``: nanoseconds since the answer, on the server's clock."""

    key: bool
    pts_ns: int
    width: int
    height: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SegmentName:
    """Which segment: recording and take as 32 hexadecimal digits, index from 0."""

    recording: str
    take: str
    index: int


class SegmentSealer:
    """Seals the segments of one take. Forget it, and nobody at the desk can open them again."""

    def __init__(self, recording: str, take: str, recording_public_key: bytes) -> None:
        ephemeral = X25519PrivateKey.generate()
        self._recording, self._take = bytes.fromhex(recording), bytes.fromhex(take)
        self._ephemeral = ephemeral.public_key().public_bytes_raw()
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recording_public_key))
        self._aead = AESGCM(_segment_key(shared, self._recording, self._take))

    def seal(self, index: int, packets: list[FilmPacket]) -> bytes:
        """The sealed segment number ``index``; each index is used once."""
        head = _SEGMENT_HEAD.pack(SEGMENT_MAGIC, self._recording, self._take, index, self._ephemeral)
        plain = b"".join(_RECORD.pack(p.key, p.pts_ns, p.width, p.height, len(p.data)) + p.data for p in packets)
        return head + self._aead.encrypt(_segment_nonce(index), plain, head)


def segment_name(sealed: bytes) -> SegmentName:
    """The name in a sealed segment's head; raises ProtocolViolation."""
    if len(sealed) < _SEGMENT_HEAD.size + 16 or not sealed.startswith(SEGMENT_MAGIC):
        raise ProtocolViolation("not a film segment")
    _, recording, take, index, _ = _SEGMENT_HEAD.unpack_from(sealed)
    return SegmentName(recording.hex(), take.hex(), index)


def open_segment(sealed: bytes, recording_private_key: X25519PrivateKey) -> list[FilmPacket]:
    """The packets of a sealed segment; raises ProtocolViolation when it was altered or is another recording's."""
    segment_name(sealed)
    _, recording, take, index, ephemeral = _SEGMENT_HEAD.unpack_from(sealed)
    head = sealed[: _SEGMENT_HEAD.size]
    try:
        shared = recording_private_key.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        plain = AESGCM(_segment_key(shared, recording, take)).decrypt(
            _segment_nonce(index), sealed[_SEGMENT_HEAD.size :], head
        )
    except (InvalidTag, ValueError) as error:
        raise ProtocolViolation("segment does not open") from error
    return _records(plain)


def _records(plain: bytes) -> list[FilmPacket]:
    packets, at = [], 0
    while at < len(plain):
        if len(plain) - at < _RECORD.size:
            raise ProtocolViolation("segment record")
        key, pts_ns, width, height, size = _RECORD.unpack_from(plain, at)
        at += _RECORD.size
        if len(plain) - at < size:
            raise ProtocolViolation("segment record")
        packets.append(FilmPacket(bool(key), pts_ns, width, height, plain[at : at + size]))
        at += size
    return packets


def _segment_key(shared: bytes, recording: bytes, take: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=recording + take, info=b"sipgate film v1").derive(shared)


def _segment_nonce(index: int) -> bytes:
    return bytes(8) + index.to_bytes(4, "big")


def upload_digest(workstation: str, recording: str, take: str, part: str, body: bytes) -> bytes:
    """What a workstation signs when it uploads ``part`` (an index in decimal, or ``end``)."""
    head = "\n".join(("sipgate upload v1", workstation, recording, take, part))
    return head.encode() + b"\n" + hashlib.sha256(body).digest()
