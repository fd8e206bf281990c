"""The live file of a call's sound, ``audio.sealed``: fixed-size sealed frames, each one window of time, both legs.

It is written while the call lives, one write(2) a frame, and needs no closing: after kill -9 every frame that was
written opens. Format (all that a stranger needs to write a reader; integers big-endian)::

    head    magic "SGA1" 4 | layout u8 = 2 | 3 zero bytes | recording 16 | salt 32 random bytes           56 bytes
    frames  counter u64 | window u32 | AES-256-GCM ciphertext of the plain frame 9032 | tag 16          9060 bytes each
    plain   flags u8 | plane u8 | 6 zero bytes | answered_at i64 | length i64 | lost u32, u32              32 bytes
            then for leg 0, leg 1:  codec 500 u8 | sound 500 of 8 bytes                                 9000 bytes

* Key of the file: HKDF-SHA256(data key, salt, info = "sipgate audio v1"), 32 bytes. Nonce: 4 zero bytes ‖ counter.
  Associated data: head ‖ counter ‖ window. The counter rises by one with every sealing, so no nonce is used twice.
* Window w covers 500 ms from w * 500 ms after the answer on; 500 units of 1 ms, 8 bytes each. ``codec`` of a unit: 0
  nothing was received (silence); 1 PCMU, 2 PCMA, 3 G.722: a byte is 125 µs, 8 of them the unit; 4 to 15: a packet of
  sound begins here (``codecs`` has the numbers); the same plus 128: it goes on here; 126 a telephone key was pressed at
  this moment, 126 or 254: its sound, if any came, was not kept. Layout 1, of before, has 0 to 2 and is else the same.
* A packet is in its units: size u16 | units u8 | that many bytes of RTP payload | zeros. What it lasts follows from its
  bytes (``codecs.durations``), rounded down to units it is ``units``. It is whole if those of its units that hold
  bytes are marked as its own and none of its units is marked 0: others may have been written over it, or the hangup
  have cut it.
* Plane 0 of a window is all of it, but for packets too large for their units (Opus above 62 kbit/s). These fill the
  8-byte groups of their units in plane 0, then of the same units in plane 1, and so on. Plane p of a window is the
  frame whose counter is lower by p than that of the window's frame of plane 0.
* Leg 0 is the caller (left), leg 1 the callee (right). Flag 1: the peer sends one mix of both, which is in leg 0.
* Of several frames of one window (and plane 0) the one with the highest counter counts: packets that came late are
  sealed again.
* Flag 2: the call was hung up and this is its last window. ``length`` is then the call's, in ns; until then 0.
  ``answered_at``: Unix ns. ``lost``: packets missing in each leg's RTP sequence numbers so far.
* A window without a frame is silence. A frame that does not open is skipped; a torn one can only be the last.
"""

from __future__ import annotations

import os
import secrets
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sipgate.errors import SealError, StoreError
from sipgate.media.codecs import ABSENT, CONTINUES, IS_BYTES, IS_KEY, IS_REST, KEY, SILENCE

FILE_NAME: Final = "audio.sealed"
LEGS: Final = 2
UNIT_NS: Final = 1_000_000
UNIT_BYTES: Final = 8
SAMPLE_NS: Final = UNIT_NS // UNIT_BYTES
WINDOW_UNITS: Final = 500
WINDOW_NS: Final = WINDOW_UNITS * UNIT_NS
WINDOW_SAMPLES: Final = WINDOW_UNITS * UNIT_BYTES
PACKET_HEAD: Final = 3
"""Bytes before a packet's own."""

