"""Nothing of the memory of the service or of its workers can be dumped."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sipgate.__main__ import app
from sipgate.service.worker import Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
_PR_GET_DUMPABLE = 3

_HARDENED = """
import ctypes, os, sys
from sipgate.service.hardening import harden
harden()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), open("/proc/self/limits").read(), sep="\\n", flush=True)
memory = os.memfd_create("webm")
open(f"/proc/self/fd/{memory}", "wb").close()
os.abort()
"""


def dumpable_and_limits() -> tuple[int, str]:
    """As this process has them."""
    return ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0), Path("/proc/self/limits").read_text()


def core_limits(text: str) -> list[str]:
    """Soft and hard."""
    (line,) = (line for line in text.splitlines() if line.startswith("Max core file size"))
    return line.split()[4:6]


@pytest.fixture
def worker() -> Iterator[Worker]:
    found = Worker()
    yield found
    found.shutdown()


def test_a_hardened_process_leaves_no_core(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -c unlimited 2>/dev/null; exec "$0" -c "$1"', sys.executable, _HARDENED],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    dumpable, limits = done.stdout.split("\n", 1)
    assert done.returncode == -6, done.stderr
    assert dumpable == "0"
    assert core_limits(limits) == ["0", "0"]
    assert list(tmp_path.iterdir()) == []


def test_a_worker_is_hardened(worker: Worker) -> None:
    dumpable, limits = worker.submit(dumpable_and_limits).result(60)
    assert dumpable == 0
    assert core_limits(limits) == ["0", "0"]


def test_serve_is_hardened_before_it_reads_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[str] = []
    monkeypatch.setattr("sipgate.commands.serve.harden", lambda: said.append("hardened"))
    done = CliRunner().invoke(app, ["serve", "--config", str(tmp_path / "absent.toml")])
    assert done.exit_code != 0
    assert said == ["hardened"]
