"""Which windows on an X display belong to the application of an enrolment.

- A *main* window is a top-level window for which all of the pattern holds: program (by the process that the X server
  names, and /proc), WM_CLASS, title. The process must be this user's own.
- A *dialog* is a managed window of the same process that is transient for one of ours.
- A *pop-up* (menu, combo box, tooltip) is an unmanaged window of the same process. One that does not say whose it is
  counts only while every managed window of that process is ours: else it could be another window's menu.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import xcffib.xproto

from capture_client.protocol import Application
from capture_client.windows.x11_display import Display

_VIEWABLE = xcffib.xproto.MapState.Viewable
_INPUT_OUTPUT = xcffib.xproto.WindowClass.InputOutput
_FRAME_DEPTH = 3
_Spot = tuple[int, int, int, bool]  # window, order, frame, managed


@dataclass(frozen=True, slots=True)
class TopLevel:
    """A window that a client made for the user to see; ``order`` rises from the bottom of the stack to its top."""

    window: int
    order: int
    frame: int
    """The child of the root window that it is in: the window manager's, or itself."""
    managed: bool
    pid: int | None
    program: str
    window_class: str
    title: str
    transient_for: int

    def matches(self, application: Application) -> bool:
        """Whether all of the pattern holds."""
        return (
            bool(self.program)
            and (application.program is None or _same_program(application.program, self.program))
            and (application.window_class is None or application.window_class == self.window_class)
            and (application.title is None or fnmatchcase(self.title, application.title))
        )


def top_levels(display: Display) -> list[TopLevel]:
    """All visible ones, from the bottom of the stack to its top."""
    found: list[_Spot] = []
    level = _visible(display, _children(display, [display.root])[0])
    frames = [(window, (order, window)) for order, (window, _) in enumerate(level)]
    unmanaged = {window for window, overriding in level if overriding}
    for depth in range(_FRAME_DEPTH):
        states = display.replies([display.property_of(w, "WM_STATE") for w, _ in frames])
        below: list[tuple[int, tuple[int, int]]] = []
        for (window, place), state in zip(frames, states, strict=True):
            if state is not None and state.format:
                found.append((window, *place, True))
            else:
                below.append((window, place))
                if depth == 0:  # a pop-up; or, where no window manager runs, an ordinary window
                    found.append((window, *place, window not in unmanaged))
        families = _children(display, [w for w, _ in below])
        nested = [(child, place) for (_, place), kids in zip(below, families, strict=True) for child in kids]
        seen = {w for w, _ in _visible(display, [w for w, _ in nested])}
        frames = [(w, place) for w, place in nested if w in seen]
    return sorted(_describe(display, found), key=lambda t: t.order)


def application_windows(display: Display, application: Application) -> list[TopLevel]:
    """The application's windows that can be seen, from the bottom of the stack to its top, main windows included."""
    everything = top_levels(display)
    mains = {t.window for t in everything if t.managed and t.matches(application)}
    if not mains:
        return []
    pids = {t.pid for t in everything if t.window in mains}
    siblings = [t for t in everything if t.pid in pids]
    ours = set(mains)
    while True:  # dialogs of dialogs
        more = {t.window for t in siblings if t.managed and t.transient_for in ours} - ours
        if not more:
            break
        ours |= more
    alone = all(t.window in ours for t in siblings if t.managed)
    for popup in siblings:
        if not popup.managed and (popup.transient_for in ours or (alone and not popup.transient_for)):
            ours.add(popup.window)
    return [t for t in siblings if t.window in ours]


def main_windows(windows: list[TopLevel], application: Application) -> list[int]:
    """Those for which all of the pattern holds."""
    return [t.window for t in windows if t.managed and t.matches(application)]


def _children(display: Display, windows: list[int]) -> list[list[int]]:
    trees = display.replies([display.core.QueryTree(w) for w in windows])
    return [[] if tree is None else [int(w) for w in tree.children] for tree in trees]


def _visible(display: Display, windows: list[int]) -> list[tuple[int, bool]]:
    """Those that are mapped and can show something, each with whether it bypasses the window manager."""
    attributes = display.replies([display.core.GetWindowAttributes(w) for w in windows])
    return [
        (window, bool(a.override_redirect))
        for window, a in zip(windows, attributes, strict=True)
        if a is not None and a.map_state == _VIEWABLE and a._class == _INPUT_OUTPUT
    ]


def _describe(display: Display, found: list[_Spot]) -> list[TopLevel]:
    asked = [
        (
            display.process(window),
            display.property_of(window, "WM_CLASS"),
            display.property_of(window, "_NET_WM_NAME"),
            display.property_of(window, "WM_NAME"),
            display.property_of(window, "WM_TRANSIENT_FOR"),
        )
        for window, *_ in found
    ]
    programs: dict[int | None, str] = {None: ""}
    described = []
    for spot, cookies in zip(found, asked, strict=True):
        pid = display.pid(cookies[0])
        if pid not in programs:
            programs[pid] = _own_program(pid)
        described.append(_top_level(display, spot, (pid, programs[pid]), cookies[1:]))
    return described


def _top_level(display: Display, spot: _Spot, process: tuple[int | None, str], cookies: tuple[Any, ...]) -> TopLevel:
    parts = display.text(cookies[0]).split("\0")  # instance, class, "" (ICCCM §4.1.2.5)
    title, old_title = display.text(cookies[1]), display.text(cookies[2])
    transient = display.numbers(cookies[3])
    return TopLevel(
        *spot,
        pid=process[0],
        program=process[1],
        window_class=parts[1] if len(parts) > 1 else "",
        title=title or old_title,
        transient_for=transient[0] if transient else 0,
    )


def _own_program(pid: int | None) -> str:
    """The path of the program that a process of this user runs; empty for anybody else's."""
    process = Path(f"/proc/{pid}")
    try:
        return os.readlink(process / "exe") if process.stat().st_uid == os.getuid() else ""
    except OSError:
        return ""


def _same_program(wanted: str, path: str) -> bool:
    path = path.removesuffix(" (deleted)")  # updated while it runs
    if "/" not in wanted:
        return Path(path).name == wanted
    return path in {wanted, os.path.realpath(wanted)}
