"""A receiver on free ports, and the calls of a test: voices that speak, what of them was kept."""

from __future__ import annotations

import os
import queue
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from sipgate.config import Media
from sipgate.core.events import DigitPressed, MediaFailed, Side, StreamOffer
from sipgate.media.codecs import CONTINUES, IS_SOUND
from sipgate.media.frames import FILE_NAME, LEGS, UNIT_BYTES, LiveFileReader, Window
from sipgate.media.receiver import Receiver, Silent
from tests.peers.rtp import PCMA, PCMU, TELEPHONE_EVENT, Voice

PAYLOAD_TYPES = ((PCMU, "PCMU"), (PCMA, "PCMA"), (TELEPHONE_EVENT, "telephone-event"))


SECOND = 1_000_000_000
NEAR = 0.1
"""Seconds by which a packet's arrival may differ from its sending on a machine that does much else."""


def noise(seconds: float) -> bytes:
    """Bytes that occur once: what is found is where it is."""
    return os.urandom(int(seconds * 8000))


def soon(condition: Callable[[], bool], seconds: float = 6) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not become so in time"
        time.sleep(0.02)


@dataclass
class Events:
    """What the receiver told, in order; ``wait`` for the next one of a kind."""

    _queue: queue.Queue[DigitPressed | MediaFailed | Silent] = field(default_factory=queue.Queue)

    def __call__(self, event: DigitPressed | MediaFailed | Silent) -> None:
        self._queue.put(event)

    def wait(self, seconds: float = 5) -> DigitPressed | MediaFailed | Silent:
        """The next event; ``queue.Empty`` when none comes."""
        return self._queue.get(timeout=seconds)

    def so_far(self) -> list[DigitPressed | MediaFailed | Silent]:
        """All that were told and not yet asked for."""
        found = []
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        return found


def offer(voice: Voice, side: Side | None, label: str | None = None) -> StreamOffer:
    """A stream that comes from this voice."""
    name = label or (side.name if side else "mix")
    return StreamOffer(name, side, "127.0.0.1", voice.port, PAYLOAD_TYPES)


@dataclass
class Call:
    """One recording under way on a receiver."""

    receiver: Receiver
    folder: Path
    voices: tuple[Voice, ...]
    recording: str = field(default_factory=lambda: secrets.token_hex(16))
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    answered_at_ns: int = 0

    def open(self, *sides: Side | None) -> tuple[int, ...]:
        """Open with one stream a voice, caller first, and point the voices at the ports."""
        given = sides or tuple(Side)
        offers = [offer(voice, side) for voice, side in zip(self.voices, given, strict=True)]
        ports = self.receiver.open(self.recording, offers, self.key, self.folder)
        for voice, port in zip(self.voices, ports, strict=True):
            voice.destination = port
        return ports

    def begin(self, ago_ns: int = 0) -> int:
        """The call is answered now, or was before; returns when."""
        self.answered_at_ns = time.time_ns() - ago_ns
        self.receiver.begin(self.recording, self.answered_at_ns)
        return self.answered_at_ns

    def finish(self, after_ns: int | None = None) -> int:
        """Hang up once the last packet's sound is over, or at a past moment of the call; returns the length, ns."""
        if after_ns is None:
            time.sleep(max(voice.packet_ms for voice in self.voices) / 1000 + 0.01 if self.voices else 0)
        length = time.time_ns() - self.answered_at_ns if after_ns is None else after_ns
        self.receiver.finish(self.recording, self.answered_at_ns + length)
        return length

    def kept(self) -> Kept:
        """What the live file holds."""
        return read(self.folder / FILE_NAME, self.key)


@dataclass(frozen=True)
class Kept:
    """A whole live file: ``sound`` (LEGS, samples) as bytes, ``codec`` (LEGS, units)."""

    windows: tuple[Window, ...]
    length_ns: int | None
    lost: tuple[int, int]

    @property
    def sound(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Bytes by leg."""
        return np.concatenate([window.sound.reshape(LEGS, -1) for window in self.windows], axis=1)

    @property
    def codec(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Codec numbers by leg and unit."""
        return np.concatenate([window.codec for window in self.windows], axis=1)

    def bytes_of(self, leg: int) -> bytes:
        """All that one leg received, gaps left out."""
        present = np.repeat(IS_SOUND[self.codec[leg] & ~np.uint8(CONTINUES)], UNIT_BYTES)
        return bytes(self.sound[leg][present])

    def where(self, leg: int, sound: bytes) -> float:
        """At which second of the call these bytes begin on this leg; fails when they are not there in one piece."""
        at = bytes(self.sound[leg]).find(sound)
        assert at >= 0, "these bytes are not on this leg in one piece"
        return at / 8000


def read(path: Path, key: bytes) -> Kept:
    """Read a live file, whole or as a crash left it."""
    with LiveFileReader(path, key) as reader:
        length = reader.sealed_ns if reader.length_ns is None else reader.length_ns
        return Kept(tuple(reader.window(n) for n in range(-(-length // 500_000_000))), reader.length_ns, reader.lost)


def heard(call: Call, voice: Voice, count: int = 1) -> None:
    """Wait until so many more datagrams of this voice were drained."""
    before = call.receiver.statistics().received
    for _ in range(count):
        voice.send(bytes(160))
    soon(lambda: call.receiver.statistics().received >= before + count)


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def receiver(events: Events, worker_ports: Media) -> Iterator[Receiver]:
    receiver = Receiver(worker_ports, time.time_ns, events)
    receiver.start()
    yield receiver
    receiver.stop()


@pytest.fixture
def idle_receiver(events: Events, worker_ports: Media) -> Iterator[Receiver]:
    """Nobody drains it but what is asked of it: what is sent waits."""
    receiver = Receiver(worker_ports, time.time_ns, events)
    yield receiver
    receiver.stop()


@pytest.fixture
def worker_ports(worker_number: int) -> Media:
    """Ports of this test process's own, so that tests in parallel do not meet."""
    return Media(first_port=24_000 + 200 * worker_number, last_port=24_199 + 200 * worker_number, silence_seconds=60)


@pytest.fixture
def worker_number(request: pytest.FixtureRequest) -> int:
    workerinput: dict[str, str] = getattr(request.config, "workerinput", {})
    return int(workerinput.get("workerid", "gw0").removeprefix("gw")) % 50


@pytest.fixture
def new_call(receiver: Receiver, tmp_path: Path) -> Iterator[Callable[[int], Call]]:
    """Makes calls with so many voices; closes the voices."""
    calls: list[Call] = []

    def make(voices: int = 2) -> Call:
        folder = tmp_path / f"call{len(calls)}"
        folder.mkdir()
        call = Call(receiver, folder, tuple(Voice(ssrc=0x1000 + n) for n in range(voices)))
        calls.append(call)
        return call

    yield make
    for call in calls:
        for voice in call.voices:
            voice.close()


@pytest.fixture
def call(new_call: Callable[[int], Call]) -> Call:
    """A call with two voices, not yet opened."""
    return new_call(2)
