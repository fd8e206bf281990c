"""X11: the application's windows, composed on one canvas, each from its own pixmap (XComposite, XDamage, MIT-SHM).

The canvas has the size of the main window; pop-ups and dialogs of the same application are laid over it where they
stand on the screen, and what of them lies outside is cut off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xcffib.damage
import xcffib.xproto

from capture_client.protocol import Application
from capture_client.windows import NEUTRAL, Pixels, Seen
from capture_client.windows.x11_display import Display
from capture_client.windows.x11_find import TopLevel, application_windows, main_windows, top_levels
from capture_client.windows.x11_pixels import Place, WindowPixels

_COMING_AND_GOING = (
    xcffib.xproto.MapNotifyEvent,
    xcffib.xproto.UnmapNotifyEvent,
    xcffib.xproto.DestroyNotifyEvent,
    xcffib.xproto.ReparentNotifyEvent,
)
_IDENTITY = ("WM_NAME", "_NET_WM_NAME", "WM_CLASS", "WM_TRANSIENT_FOR", "WM_STATE")


class X11Desktop:
    """See ``windows.Desktop``."""

    def __init__(self, display: str) -> None:
        self._display = Display(display)

    def watch(self, application: Application) -> X11View:
        """See ``windows.Desktop``."""
        return X11View(self._display, application)

    def windows(self, application: Application | None) -> list[Seen]:
        """See ``windows.Desktop``."""
        return [
            Seen(t.program, t.window_class, t.title, application is not None and t.matches(application))
            for t in top_levels(self._display)
            if t.managed
        ]

    def close(self) -> None:
        """See ``windows.Desktop``."""
        self._display.close()


class X11View:
    """See ``windows.View``."""

    def __init__(self, display: Display, application: Application) -> None:
        self._display, self._application = display, application
        self._identity = {display.atom(name) for name in _IDENTITY}
        self._windows: dict[int, WindowPixels] = {}  # from the bottom of the stack to its top
        self._frames: set[int] = set()
        self._main: WindowPixels | None = None
        self._begun = False
        self._coming, self._moved = True, True
        self._select(xcffib.xproto.EventMask.SubstructureNotify)
        self._find()

    def fileno(self) -> int:
        """See ``windows.View``."""
        return self._display.fileno()

    def begin(self) -> None:
        """See ``windows.View``."""
        self._begun = True
        for event in self._display.events():
            self._take(event)
        self.refresh()
        for pixels in self._windows.values():
            pixels.forget()
            pixels.ask_to_repaint()

    def pump(self) -> None:
        """See ``windows.View``."""
        for event in self._display.events():
            self._take(event)
        if self._begun:
            for pixels in self._windows.values():
                if pixels.damaged:
                    pixels.learn()
            for event in self._display.events():  # what came with the replies
                self._take(event)

    def refresh(self) -> None:
        """See ``windows.View``."""
        if self._coming:
            self._find()
        elif self._moved:
            self._locate()

    @property
    def changed(self) -> bool:
        """See ``windows.View``."""
        return self._coming or self._moved or any(p.damaged for p in self._windows.values())

    @property
    def settled(self) -> bool:
        """See ``windows.View``."""
        return self._main is None or self._main.place is None or self._main.all_known

    def insist(self) -> None:
        """See ``windows.View``."""
        for pixels in self._windows.values():
            if not (pixels.all_known or pixels.asked_hard):
                pixels.ask_to_repaint(clear=True)

    def picture(self) -> Pixels | None:
        """See ``windows.View``."""
        if not self._begun:
            return None
        self.refresh()
        for pixels in self._windows.values():
            if pixels.damaged:
                pixels.learn()
                self._coming |= not pixels.read()
        picture = self._compose()
        for event in self._display.events():  # what came with the replies would not wake anybody
            self._take(event)
        return picture

    def close(self) -> None:
        """See ``windows.View``."""
        self._select(0)
        for pixels in self._windows.values():
            pixels.close()
        self._windows.clear()
        for _ in self._display.events():
            pass

    def _take(self, event: Any) -> None:
        if isinstance(event, xcffib.damage.NotifyEvent):
            pixels = self._windows.get(event.drawable)
            if pixels is not None:
                pixels.damaged = True
        elif isinstance(event, _COMING_AND_GOING):
            self._coming = True
            if event.window in self._frames or event.window in self._windows:
                for pixels in self._windows.values():
                    pixels.remapped = True  # it may have got a new pixmap
        elif isinstance(event, xcffib.xproto.ConfigureNotifyEvent):
            self._moved |= event.window in self._windows
            self._coming |= event.window in self._frames  # moved or restacked
        elif isinstance(event, xcffib.xproto.PropertyNotifyEvent):
            self._coming |= event.atom in self._identity

    def _find(self) -> None:
        """The application's windows anew."""
        self._coming = False
        found = application_windows(self._display, self._application)
        for window in set(self._windows) - {t.window for t in found}:
            self._windows.pop(window).close()
        known = self._windows
        self._windows = {t.window: known.get(t.window) or WindowPixels(self._display, t.window) for t in found}
        self._frames = {t.frame for t in found} - set(self._windows)
        self._locate()
        self._choose_main(found)

    def _locate(self) -> None:
        self._moved = False
        for pixels in self._windows.values():
            if pixels.locate() and self._begun:
                pixels.ask_to_repaint()

    def _choose_main(self, found: list[TopLevel]) -> None:
        """The one that was, while it can be seen; else the largest."""
        mains = [self._windows[w] for w in main_windows(found, self._application)]
        visible = [p for p in mains if p.place is not None]
        if self._main not in visible:
            self._main = max(visible, key=_area, default=None)

    def _compose(self) -> Pixels | None:
        if self._main is None or self._main.place is None:
            return None
        frame = self._main.place
        canvas = np.full((frame.height + frame.height % 2, frame.width + frame.width % 2, 4), NEUTRAL, np.uint8)
        for pixels in self._windows.values():
            if pixels.place is not None:
                _lay(canvas, frame, pixels, pixels.place)
        self._point(canvas, frame)
        return canvas

    def _point(self, canvas: Pixels, frame: Place) -> None:
        """Draw the mouse pointer, if it is over one of the application's windows and nobody else's lies between."""
        display = self._display
        where, cursor = display.replies((display.core.QueryPointer(display.root), display.fixes.GetCursorImage()))
        if where is None or cursor is None or where.child not in self._frames | set(self._windows):
            return
        image = np.frombuffer(bytes(cursor.cursor_image.buf()), np.uint8).reshape(cursor.height, cursor.width, 4)
        place = Place(cursor.x - cursor.xhot, cursor.y - cursor.yhot, cursor.width, cursor.height)
        _blend(canvas, frame, place, image, image[..., 3] > 0)

    def _select(self, mask: int) -> None:
        self._display.core.ChangeWindowAttributes(self._display.root, xcffib.xproto.CW.EventMask, [mask])
        self._display.flush()


