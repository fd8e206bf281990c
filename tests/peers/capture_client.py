"""The capture client as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def run(display: str | None, *words: str) -> subprocess.CompletedProcess[str]:
    """One command of ``capture-client``, to its end."""
    command = [sys.executable, "-m", "capture_client", *words]
    return subprocess.run(command, env=_env(display), capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def running(display: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``capture-client run``; ended by SIGTERM unless it has ended before."""
    command = [sys.executable, "-m", "capture_client", "run", "--folder", str(folder)]
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(command, env=_env(display), stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _env(display: str | None) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return {**env, **({"DISPLAY": display} if display else {})}
