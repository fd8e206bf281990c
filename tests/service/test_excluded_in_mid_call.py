"""A line is excluded while it is being recorded: within a second nothing of the call is left; telephony goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from deploy.demo.programs import wait_until
from sipgate.phones.recording_client import OngoingCall
from tests.peers.recording_client import needs_pjsua2
from tests.peers.speech import Dialogue
from tests.service.company import CUSTOMER, Company

pytestmark = [pytest.mark.peer, needs_pjsua2]

CUSTOMER_LINE = "+33639980001"
WITHIN_SECONDS = 1.0
SEALED_BYTES = 16_000


class Watched:
    """A call under way, whose sound has reached the disk, and what there was before it."""

    def __init__(self, company: Company, ongoing: OngoingCall) -> None:
        self._company, self.ongoing = company, ongoing
        company.until_idle()
        self.before, self.about_calls = company.kept(), company.about_calls()
        ongoing.start()
        (self.recording,) = company.kept() - self.before
        sound = company.folder / "data" / "media" / self.recording / "audio.sealed"
        wait_until(lambda: sound.stat().st_size > SEALED_BYTES, "sound on the disk", 10.0)

    def gone_within_a_second(self, since: float) -> None:
        wait_until(lambda: self._company.kept() == self.before, "the erasure", 5.0)
        assert time.monotonic() - since < WITHIN_SECONDS

    def hang_up(self) -> None:
        """The call itself went on until now; and nothing of it is anywhere."""
        report = self.ongoing.hang_up()
        assert report.status == 200
        assert not report.hung_up_by_recorder
        company = self._company
        company.until_idle()
        assert company.kept() == self.before
        assert set(company.rows()) <= self.before
        assert company.about_calls() == self.about_calls
        numbers = (CUSTOMER_LINE, CUSTOMER_LINE[1:], "0639980001")
        assert company.found_of(*numbers, *report.traces, self.recording) == 0


@pytest.fixture
def watch(company: Company, long_spoken: Dialogue) -> Iterator[Callable[[], Watched]]:
    """Begins a call; call it once everything else is set up."""
    with ExitStack() as stack:

        def begin() -> Watched:
            ongoing = OngoingCall(company.call(long_spoken, CUSTOMER))
            stack.push(ongoing.__exit__)
            return Watched(company, ongoing)

        yield begin


def test_by_the_command_line(company: Company, watch: Callable[[], Watched]) -> None:
    watched = watch()
    company.command("lines", "exclude", CUSTOMER_LINE)
    try:
        watched.gone_within_a_second(time.monotonic())
        watched.hang_up()
    finally:
        company.include(CUSTOMER_LINE)


def test_in_the_console_it_is_gone_when_the_page_answers(company: Company, watch: Callable[[], Watched]) -> None:
    watched = watch()
    since = time.monotonic()
    with company.excluded(CUSTOMER_LINE):
        watched.gone_within_a_second(since)
        watched.hang_up()


def test_by_editing_the_file(company: Company, watch: Callable[[], Watched]) -> None:
    watched = watch()
    with company.exclusions_file() as path:
        path.write_text(path.read_text() + f"{CUSTOMER_LINE}  # a delegate at home\n")
        watched.gone_within_a_second(time.monotonic())
        watched.hang_up()
        path.write_text("")


def test_by_a_file_of_the_same_size_and_time_moved_in_its_place(company: Company, watch: Callable[[], Watched]) -> None:
    """As rsync and some editors do: only the inode shows it."""
    with company.exclusions_file() as path:
        path.write_text(path.read_text() + "+33639980002\n")
        company.until_answered_with(603, caller="tel:+33639980002")
        company.until_idle()
        watched = watch()
        beside, stamp = path.with_suffix(".new"), path.stat()
        beside.write_text(path.read_text().replace("+33639980002", CUSTOMER_LINE))
        os.utime(beside, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        beside.replace(path)
        watched.gone_within_a_second(time.monotonic())
        watched.hang_up()
        path.write_text("")


def test_after_the_recording_was_cut_while_the_call_lasts_what_was_kept_so_far_goes_too(
    company: Company, watch: Callable[[], Watched]
) -> None:
    """The gate closes: the recording ends there. Then the customer turns out to be protected: nothing may remain."""
    watched = watch()
    company.sipgate("gate", "close")
    try:
        metadata = company.folder / "data" / "media" / watched.recording / "metadata.sealed"
        wait_until(metadata.exists, "the cut", 5.0)
        with company.excluded(CUSTOMER_LINE):
            watched.gone_within_a_second(time.monotonic())
            watched.hang_up()
    finally:
        company.open_gate()
        company.until_answered_with(200)
        company.until_idle()
