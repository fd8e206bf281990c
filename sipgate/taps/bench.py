"""``sipgate bench sip``: how many recording sessions one core sets up, how fast, and what one costs in memory.

The recording server (tap, transport, grammar, metadata) runs in this process over a real UDP socket; a process of its
own (``load``) is the client: INVITE with two m-lines and metadata (about 3 kB), ACK, BYE. Behind the tap stands
nothing: every session is accepted with two ports at once, as what core and media cost is ``bench media``'s matter.

``calls_per_second_per_core``: calls divided by the CPU seconds (user and system) that this process spent on them, from
INVITE to the answer to BYE. ``p99_ms_at_200``: INVITE to 200 as the client sees it, at 200 calls a second.
``behind_ms_at_200``: by how much the client itself was late at worst; above 10 ms the machine was too busy for p99 to
say anything. ``kb_sip``: growth of this process' resident memory with so many calls standing, divided by them; what
core, media and service add to it is ``service.bench``'s to measure.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from typing import Any, Final

from sipgate import config
from sipgate.core.events import Event, Offered
from sipgate.errors import PeerError
from sipgate.taps.siprec import SiprecTap

LOAD: Final = (sys.executable, "-m", "sipgate.taps.load")
RATE: Final = 200
_WINDOW = 32
_WARM_UP = 300
SETTINGS = {
    "listen": [{"port": 0}],
    "connection": [
        {"name": "load", "addresses": ["127.0.0.1/32"], "begins": "answer", "announcement": "before-answer"}
    ],
    "capacity": 1_000_000,
}


def run(calls: int = 5000, seconds: float = 10.0, held: int = 2000) -> dict[str, float | int]:
    """Measure. ``calls``: for the throughput; ``seconds``: at 200 calls a second; ``held``: standing at once.

    Raises PeerError when a call was not answered.
    """
    return asyncio.run(_run(calls, seconds, held))


async def _run(calls: int, seconds: float, held: int) -> dict[str, float | int]:
    taps: list[SiprecTap] = []

    def emit(event: Event) -> None:
        if isinstance(event, Offered):
            taps[0].accept(event.session, [30000, 30002])

    taps.append(SiprecTap(config.Siprec.model_validate(SETTINGS), "FR", "127.0.0.1", time.time_ns, emit))
    tap = taps[0]
    await tap.start()
    port = tap.bound[0][2]
    try:
        await load(port, _WARM_UP, 0, 0.0)
        memory = await grown(port, held)  # first, before what others leave could be used again
        before = time.process_time()
        fast = await load(port, calls, 0, 0.0)
        cpu = time.process_time() - before
        steady = await load(port, int(RATE * seconds), RATE, 0.5)
    finally:
        await tap.stop()
    return {
        "calls_per_second_per_core": round(calls / cpu),
        "p99_ms_at_200": steady["p99_ms"],
        "kb_sip": round(memory / held / 1000, 1),
        "p50_ms_at_200": steady["p50_ms"],
        "behind_ms_at_200": steady["behind_ms"],
        "calls": calls,
        "cpu_seconds": round(cpu, 3),
        "p99_ms_unpaced": fast["p99_ms"],
        "calls_held": held,
    }


async def load(
    port: int, calls: int, rate: int, hold: float, standing: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Run the client against a recorder at this port; its figures. Raises PeerError when a call was not answered.

    ``standing`` is called when all calls stand (a negative ``hold``).
    """
    arguments = [str(port), str(calls), str(rate), str(_WINDOW), str(hold)]
    process = await asyncio.create_subprocess_exec(*LOAD, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    try:
        if standing is not None and process.stdin is not None:
            await _line(process)
            standing()
            process.stdin.write(b"\n")
        figures = await _line(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    if figures["failed"]:
        raise PeerError(f"{figures['failed']} of {calls} calls were not answered; is the machine busy?")
    return figures


async def grown(port: int, calls: int, look: Callable[[], None] = lambda: None) -> int:
    """By how many bytes this process grows while so many calls stand; ``look`` is called while they do."""
    gc.collect()
    before, found = _resident(), [0]

    def standing() -> None:
        gc.collect()
        found[0] = _resident() - before
        look()

    await load(port, calls, 0, -1.0, standing)
    return max(found[0], 0)


async def _line(process: Process) -> dict[str, Any]:
    if process.stdout is None or process.stderr is None:
        return {}
    line = await process.stdout.readline()
    if not line:
        said = (await process.stderr.read()).decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise PeerError(f"the load ended early: {said or 'without a word'}")
    found: dict[str, Any] = json.loads(line)
    return found


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
