"""The sign on a real screen: there for everybody to see, not in the film, and without it no film. RULES.md R9, R11."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import xcffib
import xcffib.xproto

from capture_client.errors import DesktopError
from capture_client.indicator import FILMING, SPARED_SECONDS, Sign
from tests.capture_client.films import Desk, Rgb
from tests.peers.xserver import business_window, canary, wait_for_window, windows, x_server, xdotool

pytestmark = pytest.mark.peer
_xcffib: Any = xcffib  # it has no annotations
RED = (0xB0, 0x00, 0x20)


class Told:
    """What the sign has told."""

    def __init__(self, display: str) -> None:
        self.display = display
        self.pressed = self.lost = self.gone = 0
        self.sign = Sign(display, self._press, self._lose, self._end)

    def _press(self) -> None:
        self.pressed += 1

    def _lose(self) -> None:
        self.lost += 1

    def _end(self) -> None:
        self.gone += 1


@pytest.fixture
def told(display: str) -> Iterator[Told]:
    found = Told(display)
    yield found
    found.sign.close()


def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def screen(display: str) -> Rgb:
    """All that is on the screen, as a person sees it."""
    connection: Any = _xcffib.connect(display=display)
    root = connection.get_setup().roots[0]
    width, height = root.width_in_pixels, root.height_in_pixels
    reply = connection.core.GetImage(xcffib.xproto.ImageFormat.ZPixmap, root.root, 0, 0, width, height, 0xFFFFFFFF)
    pixels = np.frombuffer(bytes(reply.reply().data.buf()), np.uint8).reshape(height, width, 4)
    connection.disconnect()
    return pixels[..., 2::-1]


def red_pixels(picture: Rgb) -> int:
    return int((np.abs(picture.astype(np.int16) - RED).max(axis=2) < 24).sum())


def test_while_filming_the_sign_is_on_the_screen_above_the_window_and_not_in_the_film(
    display: str, at_desk: Desk
) -> None:
    with business_window(display, "--geometry", "1200x600+20+0"):
        at_desk.start()
        at_desk.wait_for("filming")
        until(lambda: red_pixels(screen(display)) > 10_000)
        time.sleep(0.4)
        pictures = at_desk.stop()
    assert [red_pixels(p.rgb) for p in pictures] == [0] * len(pictures)
    until(lambda: red_pixels(screen(display)) == 0)


def test_a_window_that_comes_on_top_does_not_stay_above_the_sign(display: str, told: Told) -> None:
    told.sign.show(paused=False)
    until(lambda: red_pixels(screen(display)) > 10_000)
    with canary(display, "1280x300+0+0"):
        until(lambda: red_pixels(screen(display)) > 10_000)
    assert told.lost == 0


def test_a_click_on_it_and_the_key_both_say_not_this_call(display: str, told: Told) -> None:
    told.sign.show(paused=False)
    until(lambda: told.sign.is_up)
    xdotool(display, "mousemove", 640, 10, "click", 1)
    until(lambda: told.pressed == 1)
    xdotool(display, "key", "ctrl+alt+p")
    until(lambda: told.pressed == 2)


def test_the_key_works_while_no_sign_is_shown(display: str, told: Told) -> None:
    assert told.sign.key_taken
    xdotool(display, "key", "ctrl+alt+p")
    until(lambda: told.pressed == 1)
    assert not told.sign.is_up


def test_a_key_that_another_program_has_is_said_and_taken_when_it_is_free(display: str) -> None:
    first, second = Told(display), Told(display)
    assert first.sign.key_taken
    assert not second.sign.key_taken
    first.sign.close()
    until(lambda: second.sign.key_taken)
    second.sign.close()


def test_nobody_else_can_hide_it(display: str, told: Told) -> None:
    told.sign.show(paused=False)
    xdotool(display, "windowunmap", wait_for_window(display, "SipgateSign"), "sleep", "0.3")
    assert windows(display, "SipgateSign")
    assert told.lost == 0


@pytest.mark.parametrize("how", ["windowkill", "windowclose"])
def test_when_it_is_destroyed_that_is_told_and_it_can_be_shown_again(display: str, told: Told, how: str) -> None:
    told.sign.show(paused=False)
    window = wait_for_window(display, "SipgateSign")
    xdotool(display, how, window)
    until(lambda: told.lost == 1)
    assert not told.sign.is_up
    xdotool(display, "key", "ctrl+alt+p")
    until(lambda: told.pressed == 1)  # the key goes on working
    told.sign.show(paused=False)
    until(lambda: told.sign.is_up)
    assert red_pixels(screen(display)) > 10_000
    assert told.gone == 0


def test_a_spared_call_is_announced_for_a_moment_and_counts_as_no_sign_of_a_film(display: str, told: Told) -> None:
    told.sign.show_spared()
    wait_for_window(display, "SipgateSign")
    assert not told.sign.is_up
    until(lambda: not windows(display, "SipgateSign"), SPARED_SECONDS + 3)


def test_when_the_x_server_ends_that_is_told_once() -> None:
    with x_server() as display:
        told = Told(display)
        told.sign.show(paused=False)
        until(lambda: told.sign.is_up)
    until(lambda: told.gone == 1)
    assert not told.sign.is_up
    assert told.lost == 1
    told.sign.close()


def test_without_an_x_server_there_is_no_sign() -> None:
    with pytest.raises(DesktopError, match="cannot be opened"):
        Sign(":9999", lambda: None, lambda: None, lambda: None)


def test_it_says_what_is_done_and_how_to_stop_it_in_two_languages() -> None:
    english, french = FILMING
    assert "training" in english
    assert "not this call" in english
    assert "formation" in french
    assert "pas cet appel" in french
    for line in FILMING:
        line.encode("latin-1")
