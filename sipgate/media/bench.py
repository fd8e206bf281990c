"""``sipgate bench media``: how many calls this machine's core receives, measured.

Two streams a call come over loopback from a process of their own. The figure has two bases (LAB.md §4): the CPU seconds
of this process (receiving, placing, sealing, writing), and those together with the kernel's receive softirq, which on
loopback runs while the *sender* sends; it is read from /proc/stat, so it holds whatever else the machine received. What
a call costs once (sealing its end) is not in either, but given beside them.
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
from typing import IO, Final

from sipgate.config import Media
from sipgate.core.events import Side, StreamOffer
from sipgate.errors import MediaError
from sipgate.media.frames import FILE_NAME, LiveFileReader
from sipgate.media.receiver import TICK_SECONDS, Receiver

SENDER: Final = (sys.executable, "-m", "sipgate.media.load")
Inspect = Callable[[int, LiveFileReader], None]
"""Called for every call of a run with its number and its finished live file."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run. ``length_error_ms``: the largest difference between a recording's length and its call's wall clock."""

    sent: int
    kept: int
    lost: int
    kernel_drops: int
    length_error_ms: float
    cpu_seconds: float
    softirq_seconds: float
    finish_ms: float
    behind_ms: float
    """By how much the sender itself was late at worst: above 100 ms the machine was too busy to show anything."""


@dataclass
class _Call:
    recording: str
    folder: Path
    key: bytes
    answered_at_ns: int = 0
    ended_at_ns: int = 0


def run(calls: int, seconds: float, *, runs: int = 3, sender: Sequence[str] = SENDER) -> dict[str, float | int]:
    """The median of ``runs`` runs of ``calls`` calls that last ``seconds`` each; the worst of losses and lengths."""
    results = [one_run(calls, seconds, sender) for _ in range(runs)]
    cpu = statistics.median(result.cpu_seconds for result in results)
    softirq = statistics.median(result.softirq_seconds for result in results)
    return {
        "calls": calls,
        "seconds": seconds,
        "runs": runs,
        "sent": sum(result.sent for result in results),
        "kept": sum(result.kept for result in results),
        "lost": sum(result.lost for result in results),
        "kernel_drops": sum(result.kernel_drops for result in results),
        "sender_behind_ms": max(result.behind_ms for result in results),
        "length_error_ms": max(result.length_error_ms for result in results),
        "cpu_seconds": round(cpu, 3),
        "softirq_seconds": round(softirq, 3),
        "finish_ms_a_call": round(statistics.median(result.finish_ms for result in results), 3),
        "calls_per_core_receiver_only": round(calls * seconds / cpu),
        "calls_per_core_with_softirq": round(calls * seconds / (cpu + softirq)),
    }


def one_run(calls: int, seconds: float, sender: Sequence[str] = SENDER, inspect: Inspect | None = None) -> Run:
    """Receive ``calls`` calls at once. Raises MediaError when ports are lacking or the sender dies."""
    with (
        tempfile.TemporaryDirectory(prefix="sipgate-bench-") as folder,
        subprocess.Popen(
            [*sender, str(calls), str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        receiver = Receiver(Media(first_port=20000, last_port=min(65535, 22000 + 4 * calls)), time.time_ns, _ignore)
        receiver.start()
        try:
            return _measure(receiver, _prepare(Path(folder), calls), process, inspect)
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


def _measure(receiver: Receiver, calls: list[_Call], process: subprocess.Popen[str], inspect: Inspect | None) -> Run:
    sources = json.loads(_line(process.stdout))
    ports: list[int] = []
    for number, call in enumerate(calls):
        offers = [
            StreamOffer(side.name, side, "127.0.0.1", sources[2 * number + side.value], ((0, "PCMU"),)) for side in Side
        ]
        ports += receiver.open(call.recording, offers, call.key, call.folder)
    for call in calls:
        call.answered_at_ns = time.time_ns()
        receiver.begin(call.recording, call.answered_at_ns)
    cpu, softirq = time.process_time(), _softirq_seconds()
    print(json.dumps(ports), file=process.stdin, flush=True)
    report = json.loads(_line(process.stdout))
    sent = int(report["sent"])
    time.sleep(2 * TICK_SECONDS)
    cpu, softirq = time.process_time() - cpu, _softirq_seconds() - softirq
    finish = time.process_time()
    for call in calls:
        call.ended_at_ns = time.time_ns()
        receiver.finish(call.recording, call.ended_at_ns)
    finish = (time.process_time() - finish) / len(calls)
    kept = receiver.statistics()
    worst = 0
    for number, call in enumerate(calls):
        with LiveFileReader(call.folder / FILE_NAME, call.key) as live:
            worst = max(worst, abs((live.length_ns or 0) - (call.ended_at_ns - call.answered_at_ns)))
            if inspect is not None:
                inspect(number, live)
    return Run(
        sent,
        kept.kept,
        sent - kept.kept,
        kept.dropped,
        worst / 1e6,
        cpu,
        softirq,
        finish * 1e3,
        float(report["behind_ms"]),
    )


def _softirq_seconds() -> float:
    """Softirq time of all processors (proc(5), /proc/stat, seventh figure)."""
    figures = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    return int(figures[7]) / float(os.sysconf("SC_CLK_TCK"))


def main() -> None:
    """For a look without the command line."""
    print(json.dumps(asdict(one_run(int(sys.argv[1]), float(sys.argv[2])))))


if __name__ == "__main__":
    main()
