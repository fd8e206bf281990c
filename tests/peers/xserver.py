"""A real X server (Xvfb) on a free display, a window manager, and programs of their own with windows on it."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sipgate.errors import PeerError

BUSINESS_WINDOW = Path(__file__).parents[2] / "deploy" / "demo" / "business_window.py"
SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's, which has Tk
CANARY_CLASS = "Canary"
_SECONDS = 15.0

# A window of another program, above everything, in a colour that nothing else has; it can move all the time.
_CANARY = """
import sys, tkinter as tk
geometry, moving, above = sys.argv[1], sys.argv[2] == "moving", sys.argv[3] == "above"
root = tk.Tk(className="canary")
root.title("canary")
root.geometry(geometry)
root.configure(background="#ff00ff")
if above:
    root.overrideredirect(True)
    root.attributes("-topmost", True)
def move(step=0):
    size, x, y = geometry.split("+")
    root.geometry(f"{size}+{int(x) + step % 40 * 6}+{int(y) + step % 23 * 5}")
    root.lift()
    root.after(15, move, step + 1)
if moving:
    move()
root.mainloop()
"""


@contextmanager
def x_server(*, window_manager: bool = True) -> Iterator[str]:
    """A display (``:N``) of 1280 x 900, with openbox on it."""
    with x_server_process() as (display, _):
        if not window_manager:
            yield display
            return
        with _program(["openbox"], display):
            _wait(lambda: _asked(["xdotool", "get_num_desktops"], display).strip().isdigit(), "openbox")
            yield display


@contextmanager
def x_server_process() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A bare X server: its display, and the process."""
    read_end, write_end = os.pipe()
    # Not the lowest free one: a client of a server that has ended must not find the next test's in its place.
    number = f":{random.randrange(1000, 60000)}"
    command = [
        "Xvfb",
        number,
        "-displayfd",
        str(write_end),
        "-screen",
        "0",
        "1280x900x24",
        "-nolisten",
        "tcp",
        "-noreset",
    ]
    with _program(command, None, pass_fds=(write_end,)) as process:
        os.close(write_end)
        with os.fdopen(read_end) as numbers:
            display = f":{numbers.readline().strip()}"
        if display == ":":
            raise PeerError("Xvfb did not start; is Debian's xvfb installed?")
        yield display, process


@contextmanager
def business_window(display: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The demo's order form, on the screen."""
    with program(display, [SYSTEM_PYTHON, str(BUSINESS_WINDOW), *arguments], "SipgateDemo") as process:
        yield process


@contextmanager
def canary(display: str, geometry: str, *, moving: bool = False, above: bool = True) -> Iterator[None]:
    """Another program's window, magenta all over."""
    words = ("moving" if moving else "still", "above" if above else "managed")
    with program(display, [SYSTEM_PYTHON, "-c", _CANARY, geometry, *words], CANARY_CLASS):
        yield


@contextmanager
def program(display: str, command: list[str], window_class: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of the test's own, once its window is there."""
    with _program(command, display) as process:
        wait_for_window(display, window_class, process)
        yield process


def wait_for_window(display: str, window_class: str, process: subprocess.Popen[bytes] | None = None) -> int:
    """The X id of the visible window of this class, which ``process`` is to show."""
    found: list[int] = []

    def seen() -> bool:
        if process is not None and process.poll() is not None:
            raise PeerError(f"the program with window {window_class} has ended, status {process.returncode}")
        found[:] = windows(display, window_class)
        if not found:  # openbox can sleep on a request to map that came while it started: wake it
            _asked(["xdotool", "set_desktop", "0"], display)
        return bool(found)

    _wait(seen, f"window {window_class}")
    return found[0]


def windows(display: str, window_class: str) -> list[int]:
    """The X ids of the visible windows of this class."""
    answer = _asked(["xdotool", "search", "--onlyvisible", "--class", f"^{window_class}$"], display)
    return [int(line) for line in answer.split()]


def xdotool(display: str, *words: str | int) -> None:
    """One command of xdotool's."""
    subprocess.run(["xdotool", *map(str, words)], env=_env(display), check=True, timeout=_SECONDS, capture_output=True)


@contextmanager
def _program(
    command: list[str], display: str | None, pass_fds: tuple[int, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, env=_env(display), stdout=null, stderr=null, pass_fds=pass_fds)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _env(display: str | None) -> dict[str, str]:
    return {**os.environ, **({"DISPLAY": display} if display else {})}


def _asked(command: list[str], display: str) -> bytes:
    return subprocess.run(command, env=_env(display), capture_output=True, check=False, timeout=_SECONDS).stdout


def _wait(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise PeerError(f"{what} did not appear within {_SECONDS:.0f} s")
        time.sleep(0.02)