_HEAD: Final = struct.Struct(">4sB3x16s32s")
_MAGIC: Final = b"SGA1"
_LAYOUT: Final = 2
_LAYOUTS: Final = (1, 2)
_FRAME: Final = struct.Struct(">QI")
_PLAIN: Final = struct.Struct(">BB6xqqII")
MOST_LOST: Final = 0xFFFFFFFF
_MIXED: Final = 1
_FINAL: Final = 2
_SOUND_BYTES: Final = LEGS * WINDOW_UNITS * (1 + UNIT_BYTES)
_TAG: Final = 16
FRAME_BYTES: Final = _FRAME.size + _PLAIN.size + _SOUND_BYTES + _TAG

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Window:
    """One window: ``codec`` (LEGS, 500) and ``sound`` (LEGS, 500, 8 a plane), both uint8, and what is known of the
    call. ``plane``: which of several this one is alone."""

    number: int
    codec: Bytes
    sound: Bytes
    answered_at_ns: int
    lost: tuple[int, int] = (0, 0)
    mixed: bool = False
    length_ns: int | None = None
    """The whole call's length, in the last window of a call that was hung up."""
    plane: int = 0

    def until(self, length_ns: int) -> Window:
        """This window with nothing after ``length_ns`` of the call: whole units absent, a cut unit filled up silent.

        A packet that reaches beyond goes whole: what of it was said before cannot be told from what was said after.
        """
        samples = max(0, length_ns // SAMPLE_NS - self.number * WINDOW_SAMPLES)
        codec, sound = self.codec.copy(), self.sound.copy()
        whole, rest = divmod(samples, UNIT_BYTES)
        for leg in range(LEGS if whole < WINDOW_UNITS else 0):
            cut, last = codec[leg, whole], whole
            if IS_REST[cut]:
                last = _beginning(codec[leg], whole)
            elif rest and (IS_BYTES[cut] or IS_KEY[cut]):
                sound[leg, whole, rest:] = SILENCE[cut] if IS_BYTES[cut] else 0
                last = whole + 1
            codec[leg, last:] = ABSENT
            sound[leg, last:] = 0
        return replace(self, codec=codec, sound=sound)

    @property
    def planes(self) -> tuple[Window, ...]:
        """Each plane by itself, the highest first."""
        count = self.sound.shape[2] // UNIT_BYTES
        if count == 1:
            return (self,)
        split = [self.sound[:, :, plane * UNIT_BYTES : (plane + 1) * UNIT_BYTES] for plane in range(count)]
        return tuple(replace(self, sound=split[plane], plane=plane) for plane in reversed(range(count)))

    @property
    def keys(self) -> list[tuple[int, int]]:
        """Where telephone keys were pressed: leg, and ms after the answer."""
        legs, units = np.nonzero(self.codec == KEY)
        return [(int(leg), self.number * WINDOW_UNITS + int(unit)) for leg, unit in zip(legs, units, strict=True)]


def _beginning(codec: Bytes, unit: int) -> int:
    """Where, of what is in this window, the packet begins that goes on in a unit."""
    while unit > 0 and codec[unit] & CONTINUES:
        unit -= 1
    return unit


def _cipher(head: bytes, data_key: bytes) -> AESGCM:
    if len(data_key) != 32:
        raise ValueError("a data key is 32 bytes")
    salt = head[-32:]
    return AESGCM(HKDF(hashes.SHA256(), 32, salt=salt, info=b"sipgate audio v1").derive(data_key))


def _seal(cipher: AESGCM, head: bytes, counter: int, window: Window) -> bytes:
    clear = _FRAME.pack(counter, window.number)
    flags = (_MIXED if window.mixed else 0) | (_FINAL if window.length_ns is not None else 0)
    plain = [_PLAIN.pack(flags, window.plane, window.answered_at_ns, window.length_ns or 0, *window.lost)]
    for codec, sound in zip(window.codec, window.sound, strict=True):
        plain += [codec.tobytes(), sound.tobytes()]
    return clear + cipher.encrypt(_nonce(counter), b"".join(plain), head + clear)


def _unseal(cipher: AESGCM, head: bytes, frame: bytes) -> Window:
    """Raises InvalidTag or ValueError when the frame does not open."""
    clear = frame[: _FRAME.size]
    counter, number = _FRAME.unpack(clear)
    plain = cipher.decrypt(_nonce(counter), frame[_FRAME.size :], head + clear)
    flags, plane, answered_at_ns, length_ns, lost0, lost1 = _PLAIN.unpack_from(plain)
    legs = np.frombuffer(plain, dtype=np.uint8, offset=_PLAIN.size).reshape(LEGS, WINDOW_UNITS * (1 + UNIT_BYTES))
    return Window(
        number,
        legs[:, :WINDOW_UNITS],
        legs[:, WINDOW_UNITS:].reshape(LEGS, WINDOW_UNITS, UNIT_BYTES),
        answered_at_ns,
        (lost0, lost1),
        bool(flags & _MIXED),
        length_ns if flags & _FINAL else None,
        plane,
    )


def _nonce(counter: int) -> bytes:
    return bytes(4) + counter.to_bytes(8, "big")


def blank(number: int, answered_at_ns: int) -> Window:
    """A window in which nothing was received."""
    codec = np.zeros((LEGS, WINDOW_UNITS), dtype=np.uint8)
    return Window(number, codec, np.zeros((LEGS, WINDOW_UNITS, UNIT_BYTES), dtype=np.uint8), answered_at_ns)


class LiveFile:
    """Writes one call's live file. Raises StoreError when the disk refuses; nothing is ever written in plain."""

    def __init__(self, path: Path, recording: str, data_key: bytes) -> None:
        self._head = _HEAD.pack(_MAGIC, _LAYOUT, bytes.fromhex(recording), secrets.token_bytes(32))
        self._cipher = _cipher(self._head, data_key)
        self._counter = 0
        self._windows = array("I")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"the live file of a recording cannot be made: {error.strerror}") from error
        try:
            self._write(self._head, 0)
        except StoreError:
            self.close()
            raise

    def append(self, window: Window) -> None:
        """Seal one window behind the others, by one write a plane. Of a window that was sealed before nothing is left
        but the frames, blank: a telephone key may have come since, whose tone was in them."""
        late = bool(self._windows) and window.number <= max(self._windows[-128:])
        before = [index for index, number in enumerate(self._windows) if number == window.number] if late else []
        lower, self._counter = self._counter, self._counter + len(before)
        for plane in window.planes:
            self._put(len(self._windows), plane)
            self._windows.append(plane.number)
        empty = blank(window.number, window.answered_at_ns)
        for counter, index in enumerate(before, lower):
            self._write(_seal(self._cipher, self._head, counter, empty), _HEAD.size + index * FRAME_BYTES)

    def finish(self, length_ns: int, lost: tuple[int, int]) -> None:
        """Cut the file to ``length_ns`` (ns after the answer), and mark its last window.

        Later sound that was sealed already is overwritten. Every window up to the last must have been appended.
        """
        last = max(0, length_ns - 1) // WINDOW_NS
        while self._windows and self._windows[-1] > last:
            self._windows.pop()
        self._truncate()
        for index, number in enumerate(self._windows):
            if number >= last:
                window = self._get(index).until(max(0, length_ns))
                final = length_ns if number == last else None
                self._put(index, replace(window, lost=lost, length_ns=final))

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _put(self, index: int, window: Window) -> None:
        frame = _seal(self._cipher, self._head, self._counter, window)
        self._counter += 1
        self._write(frame, _HEAD.size + index * FRAME_BYTES)

    def _get(self, index: int) -> Window:
        try:
            frame = os.pread(self._file, FRAME_BYTES, _HEAD.size + index * FRAME_BYTES)
            return _unseal(self._cipher, self._head, frame)
        except OSError as error:
            raise StoreError(f"the live file of a recording cannot be read: {error.strerror}") from error
        except (InvalidTag, ValueError, struct.error) as error:
            raise SealError("a frame of the live file was altered") from error

    def _write(self, data: bytes, offset: int) -> None:
        try:
            written = os.pwrite(self._file, data, offset)
        except OSError as error:
            raise StoreError(f"the live file of a recording cannot be written: {error.strerror}") from error
        if written != len(data):
            raise StoreError("the live file of a recording cannot be written: the disk is full")

    def _truncate(self) -> None:
        try:
            os.ftruncate(self._file, _HEAD.size + len(self._windows) * FRAME_BYTES)
        except OSError as error:
            raise StoreError(f"the live file of a recording cannot be cut: {error.strerror}") from error


