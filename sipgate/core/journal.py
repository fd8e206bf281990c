"""The journal's form: a hash chain of lines with signed checkpoints. Pure: lines in, lines out.

The file is text, one JSON object a line, each ended by a newline. Two kinds of line::

    {"at_ns": 1763804460000000000, "fields": {"recording": "…"}, "kind": "kept", "number": 1, "previous": "<64 hex>"}
    {"checkpoint": "<note>", "previous": "<64 hex>"}

``previous`` is the SHA-256 of the line before, without its newline (64 zeros at the beginning): every line is chained,
checkpoints included. ``number`` counts entries from 1 without a gap. ``at_ns`` is Unix time in nanoseconds. ``fields``
holds pseudonyms, recordings' names, words and counts; never a name, a number of a telephone or a Call-ID.

A *note* is a signed checkpoint in the form of C2SP's tlog-checkpoint and signed-note, with the chain's head in the
place of a tree's root::

    sipgate.journal                     origin, and name of the key
    42                                  entries so far
    <base64>                            ``previous`` of the checkpoint's own line: the head it signs, 32 bytes
    at 1763804460000000000              when

    — sipgate.journal <base64>          4 bytes of key id ‖ 64 bytes Ed25519 over all lines above the blank one

Key id: the first 4 bytes of SHA-256("sipgate.journal" ‖ 0A ‖ 01 ‖ public key). A checkpoint must follow every entry
whose number is a multiple of ``EVERY``, so that whoever lacks the key can re-make at most the last of them. What was
cut off at the end shows only against a note *kept elsewhere*: ``verify`` takes one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sipgate.errors import JournalError

EVERY = 100
LONGEST_LINE = 16384
_ORIGIN = "sipgate.journal"
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_NOTE = re.compile(
    re.escape(_ORIGIN) + r"\n(0|[1-9][0-9]{0,17})\n([A-Za-z0-9+/=]{44})\nat ([0-9]{1,19})\n"
    r"\n\u2014 " + re.escape(_ORIGIN) + r" ([A-Za-z0-9+/=]{92})\n"
)


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain stands: entries so far, the last line's SHA-256, whether that line is a checkpoint."""

    entries: int
    digest: bytes
    signed: bool

    @property
    def due(self) -> bool:
        """Whether the next line must be a checkpoint."""
        return self.entries > 0 and self.entries % EVERY == 0 and not self.signed


