"""A real X server, a window manager, a Tk program; the film is decoded and looked at. RULES.md R2, R3."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from capture_client.protocol import Application
from capture_client.session import PauseCamera, ResumeCamera
from tests.capture_client.films import DEMO, Desk, Picture, desk
from tests.peers.xserver import SYSTEM_PYTHON, business_window, canary, program, wait_for_window, x_server, xdotool

pytestmark = pytest.mark.peer
CARD = (0x30, 0x30, 0x30)
PLACE = "720x480+120+90"


def filmed(desk: Desk, seconds: float, application: Application = DEMO) -> list[Picture]:
    """A call of so many seconds, once the camera runs."""
    desk.start(application)
    desk.wait_for("filming")
    time.sleep(seconds)
    return desk.stop()


def assert_within_the_call(desk: Desk, pictures: list[Picture]) -> None:
    """By what the pictures show, not by what they claim."""
    shown = [p.shows_ns for p in pictures]
    assert None not in shown
    times = [t for t in shown if t is not None]
    assert desk.answered_at_ns <= min(times)
    assert max(times) <= desk.ended_at_ns
    for picture, painted in zip(pictures, times, strict=True):
        assert desk.answered_at_ns < picture.at_ns < desk.ended_at_ns
        assert painted <= picture.at_ns


def test_every_picture_was_painted_between_answer_and_hangup(display: str, at_desk: Desk) -> None:
    with business_window(display):
        pictures = filmed(at_desk, 2.0)
    assert_within_the_call(at_desk, pictures)
    assert len(pictures) >= 15
    first, last = pictures[0], pictures[-1]
    assert at_desk.ended_at_ns - last.at_ns < 1_000_000
    assert first.key


def test_the_first_picture_comes_within_a_tenth_of_a_second_though_arm_and_start_come_together(
    display: str, at_desk: Desk
) -> None:
    latencies = []
    with business_window(display):
        for _ in range(5):
            pictures = filmed(at_desk, 0.1)
            latencies.append(pictures[0].at_ns - at_desk.answered_at_ns)
            at_desk.next_call()
    assert sorted(latencies)[2] < 100_000_000  # the median: other tests share this machine


def test_the_camera_reports_the_first_and_the_last_picture_that_were_kept(display: str, at_desk: Desk) -> None:
    with business_window(display):
        pictures = filmed(at_desk, 0.6)
    stopped = at_desk.states()[-1]
    assert (stopped.state, stopped.frames) == ("stopped", len(pictures))
    assert (stopped.first_frame_ns, stopped.last_frame_ns) == (pictures[0].at_ns, pictures[-1].at_ns)


@pytest.mark.parametrize("moving", [False, True])
def test_a_foreign_window_above_is_never_in_the_film(display: str, at_desk: Desk, moving: bool) -> None:
    with business_window(display), canary(display, "260x200+180+120", moving=moving):
        pictures = filmed(at_desk, 1.5)
    assert [p.canary_pixels for p in pictures] == [0] * len(pictures)
    assert_within_the_call(at_desk, pictures)


def test_a_foreign_window_behind_does_not_show_through_a_window_that_has_just_opened(
    display: str, at_desk: Desk
) -> None:
    with canary(display, "1280x900+0+0", above=False):
        at_desk.start()
        at_desk.wait_for("hidden")
        with business_window(display):
            at_desk.wait_for("filming")
            time.sleep(0.7)
            pictures = at_desk.stop()
    assert [p.canary_pixels for p in pictures] == [0] * len(pictures)
    assert pictures[-1].shows_ns is not None


MENU = """
import tkinter as tk
root = tk.Tk()
root.withdraw()
top = tk.Toplevel(root, class_="MenuDemo", background="#ffffff")
top.geometry("420x300+200+200")
menu = tk.Menu(top, tearoff=False, background="#00c000")
for n in range(6):
    menu.add_command(label=f"Entry number {n}")
def again():
    menu.post(top.winfo_rootx() + 40, top.winfo_rooty() + 40)
    top.after(250, menu.unpost)
    top.after(500, again)
