"""The key on the telephone that takes a call out of the recorder's reach: nothing is kept, no reason asked."""

from __future__ import annotations

from typing import Literal

import pytest

from deploy.demo.programs import wait_until
from sipgate.phones.recording_client import OngoingCall
from tests.peers.recording_client import needs_pjsua2
from tests.peers.speech import Dialogue
from tests.service.company import CUSTOMER, TRAINEE, Company
from tests.service.invites import session

pytestmark = [pytest.mark.peer, needs_pjsua2]

Side = Literal["caller", "callee"]
CALLEE = 1


@pytest.mark.parametrize("side", ["callee", "caller"])
def test_pressed_by_the_trainee_everything_is_erased(company: Company, long_spoken: Dialogue, side: Side) -> None:
    before, about_calls = company.kept(), company.about_calls()
    parties = (CUSTOMER, TRAINEE) if side == "callee" else (TRAINEE, CUSTOMER)
    with OngoingCall(company.call(long_spoken, *parties)) as ongoing:
        assert len(company.kept() - before) == 1
        ongoing.press("*9", side)
        wait_until(lambda: company.kept() == before, "the erasure", 3.0)
        report = ongoing.hang_up()
    assert not report.hung_up_by_recorder
    company.until_idle()
    assert company.kept() == before
    assert company.about_calls() == about_calls
    assert company.found_of(*report.traces) == 0


def test_pressed_with_the_last_packets_before_the_hangup_it_still_erases(company: Company) -> None:
    before, about_calls = company.kept(), company.about_calls()
    with session(company.sip_port, CUSTOMER, TRAINEE) as opened:
        opened.speak(CALLEE, 0.1)
        opened.press(CALLEE, "*9")
    company.until_idle()
    assert company.kept() == before
    assert company.about_calls() == about_calls


@pytest.mark.parametrize("side", ["callee", "caller"])
def test_pressed_by_the_customer_it_does_nothing(company: Company, long_spoken: Dialogue, side: Side) -> None:
    before = company.kept()
    parties = (TRAINEE, CUSTOMER) if side == "callee" else (CUSTOMER, TRAINEE)
    with OngoingCall(company.call(long_spoken, *parties, seconds=2.0)) as ongoing:
        ongoing.press("*9", side)
        ongoing.wait()
    assert company.new_recording(before)["seconds"] > 1.5


def test_other_keys_do_nothing(company: Company, long_spoken: Dialogue) -> None:
    before = company.kept()
    with OngoingCall(company.call(long_spoken, seconds=2.0)) as ongoing:
        ongoing.press("9*", "callee")
        ongoing.wait()
    assert company.new_recording(before)["seconds"] > 1.5