START = Head(0, bytes(32), signed=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it is shown."""

    number: int
    at_ns: int
    kind: str
    fields: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a note says; ``text`` is the note itself."""

    entries: int
    digest: bytes
    at_ns: int
    text: str


# --- writing ---------------------------------------------------------------------------------------------------------


def entry_line(head: Head, kind: str, at_ns: int, fields: Mapping[str, str | int]) -> tuple[bytes, Head]:
    """The next entry's line, newline included, and the head after it.

    Raises JournalError when ``kind`` or a field is no word, a value neither text nor a whole number, or all too long.
    """
    for word in (kind, *fields):
        if not _WORD.fullmatch(word):
            raise JournalError("a journal entry's kind and field names are lower-case words")
    if not all(type(value) in (str, int) for value in fields.values()):
        raise JournalError("a journal entry's values are text or whole numbers")
    number = head.entries + 1
    line = _line(
        {"number": number, "at_ns": at_ns, "kind": kind, "fields": dict(fields), "previous": head.digest.hex()}
    )
    if len(line) > LONGEST_LINE:
        raise JournalError(f"a journal entry has at most {LONGEST_LINE} bytes")
    return line, Head(number, _digest(line), signed=False)


def checkpoint_line(head: Head, at_ns: int, key: Ed25519PrivateKey) -> tuple[bytes, Head, str]:
    """The line of a checkpoint that signs ``head``, newline included; the head after it; the note itself."""
    body = f"{_ORIGIN}\n{head.entries}\n{base64.b64encode(head.digest).decode()}\nat {at_ns}\n"
    signature = base64.b64encode(_key_id(key.public_key()) + key.sign(body.encode())).decode()
    note = f"{body}\n\u2014 {_ORIGIN} {signature}\n"
    line = _line({"checkpoint": note, "previous": head.digest.hex()})
    return line, Head(head.entries, _digest(line), signed=True), note


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def _digest(line: bytes) -> bytes:
    return hashlib.sha256(line.removesuffix(b"\n")).digest()


def _key_id(key: Ed25519PublicKey) -> bytes:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(f"{_ORIGIN}\n\x01".encode() + raw).digest()[:4]


# --- reading ---------------------------------------------------------------------------------------------------------


def read_line(line: bytes) -> Entry | Checkpoint:
    """What a line holds, by its form alone: nothing is verified. Raises JournalError."""
    return _read(line)[0]


def head_after(line: bytes) -> Head:
    """The head of a chain whose last line is ``line``: all that is needed to go on. Raises JournalError."""
    content, _ = _read(line)
    if isinstance(content, Entry):
        return Head(content.number, _digest(line), signed=False)
    return Head(content.entries, _digest(line), signed=True)


def _read(line: bytes) -> tuple[Entry | Checkpoint, str]:
    """The content of a line, and its ``previous``."""
    try:
        match json.loads(line):
            case {
                "number": int(n),
                "at_ns": int(at),
                "kind": str(kind),
                "fields": dict(fields),
                "previous": str(before),
            }:
                return Entry(n, at, kind, fields), before
            case {"checkpoint": str(note), "previous": str(before)}:
                return read_note(note), before
    except (ValueError, RecursionError) as error:
        raise JournalError("not a line of the journal") from error
    raise JournalError("not a line of the journal")


def read_note(note: str) -> Checkpoint:
    """What a note says, by its form alone: its signature is not verified. Raises JournalError."""
    match = _NOTE.fullmatch(note)
    if match is None:
        raise JournalError("not a checkpoint of the journal")
    return Checkpoint(int(match[1]), _unbase64(match[2], 32), int(match[3]), note)


def _unbase64(text: str, size: int) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != size:
        raise JournalError("not a checkpoint of the journal")
    return raw


# --- verifying -------------------------------------------------------------------------------------------------------


def verify(lines: Iterable[bytes], key: Ed25519PublicKey, kept: str | None = None) -> Head:
    """Check a whole journal, ``lines`` with their newlines; ``kept`` is a note kept elsewhere. Returns its head.

    Raises JournalError, which names the entry after which something was edited, dropped, put in or exchanged, or,
    against ``kept``, that the end was cut off.
    """
    expected = verify_note(kept, key) if kept is not None else None
    head = START
    met = expected is None or _meets(head, expected)
    for line in lines:
        head = _next(head, line, key)
        met = met or (expected is not None and _meets(head, expected))
    if expected is not None and not met:
        if head.entries < expected.entries:
            raise JournalError(f"cut off: {head.entries} entries, where the checkpoint signs {expected.entries}")
        raise JournalError(f"entry {expected.entries}: not the one that the checkpoint kept elsewhere signs")
    return head


def verify_note(note: str, key: Ed25519PublicKey) -> Checkpoint:
    """What a note says, once its signature is verified. Raises JournalError."""
    checkpoint = read_note(note)
    body, _, signature_line = note.partition("\n\n")
    raw = _unbase64(signature_line.rstrip("\n").rpartition(" ")[2], 68)
    if raw[:4] != _key_id(key):
        raise JournalError("the checkpoint is signed by another key")
    try:
        key.verify(raw[4:], f"{body}\n".encode())
    except InvalidSignature as error:
        raise JournalError("the checkpoint was altered") from error
    return checkpoint


def _meets(head: Head, checkpoint: Checkpoint) -> bool:
    return head.entries == checkpoint.entries and head.digest == checkpoint.digest


def _next(head: Head, line: bytes, key: Ed25519PublicKey) -> Head:
    after = f"after entry {head.entries}"
    if not line.endswith(b"\n"):
        raise JournalError(f"{after}: the last line is incomplete (a crash; the next entry mends it)")
    try:
        content, previous = _read(line)
        if isinstance(content, Checkpoint):
            verify_note(content.text, key)
    except JournalError as error:
        raise JournalError(f"{after}: {error}") from error
    if previous != head.digest.hex():
        raise JournalError(f"{after}: the chain is broken: a line was edited, dropped, put in or exchanged")
    if isinstance(content, Checkpoint):
        if not _meets(head, content):
            raise JournalError(f"{after}: the checkpoint signs another chain")
        return Head(head.entries, _digest(line), signed=True)
    if head.due:
        raise JournalError(f"{after}: a checkpoint is missing")
    if content.number != head.entries + 1:
        raise JournalError(f"{after}: entry {content.number} follows")
    return Head(content.number, _digest(line), signed=False)