class LiveFileReader:
    """Reads a live file, whole or as a crash left it. Raises StoreError (no such file), SealError (not one, other key).

    ``codecs`` (the numbers of what is in it), ``answered_at_ns`` (0 when nothing was sealed), ``length_ns`` (the
    call's, or None where no hangup was sealed), ``sealed_ns`` (up to where windows are sealed), ``lost`` and ``mixed``
    (every sealed window was) describe the call.
    """

    def __init__(self, path: Path, data_key: bytes) -> None:
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise StoreError(f"the live file of a recording cannot be read: {error.strerror}") from error
        try:
            self._begin(data_key)
        except BaseException:
            self.close()
            raise

    def _begin(self, data_key: bytes) -> None:
        self._head = self._file.read(_HEAD.size)
        if len(self._head) != _HEAD.size or self._head[:4] != _MAGIC or self._head[4] not in _LAYOUTS:
            raise SealError("not a live file, or of a layout that this version cannot read")
        self.recording: str = _HEAD.unpack(self._head)[2].hex()
        self._cipher = _cipher(self._head, data_key)
        self._where: dict[int, tuple[int, int]] = {}
        self._planes: dict[tuple[int, int], int] = {}
        self.answered_at_ns = 0
        self.length_ns: int | None = None
        self.lost = (0, 0)
        self.mixed = False
        self.damaged = 0
        self._survey()

    def _survey(self) -> None:
        counter, index, mixed = -1, 0, []
        seen = np.zeros(256, dtype=np.bool_)
        while len(frame := self._read(index)) == FRAME_BYTES:
            window = self._open(frame)
            index += 1
            if window is None:
                self.damaged += 1
                continue
            this: int = _FRAME.unpack_from(frame)[0]
            if window.plane:
                self._planes[window.number, this] = index - 1
                continue
            seen[window.codec] = True
            if this > self._where.get(window.number, (-1, 0))[0]:
                self._where[window.number] = (this, index - 1)
            mixed.append(window.mixed)
            self.length_ns = self.length_ns if window.length_ns is None else window.length_ns
            if this > counter:
                counter, self.lost, self.answered_at_ns = this, window.lost, window.answered_at_ns
        self.mixed = bool(mixed) and all(mixed)
        self.codecs = frozenset(int(number) & ~CONTINUES for number in np.flatnonzero(seen)) - {ABSENT}
        if self.damaged and not self._where:
            raise SealError("no frame of the live file opens: another key, or altered")

    def _read(self, index: int) -> bytes:
        self._file.seek(_HEAD.size + index * FRAME_BYTES)
        return self._file.read(FRAME_BYTES)

    def _open(self, frame: bytes) -> Window | None:
        try:
            return _unseal(self._cipher, self._head, frame)
        except (InvalidTag, ValueError):
            return None

    @property
    def sealed_ns(self) -> int:
        """The end of the last sealed window, ns after the answer."""
        return (max(self._where) + 1) * WINDOW_NS if self._where else 0

    def window(self, number: int) -> Window:
        """Window ``number``; a blank one where nothing was sealed."""
        counter, index = self._where.get(number, (0, -1))
        window = self._open(self._read(index)) if index >= 0 else None
        if window is None:
            return blank(number, self.answered_at_ns)
        sound = [window.sound]
        while (index := self._planes.get((number, counter - len(sound)), -1)) >= 0:
            plane = self._open(self._read(index))
            if plane is None or plane.plane != len(sound):
                break
            sound.append(plane.sound)
        return window if len(sound) == 1 else replace(window, sound=np.concatenate(sound, axis=2))

    def windows(self, length_ns: int) -> Iterator[Window]:
        """Every window of a call of this length, in order, blank where nothing was sealed, the last one cut."""
        for number in range(-(-length_ns // WINDOW_NS)):
            yield self.window(number).until(length_ns)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> LiveFileReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sealed_length_ns(path: Path, data_key: bytes) -> int:
    """How long a call is by its live file alone: its sealed length, or, after a crash, the end of its last window."""
    with LiveFileReader(path, data_key) as reader:
        return reader.sealed_ns if reader.length_ns is None else reader.length_ns
