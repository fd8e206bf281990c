"""Other recorders on this machine, under the same sender: what ``sipgate bench media`` prints beside its own figures.

Each records as many calls as it is given for a few seconds, by the CPU seconds of its own processes; loss is counted
where its files show it. What is not installed is said to be missing. They are given as many calls as
they take without loss, of a few numbers tried.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sipgate.errors import MediaError

SECONDS: Final = 4.0
_WARM_UP: Final = 1.0
_START_SECONDS: Final = 15.0
_HZ: Final = float(os.sysconf("SC_CLK_TCK"))
_PACKET: Final = 160


@dataclass(frozen=True, slots=True)
class Baseline:
    """``why_not``: when it could not be measured. ``lost``: packets of the load that are not in its files; None where
    that cannot be counted."""

    name: str
    calls: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    lost: int | None = None
    calls_per_core: int | None = None
    why_not: str | None = None


# --- asyncio ------------------------------------------------------------------------------------------------------

_ASYNCIO: Final = """
import asyncio, json, sys
class Recorder(asyncio.DatagramProtocol):
    def __init__(self, path): self.file, self.held = open(path, "wb"), bytearray()
    def datagram_received(self, data, addr):
        self.held += data[12:]
        if len(self.held) >= 8000: self.flush()
    def flush(self): self.file.write(self.held); self.file.flush(); self.held = bytearray()
async def main(streams, folder):
    loop, ports, all_ = asyncio.get_running_loop(), [], []
    for n in range(streams):
        transport, recorder = await loop.create_datagram_endpoint(
            lambda n=n: Recorder(f"{folder}/{n}"), local_addr=("127.0.0.1", 0))
        ports.append(transport.get_extra_info("sockname")[1]); all_.append(recorder)
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    for recorder in all_: recorder.flush()
asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
"""


def asyncio_recorder(calls: int) -> Baseline:
    """A DatagramProtocol for each stream, a file for each, written every second: nothing is placed or sealed."""
    name = "asyncio"
    with tempfile.TemporaryDirectory(prefix="sipgate-bench-") as folder:
        command = [sys.executable, "-c", _ASYNCIO, str(2 * calls), folder]
        with _started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            ports = json.loads(process.stdout.readline()) if process.stdout is not None else []
            cpu, sent = _under_load(process.pid, calls, ports)
            process.communicate("\n", timeout=_START_SECONDS)
        return _figures(name, calls, cpu, sent, _payloads(folder))


# --- GStreamer ----------------------------------------------------------------------------------------------------


def gstreamer(calls: int) -> Baseline:
    """gst-launch-1.0: udpsrc, rtpjitterbuffer, rtppcmudepay, filesink for each stream."""
    name = "gstreamer"
    if shutil.which("gst-launch-1.0") is None:
        return Baseline(name, why_not="gst-launch-1.0 is not installed (gstreamer1.0-tools, -plugins-base, -good)")
    ports = _free_ports(2 * calls)
    caps = "application/x-rtp,media=audio,clock-rate=8000,encoding-name=PCMU,payload=0"
    with tempfile.TemporaryDirectory(prefix="sipgate-bench-") as folder:
        chains = [
            f"udpsrc address=127.0.0.1 port={port} caps={caps} ! rtpjitterbuffer latency=50 ! rtppcmudepay ! "
            f"filesink location={folder}/{number}"
            for number, port in enumerate(ports)
        ]
        command = ["gst-launch-1.0", "-q", "-e", *" ".join(chains).split()]
        with _started(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            _wait(lambda: _bound(ports[-1]))
            cpu, sent = _under_load(process.pid, calls, ports)
            process.send_signal(signal.SIGINT)
            process.wait(_START_SECONDS)
        return _figures(name, calls, cpu, sent, _payloads(folder))


# --- rtpengine ----------------------------------------------------------------------------------------------------


def rtpengine(calls: int) -> Baseline:
    """Debian's rtpengine in user space with recording-method=pcap; it also forwards each packet to the other side."""
    name = "rtpengine"
    if shutil.which("rtpengine") is None:
        return Baseline(name, why_not="rtpengine is not installed (rtpengine-daemon)")
    (control,) = _free_ports(1)
    with tempfile.TemporaryDirectory(prefix="sipgate-bench-") as folder:
        command = ["rtpengine", "-f", "-E", "--table=-1", "--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{control}",
                   "--port-min=40000", f"--port-max={41000 + 4 * calls}", "--timeout=60", "--log-level=1",
                   f"--recording-dir={folder}", "--recording-method=pcap", "--recording-format=raw",
                   "--num-threads=1", f"--pidfile={folder}/pid"]  # fmt: skip
        with _started(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            with socket.socket(type=socket.SOCK_DGRAM) as ng:
                ng.connect(("127.0.0.1", control))
                ng.settimeout(1.0)
                _wait(lambda: _pong(ng))
                cpu, sent = _under_load(process.pid, calls, lambda sources: _relayed(ng, sources))
                time.sleep(1.0)
            process.terminate()
            process.wait(_START_SECONDS)
        kept = sum(_packets_in(path) for path in Path(folder, "pcaps").glob("*.pcap"))
        return _figures(name, calls, cpu, sent, kept)


def _pong(ng: socket.socket) -> bool:
    return "6:result4:pong" in _ask(ng, {"command": "ping"})


def _relayed(ng: socket.socket, sources: Sequence[int]) -> list[int]:
    """Offer and answer of each call; where each of its two streams must go."""
    ports = []
    for number in range(0, len(sources), 2):
        call = {"call-id": f"bench-{number}", "from-tag": "a", "record-call": "yes"}
        offer = _ask(ng, {"command": "offer", "sdp": _sdp(sources[number]), **call})
        answer = _ask(ng, {"command": "answer", "to-tag": "b", "sdp": _sdp(sources[number + 1]), **call})
        ports += [_port(answer), _port(offer)]
    return ports


def _sdp(port: int) -> str:
    head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    return f"{head}m=audio {port} RTP/AVP 0\r\na=sendrecv\r\n"


def _port(answer: str) -> int:
    return int(answer.partition("m=audio ")[2].split()[0])


def _ask(ng: socket.socket, request: dict[str, str]) -> str:
    """One request of rtpengine's ng protocol, a cookie and a bencoded dictionary of strings; its answer as it comes."""
    body = "".join(f"{len(text)}:{text}" for pair in sorted(request.items()) for text in pair)
    ng.send(f"{time.monotonic_ns()} d{body}e".encode())
    answer = ng.recv(65_535).decode()
    if "6:result5:error" in answer:
        raise MediaError("rtpengine refuses a call")
    return answer


def _packets_in(path: Path) -> int:
    """RTP packets in a pcap file of rtpengine (raw or Ethernet)."""
    data, at, found = path.read_bytes(), 24, 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at + 8 : at + 12], "little")
        found += size >= _PACKET + 12 + 28
        at += 16 + size
    return found


