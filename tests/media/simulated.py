"""A call in simulated time: what the network does to its packets is written down, and the receiver's clock is ours.

The receiver's own passes, store, windows and files work as ever; only system calls are replaced: ``recvmmsg`` gives
what "came" until now, with its arrival time.
"""

from __future__ import annotations

import secrets
import socket
import struct
from collections import deque
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

SECOND = 1_000_000_000
START = 1_800_000_000 * SECOND
_TICK = int(receiver.TICK_SECONDS * SECOND)
_FIRST_PORT = 28_000


@dataclass
class Network:
    """Datagrams by destination port, each with the moment (ns of the call) at which it arrives."""

    waiting: dict[int, deque[tuple[int, bytes]]] = field(default_factory=dict)
    now_ns: int = START

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
            controls[1], controls[2:4] = recvmmsg._SCM_TIMESTAMPNS_HEAD, divmod(START + at, SECOND)
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


def record(
    packets: dict[Side, list[Heard]], seconds: float, folder: Path, patch: pytest.MonkeyPatch, silence: float = 900.0
) -> Recorded:
    """A call of ``seconds`` in which these packets come."""
    network, told = Network(), list[DigitPressed | MediaFailed | Silent]()
    media = Media(first_port=_FIRST_PORT, last_port=_FIRST_PORT + 19, silence_seconds=silence)
    patch.setattr(recvmmsg, "dropped", lambda _: 0)
    under_test = Receiver(media, lambda: network.now_ns, told.append)
    patch.setattr(under_test, "_clock_ns", lambda: 0)
    recording, key = secrets.token_hex(16), secrets.token_bytes(32)
    offers = [StreamOffer(side.name, side, "127.0.0.1", 40_000, ((0, "PCMU"),)) for side in packets]
    ports = under_test.open(recording, offers, key, folder)
    by_descriptor = {sock.fileno(): sock.getsockname()[1] for sock in under_test._sockets.values()}
    patch.setattr(recvmmsg.Batch, "receive", lambda batch, fd: network.receive(batch, by_descriptor[fd]))
    for port, heard in zip(ports, packets.values(), strict=True):
        arriving = sorted(heard, key=lambda packet: packet.at)
        network.waiting[port] = deque((int(packet.at * SECOND), packet.datagram()) for packet in arriving)
    under_test.begin(recording, START)
    ticks = int(seconds * SECOND) // _TICK
    for tick in range(ticks):
        network.now_ns = START + (tick + 1) * _TICK
        under_test._tick(slow=tick % 4 == 0)
    network.now_ns = START + int(seconds * SECOND)
    under_test.finish(recording, network.now_ns)
    under_test.stop()
    with LiveFileReader(folder / FILE_NAME, key) as live:
        length = live.length_ns or 0
        return Recorded(np.concatenate(list(finish.sound(live, length, 2))), length, told)
