"""``sipgate bench media``: how many calls this machine's core records, measured, and beside it what other recorders do.

Real streams, two a call, come over loopback from a process of their own (``load``), and every recording is read back:
each packet must be there, in its place. CPU seconds are measured from ``WARM_UP_SECONDS`` on, when every call stands.
Three bases (LAB.md §4):

* *receiver*: the CPU seconds of this process: receiving, placing, sealing, writing;
* *with softirq*: and the kernel's receive softirq, less that of the idle machine. On loopback it runs while the
  *sender* sends, so it is read from /proc/stat, and includes whatever else this machine received;
* *all in*: and what a call costs once (signalling, key and file, the first packets, the sealing of its end), as a part
  of a call of ``CALL_SECONDS``.

What other recorders do (``baselines``) is measured by the CPU seconds of their processes alone: the first basis.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from sipgate.config import Media
from sipgate.core.events import Side, StreamOffer
from sipgate.errors import MediaError
from sipgate.media import baselines, load
from sipgate.media.frames import FILE_NAME, LEGS, LiveFileReader
from sipgate.media.receiver import TICK_SECONDS, Receiver
from sipgate.taps import bench as sip_bench

SENDER: Final = (sys.executable, "-m", "sipgate.media.load")
WARM_UP_SECONDS: Final = 1.0
CALL_SECONDS: Final = 120.0
"""How long a call lasts of which ``calls_per_core_all_in`` counts the beginning and the end."""
_IDLE_SECONDS: Final = 0.5
Inspect = Callable[[int, LiveFileReader], int | None]
"""Called for every call of a run with its number and its finished live file; returns how much of it is wrong."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run. ``length_error_ms``: the largest difference between a recording's length and its call's wall clock."""

    sent: int
    kept: int
    lost: int
    kernel_drops: int
    length_error_ms: float
    torn: int
    cpu_seconds: float
    softirq_seconds: float
    once_ms: float
    """CPU milliseconds that a call costs whatever its length."""
    behind_ms: float
    """By how much the sender itself was late at worst: above 100 ms the machine was too busy to show anything."""


@dataclass
class _Call:
    recording: str
    folder: Path
    key: bytes
    answered_at_ns: int = 0
    ended_at_ns: int = 0


def run(
    calls: int = 1000,
    seconds: float = 8.0,
    *,
    runs: int = 3,
    sender: Sequence[str] = SENDER,
    beside: bool = True,
    srtp: bool = False,
) -> dict[str, Any]:
    """The median of ``runs`` runs of ``calls`` calls; the worst of losses and lengths. ``beside``: baselines too, not
    with ``srtp``: every stream encrypted."""
    inspect = check_content if sender is SENDER else None
    results = [one_run(calls, seconds, sender, inspect, srtp=srtp) for _ in range(runs)]
    signalling = 1 / sip_bench.run(400, 1.0, 100)["calls_per_second_per_core"] if beside else 0.0
    figures = _figures(calls, seconds, results, signalling, load.SUITE if srtp else "")
    if beside and not srtp:
        found = baselines.measured()
        figures["baselines"] = {b.name: b.calls_per_core for b in found if b.calls_per_core is not None}
        figures["baseline_runs"] = [asdict(b) for b in found]
    return figures


def _figures(calls: int, seconds: float, results: Sequence[Run], signalling: float, suite: str) -> dict[str, Any]:
    """``signalling``: CPU seconds a call."""
    cpu = statistics.median(result.cpu_seconds for result in results)
    softirq = statistics.median(result.softirq_seconds for result in results)
    once = statistics.median(result.once_ms for result in results) / 1e3
    measured = calls * seconds
    return {
        "calls": calls,
        "srtp": suite,
        "lost": sum(result.lost for result in results),
        "calls_per_core_receiver": round(measured / cpu),
        "calls_per_core_with_softirq": round(measured / (cpu + softirq)),
        "calls_per_core_all_in": round(1 / ((cpu + softirq) / measured + (once + signalling) / CALL_SECONDS)),
        "baselines": {},
        "seconds": seconds,
        "runs": len(results),
        "sent": sum(result.sent for result in results),
        "kept": sum(result.kept for result in results),
        "torn": sum(result.torn for result in results),
        "kernel_drops": sum(result.kernel_drops for result in results),
        "cpu_seconds": round(cpu, 3),
        "softirq_seconds": round(softirq, 3),
        "once_ms_a_call": round(once * 1e3, 3),
        "signalling_ms_a_call": round(signalling * 1e3, 3),
        "call_seconds": CALL_SECONDS,
        "length_error_ms": max(result.length_error_ms for result in results),
        "sender_behind_ms": max(result.behind_ms for result in results),
    }


def check_content(number: int, live: LiveFileReader) -> int:
    """How many legs of a call of our own sender are not there bit for bit and in one piece."""
    windows = list(live.windows(live.length_ns or live.sealed_ns))
    torn = 0
    for leg in range(LEGS):
        codec = np.concatenate([window.codec[leg] for window in windows])
        sound = np.concatenate([window.sound[leg] for window in windows])
        present = np.flatnonzero(codec)
        units = np.ascontiguousarray(sound[present]).reshape(-1).view(load.UNIT)
        whole = present.size > 0 and present[-1] - present[0] + 1 == present.size
        in_order = units["number"] == np.arange(present.size) // load.UNITS
        torn += not (whole and bool(np.all(in_order & (units["stream"] == LEGS * number + leg))))
    return torn


