"""What one call costs from signalling to the ring of its sound, and how soon it is answered: all but the console.

``sipgate bench sip`` runs this as a process of its own (``python -m sipgate.service.bench HELD SECONDS``): the tap,
core, the vault on a disk and the receiver, joined by ``Stage`` as in the service, under a policy that records every
call of the load (``taps.load``). Nothing is finished and no console runs: those come after the call, or beside it.

``kb_per_call``: by how much this process' resident memory grows with so many calls standing, divided by them. In it are
``kb_ring``, the last seconds of sound (``media.store``), and all else: session, dialog, transaction, core's call, live
file, streams. ``kb_kernel`` comes on top: its open sockets and its file, by the sizes of the kernel's own objects
(slabinfo), None where those may not be read; packets that wait in a socket are not counted.
``whole_p50_ms_at_200``, ``whole_p99_ms_at_200``: INVITE to 200 at 200 calls a second, the key durable on the disk
before ports are told; None when this machine cannot do it. ``whole_cpu_ms``: CPU (user and
system) of such a call, to the last file of its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final, cast

from sipgate import config
from sipgate.core import events as ev
from sipgate.core.lines import SelectorSet
from sipgate.core.policy import Connection, Enrolment, Holder, Policy
from sipgate.core.selectors import parse_selector
from sipgate.errors import PeerError
from sipgate.media.frames import LEGS, UNIT_BYTES
from sipgate.media.receiver import Receiver
from sipgate.media.store import RING_UNITS
from sipgate.service.clock import SteadyClock
from sipgate.service.ended import EndedCall
from sipgate.service.stage import Stage
from sipgate.taps import bench as signalling
from sipgate.taps.siprec import SiprecTap
from sipgate.vault.vault import Vault
from sipgate.workstations.link import WorkstationLink

_LINE = "sip:2001@load.example"  # who is called by the load
_WARM_UP = 100
_RESTING_SECONDS = 0.03  # CPU in 0.3 s
_FILES_A_CALL = 3
_FILES_BESIDE = 200
_SOCKET: Final = ("UDP", "sock_inode_cache", "filp", "dentry")
_FILE: Final = ("ext4_inode_cache", "filp", "dentry")


class _Nobody:
    """Nothing comes after the calls of a bench."""

    def expect(self, call: EndedCall) -> None:
        """No film."""

    def finish(self, call: EndedCall) -> None:
        """No WebM."""

    def filmed_by(self, _recording: str) -> str | None:
        """Nobody filmed it."""
        return None

    def retell(self, recording: str, story: str) -> None:
        """No index."""

    def forget(self, recording: str, *, expired: bool = False) -> None:
        """No index."""


def _policy(now_ns: int) -> Policy:
    line = SelectorSet([parse_selector(_LINE, "FR")])
    return Policy(
        exclusions=SelectorSet([]),
        exclusions_readable=True,
        gate_open=True,
        enrolments=(Enrolment(1, line, 0, 2 * now_ns, 1_000_000, 0),),
        holders=(Holder(1, line, acknowledged=True),),
        connections={"load": Connection("load", "*9")},
    )


def _kernel_bytes(sockets: float) -> float | None:
    """Of one call: so many sockets, and its live file."""
    try:
        lines = Path("/proc/slabinfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    sizes = {words[0]: int(words[3]) for line in lines[2:] if len(words := line.split()) > 3}
    if not {*_SOCKET, *_FILE} <= sizes.keys():
        return None
    return sockets * sum(sizes[name] for name in _SOCKET) + sum(sizes[name] for name in _FILE)


async def _measure(held: int, seconds: float, folder: Path) -> dict[str, Any]:
    clock, vault = SteadyClock(), Vault(folder / "data", folder / "keys")
    media = config.Media.model_validate({"address": "127.0.0.1", "first_port": 20000, "last_port": 64999})
    receiver = Receiver(media, clock, lambda event: stage.post(event))  # noqa: PLW0108 - made below
    stage = Stage(clock, vault, receiver, cast("WorkstationLink", None), _Nobody())  # it is never asked: no film
    tap = SiprecTap(config.Siprec.model_validate(signalling.SETTINGS), "FR", "127.0.0.1", clock, stage.handle)
    stage.start(tap)
    receiver.start()
    await tap.start()
    stage.handle(ev.PolicyChanged(_policy(clock()), clock()))
    held = min(held, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _FILES_BESIDE) // _FILES_A_CALL)
    try:
        port = tap.bound[0][2]
        await signalling.load(port, _WARM_UP, 0, 0.0)
        before, opened = _open_files(), [0]
        grown = await signalling.grown(port, held, lambda: opened.append(_open_files()))
        kernel = _kernel_bytes((opened[-1] - before) / held - 1)
        return {
            "kb_per_call": round(grown / held / 1000, 1),
            "kb_ring": round(RING_UNITS * (1 + UNIT_BYTES) * LEGS / 1000, 1),
            "kb_kernel": None if kernel is None else round(kernel / 1000, 1),
            "calls_held": held,
            **await _steady(port, int(signalling.RATE * seconds)),
        }
    finally:
        await tap.stop()
        receiver.stop()
        stage.stop()


async def _at_rest() -> None:
    """Wait until what the ends of calls have left to do is done."""
    for _ in range(100):
        before = time.process_time()
        await asyncio.sleep(0.3)
        if time.process_time() - before < _RESTING_SECONDS:
            return


async def _steady(port: int, calls: int) -> dict[str, float | None]:
    await _at_rest()
    began = time.process_time()
    try:
        steady = await signalling.load(port, calls, signalling.RATE, 0.5)
    except PeerError:
        steady = {"p50_ms": None, "p99_ms": None}
    await _at_rest()
    cpu_ms = (time.process_time() - began) / calls * 1000
    return {
        "whole_p50_ms_at_200": steady["p50_ms"],
        "whole_p99_ms_at_200": steady["p99_ms"],
        "whole_cpu_ms": round(cpu_ms, 2),
    }


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def run(held: int, seconds: float) -> dict[str, float | None]:
    """Measure in a process of its own. Raises PeerError when that ends early."""
    command = [sys.executable, "-m", "sipgate.service.bench", str(held), str(seconds)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if not done.stdout:
        raise PeerError(f"the bench ended early: {done.stderr.strip().rpartition(chr(10))[2] or 'without a word'}")
    found: dict[str, float | None] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(held: int, seconds: float) -> None:
    """Measure, and print one JSON line."""
    with tempfile.TemporaryDirectory(prefix="sipgate-bench-", dir="/var/tmp") as folder:
        print(json.dumps(asyncio.run(_measure(held, seconds, Path(folder)))), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
