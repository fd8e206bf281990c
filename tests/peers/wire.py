"""What was on the loopback wire: dumpcap captures, tshark dissects. Both are Wireshark's, and know nothing of us.

A capture begins some time after dumpcap says so, and its last packets wait in the kernel: markers of our own, datagrams
that must be found in the file, say when it has begun and that it holds everything.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.sipp_answering import free_port

WARNING = 0x600000  # PI_WARN of Wireshark's expert information; errors are above it

needs_capture = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("dumpcap") is None or shutil.which("tshark") is None,
    reason="capturing takes root and tshark: apt-get install tshark",
)


@dataclass(frozen=True)
class Frame:
    """One frame as tshark reads it: the value(s) of every field that it found, in order."""

    fields: dict[str, list[str]]

    def all(self, name: str) -> list[str]:
        """All values of a field."""
        return self.fields.get(name, [])

    def one(self, name: str) -> str:
        """The first value of a field, or an empty string."""
        return (self.all(name) or [""])[0]

    @property
    def complaints(self) -> list[str]:
        """What tshark finds malformed, or worth a warning."""
        severe = [int(level) >= WARNING for level in self.all("_ws.expert.severity")]
        said = self.all("_ws.expert.message")
        found = [text for text, bad in zip(said, severe, strict=True) if bad]
        return [*found, *(["malformed"] if self.all("_ws.malformed") else [])]


@contextmanager
def capture(file: Path, *ports: int | range) -> Iterator[None]:
    """Capture what is sent on the loopback from or to any of these ports, UDP and TCP."""
    marker = free_port()
    chosen = " or ".join(_chosen(port) for port in (*ports, marker))
    command = ["dumpcap", "-q", "-i", "lo", "-f", chosen, "-w", str(file)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _mark(file, marker, b"sipgate test: begins", process)
        yield
        _mark(file, marker, b"sipgate test: ends", process)
    finally:
        process.terminate()
        process.wait()


def dissect(file: Path, fields: Sequence[str], display: str, *decode_as: str) -> list[Frame]:
    """The frames that ``display`` selects; ``decode_as``: tshark's -d, as ``udp.port==5070,sip``."""
    asked = (*fields, "_ws.expert.message", "_ws.expert.severity", "_ws.malformed")
    command = ["tshark", "-r", str(file), "-T", "json", "-Y", display, "--no-duplicate-keys"]
    command += [word for rule in decode_as for word in ("-d", rule)]
    command += [word for field in asked for word in ("-e", field)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    return [Frame(frame["_source"]["layers"]) for frame in json.loads(done.stdout)]


def _chosen(port: int | range) -> str:
    return f"port {port}" if isinstance(port, int) else f"portrange {port.start}-{port.stop - 1}"


def _mark(file: Path, port: int, text: bytes, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 15
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        while not file.exists() or text not in file.read_bytes():
            assert process.poll() is None, "dumpcap ended at its start"
            assert time.monotonic() < deadline, "the marker is not in the capture"
            sender.sendto(text, ("127.0.0.1", port))
            time.sleep(0.05)