def one_run(
    calls: int, seconds: float, sender: Sequence[str] = SENDER, inspect: Inspect | None = None, *, srtp: bool = False
) -> Run:
    """Receive ``calls`` calls at once. Raises MediaError when ports are lacking or the sender dies."""
    with (
        tempfile.TemporaryDirectory(prefix="sipgate-bench-") as folder,
        subprocess.Popen(
            [*sender, str(calls), str(WARM_UP_SECONDS + seconds), *(["srtp"] if srtp else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        receiver = Receiver(Media(first_port=20000, last_port=min(65535, 22000 + 4 * calls)), time.time_ns, _ignore)
        receiver.start()
        try:
            return _measure(receiver, _prepare(Path(folder), calls), process, inspect, srtp)
        finally:
            receiver.stop()
            process.terminate()


def _ignore(_: object) -> None:
    """Events do not matter here."""


def _prepare(folder: Path, calls: int) -> list[_Call]:
    prepared = []
    for number in range(calls):
        (folder / str(number)).mkdir()
        prepared.append(_Call(secrets.token_hex(16), folder / str(number), secrets.token_bytes(32)))
    return prepared


def _line(stream: IO[str] | None) -> str:
    line = stream.readline() if stream is not None else ""
    if not line:
        raise MediaError("the process that sends RTP has died")
    return line


def _measure(
    receiver: Receiver, calls: list[_Call], process: subprocess.Popen[str], inspect: Inspect | None, srtp: bool
) -> Run:
    sources = json.loads(_line(process.stdout))
    idle = _idle_softirq()
    began = time.process_time()
    ports = _begin(receiver, calls, sources, srtp)
    opened = time.process_time() - began
    print(json.dumps(ports), file=process.stdin, flush=True)
    began = time.process_time()
    time.sleep(WARM_UP_SECONDS)
    cpu, softirq, since = time.process_time(), _softirq_seconds(), time.monotonic()
    warm = cpu - began
    report = json.loads(_line(process.stdout))
    time.sleep(2 * TICK_SECONDS)
    cpu = time.process_time() - cpu
    softirq = max(0.0, _softirq_seconds() - softirq - idle * (time.monotonic() - since))
    steady = cpu / (time.monotonic() - since - 2 * TICK_SECONDS)
    finish = time.process_time()
    for call in calls:
        call.ended_at_ns = time.time_ns()
        receiver.finish(call.recording, call.ended_at_ns)
    finish = time.process_time() - finish
    once = opened + max(0.0, warm - steady * WARM_UP_SECONDS) + finish
    kept = receiver.statistics()
    worst, torn = _inspect(calls, inspect)
    sent, behind = int(report["sent"]), float(report["behind_ms"])
    lost = sent - kept.kept
    once_ms = once / len(calls) * 1e3
    return Run(sent, kept.kept, lost, kept.dropped, worst / 1e6, torn, cpu, softirq, once_ms, behind)


def _begin(receiver: Receiver, calls: list[_Call], sources: list[int], srtp: bool) -> list[int]:
    ports: list[int] = []
    for number, call in enumerate(calls):
        offers = [
            StreamOffer(side.name, side, "127.0.0.1", port, ((0, "PCMU"),), True, ("127.0.0.1", port), crypto)
            for side in Side
            for port in [sources[2 * number + side.value]]
            for crypto in [(load.key_of(2 * number + side.value),) if srtp else ()]
        ]
        ports += receiver.open(call.recording, offers, call.key, call.folder)
    for call in calls:
        call.answered_at_ns = time.time_ns()
        receiver.begin(call.recording, call.answered_at_ns)
    return ports


def _inspect(calls: list[_Call], inspect: Inspect | None) -> tuple[int, int]:
    worst = torn = 0
    for number, call in enumerate(calls):
        with LiveFileReader(call.folder / FILE_NAME, call.key) as live:
            worst = max(worst, abs((live.length_ns or 0) - (call.ended_at_ns - call.answered_at_ns)))
            torn += (inspect(number, live) or 0) if inspect is not None else 0
    return worst, torn


def _idle_softirq() -> float:
    """Softirq seconds a second of this machine without us."""
    before = _softirq_seconds()
    time.sleep(_IDLE_SECONDS)
    return (_softirq_seconds() - before) / _IDLE_SECONDS


def _softirq_seconds() -> float:
    """Softirq time of all processors (proc(5), /proc/stat, seventh figure)."""
    figures = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    return int(figures[7]) / float(os.sysconf("SC_CLK_TCK"))


def main() -> None:
    """For a look without the command line."""
    srtp = "srtp" in sys.argv[3:]
    print(json.dumps(asdict(one_run(int(sys.argv[1]), float(sys.argv[2]), inspect=check_content, srtp=srtp))))


if __name__ == "__main__":
    main()
