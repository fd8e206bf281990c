"""A load generator that shares no code with sipgate: ``python -m tests.bench.rtp_load CALLS SECONDS``.

Two PCMU streams of 20 ms a call over loopback. Prints a JSON list of source ports; reads a JSON list of destination
ports, in the same order; sends in real time; prints ``{"sent": packets, "behind_ms": its
own worst lateness}``.
What a stream says is random but known: ``spoken``.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import sys
import time

PACKET_BYTES = 160
PACKETS_A_SECOND = 50


def spoken(stream: int, seconds: float) -> bytes:
    """The sound of one stream."""
    return hashlib.shake_128(f"stream {stream}".encode()).digest(int(seconds * PACKETS_A_SECOND) * PACKET_BYTES)


def packet(stream: int, number: int, sound: bytes) -> bytes:
    """RFC 3550 §5.1; sequence numbers and timestamps wrap early on."""
    payload = sound[number * PACKET_BYTES : (number + 1) * PACKET_BYTES]
    sequence, timestamp = (65_500 + number) & 0xFFFF, (2**32 - 3000 + number * PACKET_BYTES) & 0xFFFFFFFF
    return struct.pack("!BBHII", 0x80, 0, sequence, timestamp, 0xABC0000 + stream) + payload


def main(calls: int, seconds: float) -> None:
    """Send everything when it is due; a stream that fell behind catches up at once."""
    sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2 * calls)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    print(json.dumps([sock.getsockname()[1] for sock in sockets]), flush=True)
    for sock, port in zip(sockets, json.loads(sys.stdin.readline()), strict=True):
        sock.connect(("127.0.0.1", port))
    sounds = [spoken(stream, seconds) for stream in range(len(sockets))]
    total, start = int(seconds * PACKETS_A_SECOND), time.monotonic()
    done, behind = [0] * len(sockets), 0.0
    while min(done) < total:
        for stream, sock in enumerate(sockets):
            phase = stream / len(sockets) / PACKETS_A_SECOND
            due = min(total, int((time.monotonic() - start - phase) * PACKETS_A_SECOND) + 1)
            for number in range(done[stream], due):
                sock.send(packet(stream, number, sounds[stream]))
                behind = max(behind, time.monotonic() - start - phase - number / PACKETS_A_SECOND)
            done[stream] = max(done[stream], due)
        time.sleep(0.002)
    print(json.dumps({"sent": sum(done), "behind_ms": round(behind * 1e3)}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
