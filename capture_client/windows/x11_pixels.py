"""One X window's own pixels, and for which of them it is known that the application painted them.

XComposite keeps the window's content in a pixmap of its own, whole when others lie above it. But a fresh pixmap is
filled with what lay *behind* the window, until the application paints (LAB.md §10). So XDamage tells which rectangles
were painted since ``begin``: these are *known*, everything else is not to be filmed. A new pixmap (resized, mapped
again) begins with nothing known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xcffib
import xcffib.damage
import xcffib.xproto

from capture_client.windows.x11_display import Display
from capture_client.windows.x11_shm import SharedMemory

_AUTOMATIC = 1  # composite: the server goes on showing the window
_Z_PIXMAP = 2
_ALL_PLANES = 0xFFFFFFFF
_VIEWABLE = xcffib.xproto.MapState.Viewable
_EVENTS = xcffib.xproto.EventMask.StructureNotify | xcffib.xproto.EventMask.PropertyChange
_xcffib: Any = xcffib


@dataclass(frozen=True, slots=True)
class Place:
    """Where a window's content lies on the root window, in pixels."""

    x: int
    y: int
    width: int
    height: int


class WindowPixels:
    """Redirects a window while it is followed. ``image`` is valid until the next ``locate``, ``read`` or ``close``."""

    def __init__(self, display: Display, window: int) -> None:
        self.window = window
        self.place: Place | None = None  # None: cannot be seen
        self.depth = 24
        self.damaged = True
        self.image: npt.NDArray[np.uint8] = np.empty((0, 0, 4), np.uint8)
        self.known: npt.NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        self.all_known = False
        self.asked_hard = False
        self.remapped = False
        self._display = display
        self._damage = self._pixmap = self._segment = 0
        self._border = 0
        self._memory: SharedMemory | None = None
        display.core.ChangeWindowAttributes(window, xcffib.xproto.CW.EventMask, [_EVENTS])
        display.composite.RedirectWindow(window, _AUTOMATIC)
        self._region = display.new_id()
        display.fixes.CreateRegion(self._region, 0, [])

    def locate(self) -> bool:
        """Ask where the window is. True when its pixmap is a new one, of which nothing is known yet."""
        display = self._display
        cookies = (
            display.core.GetWindowAttributes(self.window),
            display.core.GetGeometry(self.window),
            display.core.TranslateCoordinates(self.window, display.root, 0, 0),
        )
        attributes, geometry, origin = display.replies(cookies)
        before = self.place
        if attributes is None or geometry is None or origin is None or attributes.map_state != _VIEWABLE:
            self.place = None
            self._release()
            return False
        self.place = Place(origin.dst_x, origin.dst_y, geometry.width, geometry.height)
        self.depth, self._border = geometry.depth, geometry.border_width
        same_size = before is not None and (before.width, before.height) == (geometry.width, geometry.height)
        if same_size and self._pixmap and not self.remapped:
            return False
        self.remapped = False
        return self._name_pixmap()

    def forget(self) -> None:
        """Nothing that was painted until now is known."""
        if self._damage:
            self._display.damage.Subtract(self._damage, xcffib.NONE, xcffib.NONE)
        self.known[:] = False
        self.all_known = self.asked_hard = False
        self.damaged = True

    def ask_to_repaint(self, *, clear: bool = False) -> None:
        """Expose the window and all inside it. ``clear`` has the server paint backgrounds first: that flickers."""
        self.asked_hard |= clear
        exposure = xcffib.xproto.EventMask.Exposure
        for inner, width, height in self._tree():
            if clear:
                self._display.core.ClearArea(True, inner, 0, 0, 0, 0)
                continue
            event = _xcffib.xproto.ExposeEvent.synthetic(inner, 0, 0, width, height, 0).pack()
            self._display.core.SendEvent(False, inner, exposure, event)
        self._display.flush()

    def learn(self) -> None:
        """Take in what was painted since the last time."""
        if not self._damage or self.all_known:
            return
        display = self._display
        display.damage.Subtract(self._damage, xcffib.NONE, self._region)
        region = display.reply(display.fixes.FetchRegion(self._region))
        for r in region.rectangles if region is not None else ():
            left, top = max(0, r.x), max(0, r.y)
            self.known[top : max(0, r.y + r.height), left : max(0, r.x + r.width)] = True
        self.all_known = bool(self.known.all())

    def read(self) -> bool:
        """Read the pixmap into ``image``. False when the window just went away or changed its size."""
        if self._memory is None or self.place is None:
            return False
        display, width, height = self._display, self.place.width, self.place.height
        if self.all_known:  # the next paint is reported again
            display.damage.Subtract(self._damage, xcffib.NONE, xcffib.NONE)
        border = self._border
        image = display.shm.GetImage(
            self._pixmap, border, border, width, height, _ALL_PLANES, _Z_PIXMAP, self._segment, 0
        )
        self.damaged = False
        return display.reply(image) is not None

    def close(self) -> None:
        """Let go of the window; it may be gone already."""
        self._release()
        self._display.fixes.DestroyRegion(self._region)
        self._display.composite.UnredirectWindow(self.window, _AUTOMATIC)
        self._display.core.ChangeWindowAttributes(self.window, xcffib.xproto.CW.EventMask, [0])
        self._display.flush()

    def _name_pixmap(self) -> bool:
        self._release()
        display, place = self._display, self.place
        if place is None or self.depth not in (24, 32):
            self.place = None
            return False
        pixmap = display.new_id()
        # It can be unmapped in this very moment: then there is nothing to be seen.
        if not display.done(display.composite.NameWindowPixmap(self.window, pixmap, is_checked=True)):
            self.place = None
            return False
        self._pixmap = pixmap
        self._memory = SharedMemory(place.width * place.height * 4)
        self._segment = display.new_id()
        display.done(display.shm.Attach(self._segment, self._memory.id, False, is_checked=True))
        self._memory.forget_name()
        pixels = np.frombuffer(memoryview(self._memory.buffer()), np.uint8)
        self.image = pixels.reshape(place.height, place.width, 4)
        self.known = np.zeros((place.height, place.width), np.bool_)
        self._damage = display.new_id()
        display.damage.Create(self._damage, self.window, xcffib.damage.ReportLevel.NonEmpty)
        self.forget()
        return True

    def _release(self) -> None:
        display = self._display
        if self._pixmap:
            display.damage.Destroy(self._damage)
            display.shm.Detach(self._segment)
            display.core.FreePixmap(self._pixmap)
        self._damage = self._pixmap = self._segment = 0
        self.image, self.known = np.empty((0, 0, 4), np.uint8), np.zeros((0, 0), np.bool_)
        self.all_known = False
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def _tree(self) -> list[tuple[int, int, int]]:
        """The window and all visible ones inside it, with their sizes."""
        display, found, level = self._display, [], [self.window]
        while level:
            sizes = [display.core.GetGeometry(w) for w in level]
            trees = [display.core.QueryTree(w) for w in level]
            geometries, families = display.replies(sizes), display.replies(trees)
            found += [(w, g.width, g.height) for w, g in zip(level, geometries, strict=True) if g is not None]
            level = [int(child) for family in families if family is not None for child in family.children]
        return found
