"""Sends the RTP of many calls on one machine, for ``sipgate bench media``: a process of its own.

``python -m sipgate.media.load CALLS SECONDS [srtp]``: prints a JSON list of source ports, two a call; reads a JSON list
of destination ports; sends PCMU packets of 20 ms, phases spread over 20 ms; prints ``{"sent": packets, "behind_ms": its
own worst lateness}``. Packet ``n`` of stream ``s`` holds 20 times ``UNIT``: (s, n, 0).

It must cost far less than what it measures: sendmmsg(2) over arrays that are made once, and a source port for a
twentieth of the streams. SRTP is therefore made before anything is sent: every packet of every stream, 182 bytes each.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import socket
import struct
import sys
import time
from typing import Final

import numpy as np

from sipgate.core.events import MediaKey
from sipgate.media.srtp_keys import BLOCK, SessionKeys

SUITE: Final = "AES_CM_128_HMAC_SHA1_80"
"""Every SRTP implementation has it (RFC 4568 §6.2), and none of ours costs more."""
PACKET_SECONDS: Final = 0.02
UNIT: Final = np.dtype([("stream", "<u4"), ("number", "<u2"), ("none", "<u2")])
UNITS: Final = 20
_PACKET: Final = np.dtype(
    [("first", ">u2"), ("sequence", ">u2"), ("stamp", ">u4"), ("ssrc", ">u4"), ("units", UNIT, UNITS)]
)
_SEALED: Final = np.dtype([("packet", _PACKET), ("tag", "V10")])
_MESSAGE: Final = np.dtype(
    {  # struct mmsghdr of <bits/socket.h>, 64 bits
        "names": ["name", "name_size", "iov", "iov_count"],
        "formats": ["u8", "u4", "u8", "u8"],
        "offsets": [0, 8, 16, 24],
        "itemsize": 64,
    }
)
_SLICES: Final = 20

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]


class Load:
    """The streams' packets and where they go; a slice of them leaves each millisecond."""

    def __init__(self, streams: int) -> None:
        self.sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(min(_SLICES, streams))]
        for sock in self.sockets:
            sock.bind(("127.0.0.1", 0))
        self.slices = np.array_split(np.arange(streams), len(self.sockets))
        self._packets = np.zeros(streams, dtype=_PACKET)
        self._packets["first"] = 0x8000
        self._packets["ssrc"] = np.arange(streams)
        self._packets["units"]["stream"] = np.arange(streams)[:, np.newaxis]
        self._vectors = np.empty((streams, 2), dtype=np.uint64)
        self._vectors[:, 0] = self._packets.ctypes.data + np.arange(streams, dtype=np.uint64) * _PACKET.itemsize
        self._vectors[:, 1] = _PACKET.itemsize
        self._messages = np.zeros(streams, dtype=_MESSAGE)
        self._names = np.zeros((streams, 16), dtype=np.uint8)

    def sources(self) -> list[int]:
        """The source port of each stream."""
        ports = [sock.getsockname()[1] for sock in self.sockets]
        return [port for port, chosen in zip(ports, self.slices, strict=True) for _ in chosen]

    def aim(self, ports: list[int]) -> None:
        """Where each stream goes on 127.0.0.1."""
        for stream, port in enumerate(ports):
            name = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s", port, socket.inet_aton("127.0.0.1"))
            self._names[stream] = np.frombuffer(name.ljust(16, b"\0"), dtype=np.uint8)
        count = np.arange(len(ports), dtype=np.uint64)
        self._messages["name"], self._messages["name_size"] = self._names.ctypes.data + count * np.uint64(16), 16
        self._messages["iov"], self._messages["iov_count"] = self._vectors.ctypes.data + count * np.uint64(16), 1

    def fill(self, number: int) -> None:
        """Make the ``number``-th packet of every stream."""
        self._packets["sequence"] = number & 0xFFFF
        self._packets["stamp"] = number * 160 & 0xFFFFFFFF
        self._packets["units"]["number"] = number & 0xFFFF

    def send(self, slice_: int) -> int:
        """Send one slice; returns how many packets."""
        first, count = int(self.slices[slice_][0]), len(self.slices[slice_])
        done = 0
        while done < count:
            at = self._messages.ctypes.data + 64 * (first + done)
            sent = _libc.sendmmsg(self.sockets[slice_].fileno(), at, count - done, 0)
            if sent < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            done += sent
        return count


class SecuredLoad(Load):
    """The same as SRTP, each stream under a key of its own; ``packets`` of each are made at once."""

    def __init__(self, streams: int, packets: int) -> None:
        super().__init__(streams)
        self._sealed = np.zeros((packets, streams), dtype=_SEALED)
        for number in range(packets):
            super().fill(number)
            self._sealed[number]["packet"] = self._packets
        for stream in range(streams):
            self._seal(stream, SessionKeys.of(key_of(stream)))
        self._vectors[:, 1] = _SEALED.itemsize

    def _seal(self, stream: int, session: SessionKeys) -> None:
        column, packets = self._sealed[:, stream], len(self._sealed)
        size = UNIT.itemsize * UNITS
        nonce = session.nonce ^ stream << 64
        counters = np.empty((packets, size // BLOCK, 2), dtype=">u8")
        counters[:, :, 0] = nonce >> 64
        first = np.uint64(nonce & 0xFFFFFFFFFFFFFFFF) ^ np.arange(packets, dtype=np.uint64) << np.uint64(16)
        counters[:, :, 1] = first[:, np.newaxis] + np.arange(size // BLOCK, dtype=np.uint64)
        key_stream = np.frombuffer(session.key_stream(counters.tobytes()), dtype=np.uint8)
        plain = np.frombuffer(column["packet"]["units"].tobytes(), dtype=np.uint8)
        column["packet"]["units"] = (plain ^ key_stream).view(UNIT).reshape(packets, UNITS)
        whole, one = column["packet"].tobytes(), _PACKET.itemsize
        tags = (session.hmac(whole[at : at + one] + bytes(4))[:10] for at in range(0, len(whole), one))
        column["tag"] = np.frombuffer(b"".join(tags), dtype="V10")

    def fill(self, number: int) -> None:
        """Take the ``number``-th packet of every stream."""
        row = self._sealed[number]
        self._vectors[:, 0] = row.ctypes.data + np.arange(len(row), dtype=np.uint64) * np.uint64(_SEALED.itemsize)


def key_of(stream: int) -> MediaKey:
    """The key of a stream of ours: no secret."""
    return MediaKey(SUITE, hashlib.shake_128(f"stream {stream}".encode()).digest(30))


def main(calls: int, seconds: float, *, srtp: bool = False) -> None:
    """Send, on this machine's loopback alone."""
    with contextlib.suppress(PermissionError):  # a sender that is late shows nothing of the receiver
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    packets = int(seconds / PACKET_SECONDS)
    load = SecuredLoad(2 * calls, packets) if srtp else Load(2 * calls)
    print(json.dumps(load.sources()), flush=True)
    load.aim(json.loads(sys.stdin.readline()))
    sent, behind, start = 0, 0.0, time.monotonic()
    for number in range(packets):
        load.fill(number)
        for slice_ in range(len(load.slices)):
            pause = start + (number + slice_ / len(load.slices)) * PACKET_SECONDS - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            behind = max(behind, -pause)
            sent += load.send(slice_)
    print(json.dumps({"sent": sent, "behind_ms": round(behind * 1e3)}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), srtp="srtp" in sys.argv[3:])
