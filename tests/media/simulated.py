"""A call in simulated time: what the network does to its packets is written down, and the receiver's clock is ours.

The receiver's own passes, store, windows and files work as ever; only system calls are replaced: ``recvmmsg`` gives
what "came" until now, with its arrival time.
"""

from __future__ import annotations

import secrets
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from sipgate.config import Media
from sipgate.core.events import DigitPressed, MediaFailed, Side, StreamOffer
from sipgate.media import finish, receiver, recvmmsg
from sipgate.media.frames import FILE_NAME, LiveFileReader
from sipgate.media.receiver import Receiver, Silent
from tests.media.conftest import Kept, read

SECOND = 1_000_000_000
START = 1_800_000_000 * SECOND
"""When a simulation begins, Unix ns; its calls are answered then."""
_TICK = int(receiver.TICK_SECONDS * SECOND)
_FIRST_PORT = 28_000


@dataclass
class Network:
    """Datagrams by destination port, each with the moment (ns of the call) at which it arrives."""

    waiting: dict[int, deque[tuple[int, bytes]]] = field(default_factory=dict)
    now_ns: int = START
    back_ns: int = 0
    """What the machine's clock, which stamps what comes, was set back by, and when."""
    back_at_ns: int = START

    def receive(self, batch: recvmmsg.Batch, port: int) -> int:
        """As ``Batch.receive``, out of what has come to a port until now."""
        queue, got = self.waiting.get(port, deque()), 0
        while queue and START + queue[0][0] <= self.now_ns and batch.filled < recvmmsg.ROWS:
            at, datagram = queue.popleft()
            row = batch.filled
            batch.slots[row, recvmmsg.PAD : recvmmsg.PAD + len(datagram)] = np.frombuffer(datagram, dtype=np.uint8)
            batch._messages["length"][row] = len(datagram)
            batch.names[row] = recvmmsg.source_words("127.0.0.1", 40_000, socket.AF_INET)[0]
            controls = batch._controls[row].view(np.int64)
            stamp = START + at - (self.back_ns if START + at > self.back_at_ns else 0)
            controls[1], controls[2:4] = recvmmsg._SCM_TIMESTAMPNS_HEAD, divmod(stamp, SECOND)
            batch.filled += 1
            got += 1
        return got


@dataclass(frozen=True)
class Heard:
    """One packet of a sender: its header, and when it arrives (s after the answer)."""

    at: float
    sequence: int
    stamp: int
    sound: bytes
    ssrc: int = 1

    def datagram(self) -> bytes:
        """RFC 3550 §5.1."""
        return struct.pack("!BBHII", 0x80, 0, self.sequence & 0xFFFF, self.stamp & 0xFFFFFFFF, self.ssrc) + self.sound


@dataclass
class Recorded:
    """What came out: linear samples of both sides, and what was told meanwhile."""

    samples: npt.NDArray[np.int16]
    length_ns: int
    told: list[DigitPressed | MediaFailed | Silent]

    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.samples) / 8000

    def bursts(self, side: int) -> list[float]:
        """When (s) each stretch of sound begins on a side; silence shorter than 0.3 s does not end one."""
        loud = np.flatnonzero(np.abs(self.samples[:, side]) > 1000)
        if loud.size == 0:
            return []
        begins = np.concatenate([[True], np.diff(loud) > 2400])
        return [float(at) / 8000 for at in loud[begins]]


@dataclass
class Call:
    """A recording of the simulation's receiver, its live file and the key of that."""

    recording: str
    folder: Path
    key: bytes = field(repr=False)

    def kept(self) -> Kept:
        """What the live file holds."""
        return read(self.folder / FILE_NAME, self.key)


class Simulation:
    """A receiver in simulated time, with so many pairs of ports, and what happens to it."""

    def __init__(self, patch: pytest.MonkeyPatch, silence: float = 900.0, ports: int = 12) -> None:
        media = Media(first_port=_FIRST_PORT, last_port=_FIRST_PORT + 2 * ports - 1, silence_seconds=silence)
        self.network = Network()
        self.told = list[DigitPressed | MediaFailed | Silent]()
        self.receiver = Receiver(media, lambda: self.network.now_ns, self._tell)
        self._ticks = 0
        patch.setattr(recvmmsg, "dropped", lambda _: 0)
        patch.setattr(self.receiver, "_clock_ns", lambda: self.network.back_ns)
        patch.setattr(recvmmsg.Batch, "receive", lambda batch, fd: self.network.receive(batch, self._port(fd)))

    def _tell(self, event: DigitPressed | MediaFailed | Silent) -> None:
        assert event.at_ns <= self.network.now_ns, "nothing is told of the future"
        self.told.append(event)

    def _port(self, descriptor: int) -> int:
        socks = self.receiver._sockets.values()
        return next(int(sock.getsockname()[1]) for sock in socks if sock.fileno() == descriptor)

    def hold(self, seconds: float) -> None:
        """Let time pass in which nobody drains."""
        self.network.now_ns += int(seconds * SECOND)

    def set_back(self, seconds: float) -> None:
        """Set the machine's clock back, now."""
        self.network.back_ns, self.network.back_at_ns = int(seconds * SECOND), self.network.now_ns

    def open(self, packets: dict[Side, list[Heard]], folder: Path) -> Call:
        """A recording with one stream a side, to which these packets come."""
        folder.mkdir(exist_ok=True)
        call = Call(secrets.token_hex(16), folder, secrets.token_bytes(32))
        offers = [StreamOffer(side.name, side, "127.0.0.1", 40_000, ((0, "PCMU"),)) for side in packets]
        ports = self.receiver.open(call.recording, offers, call.key, folder)
        for port, heard in zip(ports, packets.values(), strict=True):
            arriving = sorted(heard, key=lambda packet: packet.at)
            self.network.waiting[port] = deque((int(packet.at * SECOND), packet.datagram()) for packet in arriving)
        return call

    def begin(self, call: Call) -> None:
        """It was answered when the simulation began, and that is told now."""
        self.receiver.begin(call.recording, START)

    def run(self, until: float) -> None:
        """Drain at each tick, as the thread does; one that takes long is followed by the next at once."""
        while self.network.now_ns + _TICK <= START + int(until * SECOND):
            self.network.now_ns += _TICK
            self.receiver._tick(slow=self._ticks % receiver._SLOW_TICKS == 0)
            self._ticks += 1

    def finish(self, *calls: Call, at: float) -> None:
        """Hang up; nobody drained since the last tick."""
        self.network.now_ns = max(self.network.now_ns, START + int(at * SECOND))
        for call in calls:
            self.receiver.finish(call.recording, START + int(at * SECOND))


@contextmanager
def simulated(patch: pytest.MonkeyPatch, silence: float = 900.0, ports: int = 12) -> Iterator[Simulation]:
    """A simulation, its receiver stopped at the end."""
    simulation = Simulation(patch, silence, ports)
    try:
        yield simulation
    finally:
        simulation.receiver.stop()


def record(
    packets: dict[Side, list[Heard]], seconds: float, folder: Path, patch: pytest.MonkeyPatch, silence: float = 900.0
) -> Recorded:
    """A call of ``seconds`` in which these packets come."""
    with simulated(patch, silence) as simulation:
        call = simulation.open(packets, folder)
        simulation.begin(call)
        simulation.run(seconds)
        simulation.finish(call, at=seconds)
    with LiveFileReader(folder / FILE_NAME, call.key) as live:
        length = live.length_ns or 0
        return Recorded(np.concatenate(list(finish.sound(live, length, 2))), length, simulation.told)
