"""Which pixels: the business application's windows, behind one small interface that every desktop implements.

The rule that all of them keep (R3): a picture holds the application's own pixels and nothing else. It is never a crop
of the screen, and where that cannot be had there is no picture. A desktop that is not supported refuses.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from capture_client.errors import DesktopError
from capture_client.protocol import Application

Pixels = npt.NDArray[np.uint8]
"""Height x width x 4: blue, green, red, unused. Width and height are even."""
NEUTRAL = 0x80
"""Grey, for pixels of which it is not known that the application painted them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One window on the desktop, as ``capture-client doctor`` describes it."""

    program: str
    window_class: str
    title: str
    matches: bool


class View(Protocol):
    """The windows of one application. One thread at a time; every method may raise DesktopError."""

    def fileno(self) -> int:
        """Readable when ``pump`` has something to do."""

    def begin(self) -> None:
        """From now on, what the application paints is known; what was painted before is not. Asks it to repaint."""

    def pump(self) -> None:
        """Take in what the desktop reports."""

    def refresh(self) -> None:
        """See which windows there are, if that changed. Costs more than ``pump``."""

    @property
    def changed(self) -> bool:
        """``picture`` would differ from the one before."""

    @property
    def settled(self) -> bool:
        """All pixels of the main window are known, or there is no window to be seen."""

    def insist(self) -> None:
        """Ask again, harder, for what was not repainted, once."""

    def picture(self) -> Pixels | None:
        """A fresh array with the known pixels; None while the application shows no window. ``begin`` first."""

    def close(self) -> None:
        """Leave the windows as they were."""


class Desktop(Protocol):
    """A user's desktop."""

    def watch(self, application: Application) -> View:
        """The application's windows, now and as they come and go. Captures nothing yet."""

    def windows(self, application: Application | None) -> list[Seen]:
        """What is there to match, for the doctor."""

    def close(self) -> None:
        """Let go of the desktop."""


def open_desktop() -> Desktop:
    """The desktop that this process runs on; raises DesktopError where filming one window is not supported."""
    if sys.platform != "linux":
        raise DesktopError(f"{sys.platform}: this desktop is not supported yet; only X11 is")
    display = os.environ.get("DISPLAY")
    if not display:
        wayland = " (Wayland is not supported yet)" if os.environ.get("WAYLAND_DISPLAY") else ""
        raise DesktopError(f"no X11 display: DISPLAY is not set{wayland}")
    from capture_client.windows.x11 import X11Desktop

    return X11Desktop(display)
