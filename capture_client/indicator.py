"""The sign on the screen while a film is made, and the person's own stop: a click on it, or Ctrl+Alt+P at any time.

A window of plain X, above all others, that no window manager can close or cover: no sign, no film (R9). It is not in
the film, since a film holds the application's own pixels only. A thread and an X connection of its own.
"""

from __future__ import annotations

import queue
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import xcffib.xproto

from capture_client.errors import DesktopError
from capture_client.windows.x11_display import Display

FILMING = (
    "FILMING this application, for training.  Click here or Ctrl+Alt+P: not this call.",
    "FILM de cette application, pour la formation.  Clic ou Ctrl+Alt+P : pas cet appel.",
)
PAUSED = ("PAUSED: nothing is filmed.  Click here or Ctrl+Alt+P: not this call.", "PAUSE : rien n'est filmé.")
SPARED = ("The next call will not be recorded.", "Le prochain appel ne sera pas enregistré.")
SPARED_SECONDS = 4.0
RAISE_SECONDS = 0.1
KEY_RETRY_SECONDS = 0.5
_RED, _GREY, _GREEN, _WHITE = 0xB00020, 0x505050, 0x1B6E3C, 0xFFFFFF
_FONTS = (("9x15bold", 9, 18), ("fixed", 6, 16))
"""Name, width of a character, height of a line."""
_PADDING = 8
_KEYSYM_P = 0x70
_MASK = xcffib.xproto.EventMask
_KEY = xcffib.xproto.ModMask.Control | xcffib.xproto.ModMask._1
_CAPS, _NUM = xcffib.xproto.ModMask.Lock, xcffib.xproto.ModMask._2
_LOCKS = (0, _CAPS, _NUM, _CAPS | _NUM)
_FLAGS = xcffib.xproto.CW


@dataclass(frozen=True, slots=True)
class _Look:
    lines: tuple[str, ...]
    colour: int
    until: float | None = None
    """On time.monotonic: hide by itself then."""


class Sign:
    """Calls, from its thread: ``pressed``; ``lost`` when it went off the screen; ``gone``: it can never be shown again,
    nor the key be heard."""

    def __init__(
        self, display: str, pressed: Callable[[], None], lost: Callable[[], None], gone: Callable[[], None]
    ) -> None:
        """Raises DesktopError where the sign could never be shown."""
        self._display, self._pressed, self._lost, self._gone = display, pressed, lost, gone
        self._wishes: queue.SimpleQueue[_Look | bool | None] = queue.SimpleQueue()  # False: end
        self._up = False
        self._window = _SignWindow(display)
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="sign", daemon=True)
        self._thread.start()

    @property
    def is_up(self) -> bool:
        """Whether the sign of a film is on the screen."""
        return self._up

    @property
    def key_taken(self) -> bool:
        """Whether Ctrl+Alt+P is ours; while another program holds it, it is asked for again and again."""
        return self._window.key_taken

    def show(self, *, paused: bool) -> None:
        """Film's sign."""
        self._wish(_Look(PAUSED, _GREY) if paused else _Look(FILMING, _RED))

    def hide(self) -> None:
        """The film is over."""
        self._up = False
        self._wish(None)

    def show_spared(self) -> None:
        """For a few seconds."""
        self._wish(_Look(SPARED, _GREEN, time.monotonic() + SPARED_SECONDS))

    def close(self) -> None:
        """Take it down for good."""
        self._wish(False)
        self._thread.join(5)
        self._ear.close()
        self._mouth.close()

    def _wish(self, wish: _Look | bool | None) -> None:
        self._wishes.put(wish)
        self._mouth.send(b"\0")

    # --- the sign's thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                if not self._turn():
                    return
            except DesktopError:
                if not self._made_anew():
                    self._gone()
                    return

    def _turn(self) -> bool:
        window = self._window
        files: list[socket.socket | _SignWindow] = [self._ear, window]
        readable, _, _ = select.select(files, [], [], window.seconds_until_due())
        if self._ear in readable:
            self._ear.recv(4096)
        while not self._wishes.empty():
            wish = self._wishes.get()
            if isinstance(wish, bool):
                self._up = False
                window.close()
                return False
            shown = window.look(wish)
            self._up = shown and wish is not None and wish.until is None
        if window.attend():
            self._pressed()
        return True

    def _made_anew(self) -> bool:
        """Somebody destroyed it, or the X server is gone. The key must go on working, whatever becomes of the film."""
        was_up, self._up = self._up, False
        self._window.close()
        try:
            self._window = _SignWindow(self._display)
        except DesktopError:
            return False
        finally:
            if was_up:
                self._lost()
        return True