def _area(pixels: WindowPixels) -> int:
    return pixels.place.width * pixels.place.height if pixels.place is not None else 0


def _lay(canvas: Pixels, frame: Place, pixels: WindowPixels, place: Place) -> None:
    """The known pixels of a window, at its place on the canvas; colours are premultiplied where there is alpha."""
    there, here = _overlap(frame, place)
    if pixels.depth == 32:
        opaque = pixels.image[..., 3] == 255
        _blend(canvas, frame, place, pixels.image, pixels.known & ~opaque)
        np.copyto(canvas[there], pixels.image[here], where=(pixels.known & opaque)[here][..., None])
    elif pixels.all_known:
        canvas[there] = pixels.image[here]
    else:
        np.copyto(canvas[there], pixels.image[here], where=pixels.known[here][..., None])


def _blend(canvas: Pixels, frame: Place, place: Place, image: Pixels, where: npt.NDArray[np.bool_]) -> None:
    """Lay what is partly transparent over what is there."""
    there, here = _overlap(frame, place)
    rows, columns = np.nonzero(where[here])
    source, target = image[here][rows, columns], canvas[there]
    through = target[rows, columns].astype(np.uint16) * (255 - source[:, 3:].astype(np.uint16)) // 255
    target[rows, columns] = np.minimum(through + source, 255).astype(np.uint8)


def _overlap(frame: Place, place: Place) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where ``place`` meets ``frame``: rows and columns of the one that is inside, and of its own; may be empty."""
    x, y = place.x - frame.x, place.y - frame.y
    left, top = max(0, x), max(0, y)
    right, bottom = max(left, min(frame.width, x + place.width)), max(top, min(frame.height, y + place.height))
    there = (slice(top, bottom), slice(left, right))
    return there, (slice(top - y, bottom - y), slice(left - x, right - x))