_RECORDERS: Final = ((asyncio_recorder, (400, 200, 100, 50)), (gstreamer, (60, 30)), (rtpengine, (400, 200, 100)))


def measured() -> list[Baseline]:
    """Each recorder at the largest of its numbers of calls that it takes without loss, or at the last of them."""
    found = []
    for recorder, numbers in _RECORDERS:
        for calls in numbers:
            baseline = recorder(calls)
            if not baseline.lost:
                break
        found.append(baseline)
    return found


# --- what they share ----------------------------------------------------------------------------------------------


@contextmanager
def _started(command: Sequence[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(list(command), **options) as process:  # type: ignore[call-overload]
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))  # Debian's rtpengine can crash when it is stopped
        with contextlib.suppress(PermissionError):  # as our own receiver's thread
            os.setpriority(os.PRIO_PROCESS, process.pid, -10)
        try:
            yield process
        finally:
            process.kill()


def _under_load(pid: int, calls: int, ports: Sequence[int] | Callable[[list[int]], list[int]]) -> tuple[float, int]:
    """Send to the ports; the CPU seconds of a process per ``SECONDS`` of it, and how many packets were sent in all."""
    command = [sys.executable, "-m", "sipgate.media.load", str(calls), str(_WARM_UP + SECONDS)]
    with _started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
        if sender.stdin is None or sender.stdout is None:
            raise MediaError("the process that sends RTP cannot be spoken to")
        sources = json.loads(sender.stdout.readline())
        to = ports(sources) if callable(ports) else ports
        print(json.dumps(list(to)), file=sender.stdin, flush=True)
        time.sleep(_WARM_UP)
        before = _cpu_seconds(pid)
        report = json.loads(sender.stdout.readline() or "{}")
        return _cpu_seconds(pid) - before, int(report.get("sent", 0))


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads (proc(5))."""
    figures = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(figures[11]) + int(figures[12])) / _HZ


def _figures(name: str, calls: int, cpu: float, sent: int, kept: int) -> Baseline:
    """Of what it kept: whoever loses packets spends nothing on them."""
    per_core = round(calls * SECONDS / cpu * kept / sent) if cpu > 0 and sent else None
    return Baseline(name, calls, SECONDS, round(cpu, 2), sent - kept, per_core)


def _payloads(folder: str) -> int:
    return sum(path.stat().st_size for path in Path(folder).iterdir()) // _PACKET


def _free_ports(count: int) -> list[int]:
    socks = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in socks]
    finally:
        for sock in socks:
            sock.close()


def _bound(port: int) -> bool:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        if time.monotonic() > until:
            raise MediaError("a recorder to compare with did not start")
        time.sleep(0.1)