class _SignWindow:
    """The window itself; every method raises DesktopError once it or the X server is gone."""

    def __init__(self, display: str) -> None:
        self._display = Display(display)
        self._core = self._display.core
        self._screen = self._display.screen
        self._look: _Look | None = None
        self._raise_at: float | None = None
        self._raised = 0.0
        self._font, self._advance, self._line = self._open_font()
        self._window, self._gc = self._display.new_id(), self._display.new_id()
        self._make()
        self._core.ChangeWindowAttributes(self._screen.root, _FLAGS.EventMask, [_MASK.SubstructureNotify])
        self._code: int | None = None
        self._grab_at: float | None = None
        self._try_key()

    @property
    def key_taken(self) -> bool:
        """Whether the key is ours; another program may hold it."""
        return self._grab_at is None

    def fileno(self) -> int:
        """The socket."""
        return self._display.fileno()

    def seconds_until_due(self) -> float | None:
        """When ``attend`` has something to do by itself."""
        until = self._look.until if self._look else None
        due = [t for t in (until, self._raise_at, self._grab_at) if t is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def look(self, wish: _Look | None) -> bool:
        """Show, or hide. True when it is on the screen."""
        self._look = wish
        if wish is None:
            self._core.UnmapWindow(self._window)
            self._display.flush()
            return False
        width = max(len(line) for line in wish.lines) * self._advance + 2 * _PADDING
        height = len(wish.lines) * self._line + 2 * _PADDING
        x = max(0, (self._screen.width_in_pixels - width) // 2)
        part = xcffib.xproto.ConfigWindow
        self._core.ConfigureWindow(
            self._window,
            part.X | part.Y | part.Width | part.Height | part.StackMode,
            [x, 0, width, height, xcffib.xproto.StackMode.Above],
        )
        self._core.ChangeWindowAttributes(self._window, _FLAGS.BackPixel, [wish.colour])
        self._core.MapWindow(self._window)
        self._draw()
        attributes = self._display.reply(self._core.GetWindowAttributes(self._window))
        if attributes is None:
            raise DesktopError("the sign is gone")
        return bool(attributes.map_state == xcffib.xproto.MapState.Viewable)

    def attend(self) -> bool:
        """Take in events. True when the person pressed."""
        pressed = False
        for event in self._display.events():
            pressed |= self._take(event)
        now = time.monotonic()
        if self._look and self._look.until is not None and now >= self._look.until:
            self.look(None)
        if self._raise_at is not None and now >= self._raise_at:
            self._raise_at, self._raised = None, now
            above = [xcffib.xproto.StackMode.Above]
            self._core.ConfigureWindow(self._window, xcffib.xproto.ConfigWindow.StackMode, above)
            self._display.flush()
        if self._grab_at is not None and now >= self._grab_at:
            self._try_key()
        return pressed

    def close(self) -> None:
        """The connection, and with it window and key."""
        self._display.close()

    def _take(self, event: Any) -> bool:
        kinds = xcffib.xproto
        mine = getattr(event, "window", None) == self._window
        match event:
            case kinds.ButtonPressEvent() | kinds.KeyPressEvent():
                return True
            case kinds.ExposeEvent():
                self._draw()
            case kinds.DestroyNotifyEvent() if mine:
                raise DesktopError("the sign was destroyed")
            case kinds.UnmapNotifyEvent() if mine and self._look:
                self._core.MapWindow(self._window)  # nobody else may hide it
                self._raise_at = time.monotonic()
            case kinds.MappingNotifyEvent():  # the layout, or merely another keyboard
                self._try_key()
            case kinds.MapNotifyEvent() | kinds.ConfigureNotifyEvent() if self._look and not mine:
                self._raise_at = self._raise_at or max(time.monotonic(), self._raised + RAISE_SECONDS)
        return False

    def _make(self) -> None:
        look = (self._screen.root_depth, self._window, self._screen.root, 0, 0, 1, 1, 0)
        self._core.CreateWindow(
            *look,
            xcffib.xproto.WindowClass.InputOutput,
            self._screen.root_visual,
            _FLAGS.BackPixel | _FLAGS.OverrideRedirect | _FLAGS.EventMask,
            [_RED, 1, _MASK.Exposure | _MASK.ButtonPress | _MASK.StructureNotify],
        )
        replace, string = xcffib.xproto.PropMode.Replace, xcffib.xproto.Atom.STRING
        for name, value in (("WM_NAME", b"sipgate"), ("WM_CLASS", b"sipgate\0SipgateSign\0")):
            self._core.ChangeProperty(replace, self._window, self._display.atom(name), string, 8, len(value), value)
        flags = xcffib.xproto.GC
        self._core.CreateGC(self._gc, self._window, flags.Foreground | flags.Font, [_WHITE, self._font])

    def _open_font(self) -> tuple[int, int, int]:
        for name, advance, line in _FONTS:
            font = self._display.new_id()
            if self._display.done(self._core.OpenFont(font, len(name), name, is_checked=True)):
                return font, advance, line
        raise DesktopError("the X server has no font to write the sign with")

    def _draw(self) -> None:
        if self._look is None:
            return
        self._core.ClearArea(False, self._window, 0, 0, 0, 0)
        self._core.ChangeGC(self._gc, xcffib.xproto.GC.Background, [self._look.colour])
        for number, line in enumerate(self._look.lines, 1):
            text = line.encode("latin-1", "replace")
            y = _PADDING + number * self._line - 5
            self._core.ImageText8(len(text), self._window, self._gc, _PADDING, y, text)
        self._display.flush()

    def _try_key(self) -> None:
        self._grab_at = None if self._grab_key() else time.monotonic() + KEY_RETRY_SECONDS

    def _grab_key(self) -> bool:
        setup = self._display.connection.get_setup()
        first, count = setup.min_keycode, setup.max_keycode - setup.min_keycode + 1
        mapping = self._display.reply(self._core.GetKeyboardMapping(first, count))
        width = mapping.keysyms_per_keycode
        code = next((first + at // width for at, keysym in enumerate(mapping.keysyms) if keysym == _KEYSYM_P), None)
        mode, root = xcffib.xproto.GrabMode.Async, self._screen.root
        if self._code not in (None, code):  # only then: a press in between would be lost
            self._core.UngrabKey(self._code, root, xcffib.xproto.ModMask.Any)
        self._code = code
        if code is None:
            return False
        cookies = [self._core.GrabKey(True, root, _KEY | locks, code, mode, mode, is_checked=True) for locks in _LOCKS]
        return all(self._display.done(cookie) for cookie in cookies)
