"""Sends the RTP of many calls on one machine, for ``sipgate bench media``: a process of its own.

``python -m sipgate.media.load CALLS SECONDS``: prints a JSON list of source ports, two a call; reads a JSON list of
destination ports; sends PCMU packets of 20 ms, phases spread over 20 ms; prints ``{"sent": packets,
"behind_ms": its own worst lateness}``.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time

_PACKET_SECONDS = 0.02
_BYTES = 160


def main(calls: int, seconds: float) -> None:
    """Send, on this machine's loopback alone."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2 * calls)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    print(json.dumps([sock.getsockname()[1] for sock in sockets]), flush=True)
    for sock, port in zip(sockets, json.loads(sys.stdin.readline()), strict=True):
        sock.connect(("127.0.0.1", port))
    packets = int(seconds / _PACKET_SECONDS)
    phase = _PACKET_SECONDS / len(sockets)
    start = time.monotonic()
    sent, behind = 0, 0.0
    for number in range(packets):
        for stream, sock in enumerate(sockets):
            pause = start + number * _PACKET_SECONDS + stream * phase - time.monotonic()
            if pause > 0.001:
                time.sleep(pause)
            behind = max(behind, -pause)
            unit = struct.pack("<IHH", stream, number & 0xFFFF, 0)
            sock.send(struct.pack("!BBHII", 0x80, 0, number & 0xFFFF, number * _BYTES, stream) + unit * (_BYTES // 8))
            sent += 1
    print(json.dumps({"sent": sent, "behind_ms": round(behind * 1e3)}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
