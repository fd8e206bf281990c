"""Programs that the quickstart starts: each with a log of its own, stopped in reverse order, errors in one line."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

STOP_SECONDS = 15.0


class DemoError(Exception):
    """What failed, and what to do, in one line."""


class Program:
    """One running program; what it prints goes to ``log``."""

    def __init__(self, name: str, command: list[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name, self.log = name, log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ, **(env or {})}
            )

    def check(self) -> None:
        """Raise DemoError if it has ended."""
        if self._process.poll() is not None:
            raise DemoError(f"{self.name} ended: {last_line(self.log)} (all of it: {self.log})")

    @property
    def process_id(self) -> int:
        """Of the process, for those who look at it from outside."""
        return self._process.pid

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it, gently first."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def last_line(log: Path) -> str:
    """The last line of a log that is not blank."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


def run(command: list[str], env: Mapping[str, str] | None = None) -> str:
    """Run to the end and give its standard output; DemoError with its last line when it fails."""
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DemoError(
            f"`{Path(command[0]).name} {' '.join(command[1:3])}` failed: {said[-1] if said else 'silently'}"
        )
    return done.stdout


def wait_until(so: Callable[[], bool], what: str, seconds: float, *programs: Program) -> None:
    """Wait until ``so``; DemoError naming ``what`` when it does not come, or when one of ``programs`` ends."""
    end = time.monotonic() + seconds
    while not so():
        for program in programs:
            program.check()
        if time.monotonic() > end:
            raise DemoError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.05)


def free_port(preferred: int | None = None) -> int:
    """A TCP port that is free now on 127.0.0.1: the preferred one if it is."""
    for port in (*((preferred,) if preferred else ()), 0):
        with contextlib.suppress(OSError), socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(("127.0.0.1", port))
            return int(found.getsockname()[1])
    raise DemoError("no free port on 127.0.0.1")


@contextlib.contextmanager
def display(log: Path) -> Iterator[str]:
    """The present X display, or a virtual one when there is none."""
    present = os.environ.get("DISPLAY")
    if present:
        yield present
        return
    read_end, write_end = os.pipe()
    with log.open("ab") as file:
        command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x900x24", "-nolisten", "tcp", "-noreset"]
        process = subprocess.Popen(command, pass_fds=(write_end,), stdout=file, stderr=file)
    os.close(write_end)
    try:
        with os.fdopen(read_end) as numbers:
            number = numbers.readline().strip()
        if not number:
            raise DemoError(f"Xvfb did not start: {last_line(log)}")
        yield f":{number}"
    finally:
        process.terminate()
        process.wait()
