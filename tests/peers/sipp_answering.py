"""SIPp (Debian's sip-tester) as a real peer: one scenario of tests/data/sipp, one call, and its own log of messages."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Literal

SCENARIOS = Path(__file__).parents[1] / "data" / "sipp"
_ENTRY = re.compile(
    r"^-{20,} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+)\n(?:UDP|TCP) message (received|sent)[^\n]*\n\n", re.MULTILINE
)


@dataclass(frozen=True)
class Message:
    """One SIP message as SIPp saw it; ``at_ns`` is its Unix time, by SIPp."""

    at_ns: int
    received: bool
    text: str

    @property
    def first_line(self) -> str:
        return self.text.split("\n", 1)[0].strip()

    def header(self, name: str) -> str:
        """The value of a header that must be there once."""
        head = self.text.split("\n\n", 1)[0]
        (value,) = re.findall(rf"^{name}\s*:\s*(.*)$", head, re.MULTILINE | re.IGNORECASE)
        return str(value).strip()


def messages_of(log: Path) -> list[Message]:
    """What SIPp's -trace_msg wrote, in order."""
    text = log.read_bytes().decode().replace("\r\n", "\n")
    entries = list(_ENTRY.finditer(text))
    ends = [entry.start() for entry in entries[1:]] + [len(text)]
    return [
        Message(
            at_ns=int(datetime.fromisoformat(entry[1]).astimezone().timestamp() * 1e9),
            received=entry[2] == "received",
            text=text[entry.end() : end].strip("\n"),
        )
        for entry, end in zip(entries, ends, strict=True)
    ]


def free_port() -> int:
    """A port of 127.0.0.1 that is free for UDP and TCP alike."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port = int(udp.getsockname()[1])
            try:
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Sipp:
    """SIPp answering one call by ``scenario``; entered when it listens, killed on leaving. ``keys`` are its [keys]."""

    def __init__(
        self, folder: Path, scenario: str, transport: Literal["udp", "tcp"] = "udp", **keys: str | int
    ) -> None:
        self.port = free_port()
        self.transport = transport
        self._log = folder / f"{scenario}-{self.port}.log"
        fields = [word for key, value in keys.items() for word in ("-key", key, str(value))]
        self._command = [
            "sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", "127.0.0.1", "-p", str(self.port),
            "-t", "u1" if transport == "udp" else "t1", "-m", "1", "-nostdin", "-timeout", "60", "-timeout_error",
            "-trace_msg", "-message_file", str(self._log), *fields,
        ]  # fmt: skip

    def __enter__(self) -> Sipp:
        self._process = subprocess.Popen(
            self._command, cwd=self._log.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not self._listens():
            assert self._process.poll() is None, "SIPp ended at its start"
            assert time.monotonic() < deadline, "SIPp does not listen"
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def uri(self) -> str:
        """Where to call it."""
        return f"sip:peer@127.0.0.1:{self.port}"

    def succeeded(self, within: float = 10.0) -> bool:
        """Wait for SIPp's end; whether the scenario went as written."""
        return self._process.wait(within) == 0

    def messages(self) -> list[Message]:
        """All that was received and sent, in order; after its end."""
        return messages_of(self._log)

    def received(self, method: str) -> Message:
        """The first request of ``method``."""
        return next(m for m in self.messages() if m.received and m.first_line.startswith(f"{method} "))

    def sent(self, status: int) -> Message:
        """The first response with ``status``."""
        return next(m for m in self.messages() if not m.received and m.first_line.startswith(f"SIP/2.0 {status} "))

    def _listens(self) -> bool:
        table = Path(f"/proc/net/{self.transport}").read_text()
        state = "07" if self.transport == "udp" else "0A"
        return re.search(rf":{self.port:04X} \S+ {state} ", table) is not None