top.after(300, again)
root.mainloop()
"""


def test_the_applications_own_menus_are_in_the_film_and_nothing_behind_them(display: str, at_desk: Desk) -> None:
    with (
        canary(display, "900x700+100+100", above=False),
        program(display, [SYSTEM_PYTHON, "-c", MENU], "MenuDemo"),
    ):
        pictures = filmed(at_desk, 2.2, Application(window_class="MenuDemo"))
    green = [p.share(0, 0xC0, 0) for p in pictures]
    assert max(green) > 0.05
    assert min(green) < 0.01
    assert [p.canary_pixels for p in pictures] == [0] * len(pictures)


def test_the_pointer_is_drawn_over_the_application_and_not_when_another_window_lies_between(
    display: str, at_desk: Desk
) -> None:
    x, y = 600, 500  # of the screen; the window's client area there is empty and grey

    def dark_near_pointer(picture: Picture) -> int:
        return int((picture.rgb[y - 110 : y - 60, x - 126 : x - 86].max(axis=2) < 60).sum())

    with business_window(display):
        xdotool(display, "mousemove", x, y)
        pictures = filmed(at_desk, 0.5)
        assert dark_near_pointer(pictures[-1]) > 20
        with canary(display, "200x100+540+450"):
            at_desk.next_call()
            pictures = filmed(at_desk, 0.5)
    assert dark_near_pointer(pictures[-1]) == 0


def test_a_minimised_window_gives_a_card_and_comes_back(display: str, at_desk: Desk) -> None:
    with business_window(display) as business:
        window = wait_for_window(display, "SipgateDemo", business)
        at_desk.start()
        at_desk.wait_for("filming")
        time.sleep(0.3)
        xdotool(display, "windowminimize", "--sync", window)
        hidden = at_desk.wait_for("hidden")
        time.sleep(0.5)
        restored_ns = time.time_ns()
        xdotool(display, "windowmap", "--sync", window)
        at_desk.until(lambda: next((s for s in at_desk.states()[2:] if s.state == "filming"), None), "second filming")
        time.sleep(0.4)
        pictures = at_desk.stop()
    while_hidden = [p for p in pictures if hidden.last_frame_ns <= p.at_ns < restored_ns]
    assert while_hidden
    assert all(p.share(*CARD) > 0.9 and p.shows_ns is None for p in while_hidden)
    assert pictures[-1].shows_ns is not None


def test_a_window_that_is_gone_and_back_at_once_is_not_frozen_in_the_film(display: str, at_desk: Desk) -> None:
    with business_window(display) as business:
        window = wait_for_window(display, "SipgateDemo", business)
        at_desk.start()
        at_desk.wait_for("filming")
        for _ in range(3):
            xdotool(display, "windowunmap", window, "windowmap", window)
            time.sleep(0.2)
        time.sleep(0.6)
        pictures = at_desk.stop()
    shown = pictures[-1].shows_ns
    assert shown is not None
    assert at_desk.ended_at_ns - shown < 500_000_000


def test_a_resized_window_goes_on_in_its_new_size_with_a_keyframe(display: str, at_desk: Desk) -> None:
    with business_window(display) as business:
        window = wait_for_window(display, "SipgateDemo", business)
        at_desk.start()
        at_desk.wait_for("filming")
        time.sleep(0.4)
        xdotool(display, "windowsize", "--sync", window, 801, 555)
        time.sleep(0.8)
        pictures = at_desk.stop()
    sizes = [p.rgb.shape[:2] for p in pictures]
    assert sizes[0] == (480, 720)
    assert sizes[-1] == (556, 802)
    assert pictures[sizes.index((556, 802))].key
    assert pictures[-1].shows_ns is not None


def test_a_closed_window_gives_a_card(display: str, at_desk: Desk) -> None:
    with business_window(display):
        at_desk.start()
        at_desk.wait_for("filming")
        time.sleep(0.3)
    at_desk.wait_for("hidden")
    time.sleep(0.2)
    pictures = at_desk.stop()
    assert pictures[-1].share(*CARD) > 0.9


def test_a_window_whose_title_no_longer_matches_is_not_filmed(display: str, at_desk: Desk) -> None:
    with business_window(display) as business:
        window = wait_for_window(display, "SipgateDemo", business)
        at_desk.start(Application(window_class="SipgateDemo", title="Orders*"))
        at_desk.wait_for("filming")
        xdotool(display, "set_window", "--name", "Private mail", window)
        at_desk.wait_for("hidden")
        time.sleep(0.3)
        pictures = at_desk.stop()
    assert pictures[-1].share(*CARD) > 0.9


def test_another_programs_window_of_the_same_class_is_not_filmed(display: str, at_desk: Desk) -> None:
    with business_window(display):
        at_desk.start(Application(program="/usr/bin/crm", window_class="SipgateDemo"))
        at_desk.wait_for("hidden")
        pictures = at_desk.stop()
    assert all(p.share(*CARD) > 0.9 for p in pictures)


def test_a_pause_blanks_the_film_from_its_time_on_until_resumed(display: str, at_desk: Desk) -> None:
    with business_window(display):
        at_desk.start()
        at_desk.wait_for("filming")
        time.sleep(0.6)
        paused_ns = time.time_ns()
        time.sleep(0.3)  # the command comes late
        at_desk.camera.do(PauseCamera(at_desk.recording, paused_ns))
        time.sleep(1.3)
        resumed_ns = time.time_ns()
        at_desk.camera.do(ResumeCamera(at_desk.recording))
        time.sleep(0.7)
        pictures = at_desk.stop()
    blank = [p for p in pictures if paused_ns <= p.at_ns < resumed_ns]
    assert blank
    assert all(p.share(*CARD) > 0.9 and p.shows_ns is None for p in blank)
    after = [p for p in pictures if p.at_ns >= resumed_ns]
    assert after[0].key
    shown = [p.shows_ns for p in after]
    assert all(t is not None and t >= resumed_ns for t in shown)


def test_nothing_is_filmed_while_the_sign_is_not_up(display: str, at_desk: Desk) -> None:
    with business_window(display):
        at_desk.start()
        at_desk.sign.hide()
        at_desk.wait_for("failed")
    assert at_desk.film() == []


HALF_PAINTER = """
import sys, xcffib, xcffib.xproto as x
c = xcffib.connect(); screen = c.get_setup().roots[0]
w, gc = c.generate_id(), c.generate_id()
# no background: what the window does not paint shows what lay behind it
place, mask = (150, 150, 600, 400), x.EventMask.Exposure
c.core.CreateWindow(24, w, screen.root, *place, 0, 1, screen.root_visual, x.CW.EventMask, [mask])
c.core.ChangeProperty(0, w, x.Atom.WM_CLASS, x.Atom.STRING, 8, 9, b"half\\0Half")
c.core.CreateGC(gc, w, x.GC.Foreground, [0x00C000])
c.core.MapWindow(w); c.flush()
while True:
    event = c.wait_for_event()
    c.core.PolyFillRectangle(w, gc, 1, [x.RECTANGLE.synthetic(0, 0, 300, 400)]); c.flush()
"""


def test_what_a_window_has_not_painted_itself_is_grey_in_the_film(tmp_path: Path) -> None:
    with (
        x_server(window_manager=False) as display,
        canary(display, "1280x900+0+0"),
        program(display, [sys.executable, "-c", HALF_PAINTER], "Half"),
        desk(display, tmp_path / "spool") as at_desk,
    ):
        pictures = filmed(at_desk, 0.8, Application(window_class="Half"))
    last = pictures[-1]
    assert last.share(0, 0xC0, 0) == pytest.approx(0.5, abs=0.02)
    assert last.share(0x80, 0x80, 0x80, tolerance=6) == pytest.approx(0.5, abs=0.02)
    assert [p.canary_pixels for p in pictures] == [0] * len(pictures)
