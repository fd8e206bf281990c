"""An RTP sender that knows nothing of sipgate: packets by hand (RFC 3550 §5.1, RFC 4733), sound encoded by ffmpeg."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType

import av
import numpy as np
import numpy.typing as npt

PCMU, PCMA, TELEPHONE_EVENT = 0, 8, 101
_LAWS = {PCMU: "pcm_mulaw", PCMA: "pcm_alaw"}


def encoded(samples: npt.NDArray[np.int16], payload_type: int = PCMU) -> bytes:
    """G.711 of 8 kHz samples, by ffmpeg."""
    context = av.CodecContext.create(_LAWS[payload_type], "w")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout, context.format = 8000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 8000
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def packet(
    payload: bytes,
    *,
    payload_type: int = PCMU,
    sequence: int = 0,
    timestamp: int = 0,
    ssrc: int = 1,
    mark: bool = False,
) -> bytes:
    """One RTP packet without CSRC, extension or padding."""
    kind = payload_type | (0x80 if mark else 0)
    return struct.pack("!BBHII", 0x80, kind, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


@dataclass
class Voice:
    """One sender's socket on 127.0.0.1 and the state of its stream. ``packet_ms``: the packet time."""

    ssrc: int = 0x1234
    sequence: int = 65_530
    timestamp: int = 2**32 - 1000
    payload_type: int = PCMU
    packet_ms: int = 20
    destination: int = 0
    _socket: socket.socket = field(default_factory=lambda: socket.socket(type=socket.SOCK_DGRAM))

    def __post_init__(self) -> None:
        self._socket.bind(("127.0.0.1", 0))

    @property
    def socket(self) -> socket.socket:
        """To hear what comes back."""
        return self._socket

    @property
    def port(self) -> int:
        """Whence it sends."""
        return int(self._socket.getsockname()[1])

    def send(self, payload: bytes) -> None:
        """The next packet of the stream, now."""
        self.send_raw(
            packet(
                payload,
                payload_type=self.payload_type,
                sequence=self.sequence,
                timestamp=self.timestamp,
                ssrc=self.ssrc,
            )
        )
        self.skip(1, len(payload))

    def skip(self, packets: int, samples: int) -> None:
        """Go on as if so much had been sent."""
        self.sequence = (self.sequence + packets) & 0xFFFF
        self.timestamp = (self.timestamp + samples) & 0xFFFFFFFF

    def send_raw(self, datagram: bytes) -> None:
        """Any datagram."""
        self._socket.sendto(datagram, ("127.0.0.1", self.destination))

    def press(self, event: int, packets: int = 6) -> None:
        """A telephone key: packets of one event, the last three with the end bit (RFC 4733 §2.5.1.4)."""
        for number in range(packets):
            end = 0x80 if number >= packets - 3 else 0
            self.send_raw(
                packet(
                    struct.pack("!BBH", event, end | 10, 160 * (number + 1)),
                    payload_type=TELEPHONE_EVENT,
                    sequence=self.sequence,
                    timestamp=self.timestamp,
                    ssrc=self.ssrc,
                    mark=number == 0,
                )
            )
            self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + 160 * packets) & 0xFFFFFFFF

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Voice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def speak(voices: Iterable[tuple[Voice, bytes]], start_ns: int | None = None) -> int:
    """Send each voice's bytes in real time, all at once from ``start_ns`` (Unix ns) on; returns when it began."""
    start = start_ns or time.time_ns()
    pairs = list(voices)
    due = sorted(
        (start + number * voice.packet_ms * 1_000_000, index, number)
        for index, (voice, sound) in enumerate(pairs)
        for number in range(-(-len(sound) // (8 * voice.packet_ms)))
    )
    for at, index, number in due:
        voice, sound = pairs[index]
        time.sleep(max(0, at - time.time_ns()) / 1e9)
        size = 8 * voice.packet_ms
        voice.send(sound[number * size : (number + 1) * size])
    return start
