"""SIPp plays the dialects of tests/peers/sipp, one file a vendor, over UDP, TCP, and TLS.

Debian's SIPp is built without TLS (``sipp -v`` names none), so over TLS it speaks TCP to a socat that shakes hands,
checks our certificate and shows one of its own.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sipgate.errors import PeerError
from tests.peers.sipp_answering import Message, free_port, messages_of

SCENARIOS = Path(__file__).parent / "sipp"
needs_socat = pytest.mark.skipif(shutil.which("socat") is None, reason="no TLS for SIPp: apt-get install socat")


@dataclass(frozen=True)
class Line:
    """One m-line of an answer."""

    kind: str
    port: int
    label: str | None
    direction: str


@dataclass(frozen=True)
class Tls:
    """Where a server's TLS is, who signed its certificate, what the client shows, and the server's name."""

    port: int
    ca: Path
    certificate: Path
    key: Path
    name: str = "recorder"


async def play(folder: Path, scenario: str, port: int, *, transport: str = "udp", calls: int = 1) -> list[Message]:
    """Play ``calls`` calls against 127.0.0.1:port; all that was sent and received. Raises PeerError with SIPp's report.

    ``transport`` is what the messages say; "tls" goes over TCP to ``port``, where a ``tls_bridge`` stands.
    """
    log, errors = folder / f"{scenario}-messages.log", folder / f"{scenario}-errors.log"
    file = SCENARIOS / f"{scenario}.xml"
    command = ["sipp", f"127.0.0.1:{port}", "-sf", str(file), "-i", "127.0.0.1", "-p", str(free_port())]
    command += ["-t", "u1" if transport == "udp" else "t1", "-key", "proto", transport.upper(), "-m", str(calls)]
    command += ["-r", "50", "-nostdin", "-timeout", "20s", "-timeout_error"]
    command += ["-trace_msg", "-message_file", str(log), "-trace_err", "-error_file", str(errors)]
    fields = SCENARIOS / f"{scenario}.csv"
    command += ["-inf", str(fields)] if fields.exists() else []
    await _finish(command, folder, errors)
    return messages_of(log)


@asynccontextmanager
async def tls_bridge(tls: Tls) -> AsyncIterator[int]:
    """A TCP port of 127.0.0.1 whose every connection goes on over TLS."""
    port = free_port()
    openssl = f"OPENSSL:127.0.0.1:{tls.port},cafile={tls.ca},commonname={tls.name},cert={tls.certificate},key={tls.key}"
    listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"
    process = await asyncio.create_subprocess_exec("socat", listen, openssl, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(5):
            while f":{port:04X} 00000000:0000 0A" not in Path("/proc/net/tcp").read_text():
                assert process.returncode is None, "socat ended at its start"
                await asyncio.sleep(0.01)
        yield port
    finally:
        process.terminate()
        await process.communicate()


def answers_to(messages: list[Message], method: str) -> list[Message]:
    """The final responses to a method's requests, of all calls, in order."""
    finals = [m for m in messages if m.received and re.match(r"SIP/2\.0 [2-6]", m.text)]
    return [m for m in finals if m.header("CSeq").endswith(f" {method}")]


def lines_of(answer: Message) -> tuple[Line, ...]:
    """The m-lines of an answer."""
    _, *sections = re.split(r"(?m)^m=", answer.text.partition("\n\n")[2])
    return tuple(_line(section) for section in sections)


def _line(section: str) -> Line:
    kind, port = section.split(None, 2)[:2]
    label = re.search(r"(?m)^a=label:(.*)$", section)
    (direction,) = re.findall(r"(?m)^a=(sendonly|recvonly|sendrecv|inactive)$", section) or ["none"]
    return Line(kind, int(port), label[1] if label else None, direction)


async def _finish(command: list[str], folder: Path, errors: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(30):
            _, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        report = errors.read_text(encoding="utf-8", errors="replace") if errors.exists() else ""
        raise PeerError(f"SIPp ended with {process.returncode}:\n{report}{stderr.decode('utf-8', 'replace')}")
