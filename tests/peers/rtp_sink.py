"""Two RTP receivers that know nothing of sipgate: what came to the caller's and to the callee's port."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt

TELEPHONE_EVENT = 101
_LAWS = {0: "pcm_mulaw", 8: "pcm_alaw"}


@dataclass(frozen=True)
class Packet:
    """The fields of one RTP packet (RFC 3550 §5.1) without extensions."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


class Sink:
    """One bound port; the kernel's buffer is long enough for the calls of these tests (about a minute)."""

    def __init__(self, port: socket.socket) -> None:
        self._socket = port
        self.port = int(port.getsockname()[1])

    def packets(self) -> list[Packet]:
        """All that has come and was not yet asked for, in order of arrival."""
        found: list[Packet] = []
        while True:
            try:
                data = self._socket.recv(2048)
            except BlockingIOError:
                return found
            _, kind, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", data)
            found.append(Packet(kind & 0x7F, sequence, timestamp, ssrc, data[12:]))


@contextmanager
def two_sinks() -> Iterator[tuple[Sink, Sink]]:
    """(caller's, callee's), on even ports of 127.0.0.1 whose odd neighbours take the RTCP."""
    bound: list[socket.socket] = []
    try:
        while len(bound) < 4:
            rtp, rtcp = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
            bound += [rtp, rtcp]
            rtp.bind(("127.0.0.1", 0))
            port = int(rtp.getsockname()[1])
            try:
                if port % 2:
                    raise OSError("odd")
                rtcp.bind(("127.0.0.1", port + 1))
            except OSError:
                for unfit in (bound.pop(), bound.pop()):
                    unfit.close()
        for each in bound:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            each.setblocking(False)
        yield Sink(bound[0]), Sink(bound[2])
    finally:
        for each in bound:
            each.close()


def sound(packets: list[Packet]) -> npt.NDArray[np.int16]:
    """The G.711 sound of one stream, each packet at the place that its timestamp says, at 8 kHz."""
    spoken = [packet for packet in packets if packet.payload_type in _LAWS]
    first = spoken[0].timestamp
    placed = np.zeros(max(p.timestamp - first + len(p.payload) for p in spoken), np.int16)
    for packet in spoken:
        context = av.CodecContext.create(_LAWS[packet.payload_type], "r")
        assert isinstance(context, av.AudioCodecContext)
        context.sample_rate, context.layout = 8000, "mono"
        (frame,) = context.decode(av.Packet(packet.payload))
        at = packet.timestamp - first
        placed[at : at + len(packet.payload)] = frame.to_ndarray()[0]
    return placed


def keys(packets: list[Packet], events: int = TELEPHONE_EVENT) -> str:
    """The telephone keys in one stream, ``events`` being the payload type agreed for them (RFC 4733 §2.5: an event has
    one timestamp)."""
    pressed: dict[int, str] = {}
    for packet in packets:
        if packet.payload_type == events:
            pressed.setdefault(packet.timestamp, "0123456789*#"[packet.payload[0]])
    return "".join(pressed.values())
