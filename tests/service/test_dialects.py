"""Vendors' dialects, as SIPp plays them, against the whole service: its policy takes them, each gives a recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers.sipp import needs_sipp
from tests.peers.sipp_dialects import answers_to, play
from tests.service.company import Company

pytestmark = [pytest.mark.peer, needs_sipp]

# Not among them: Avaya's, whose parties nobody knows when it begins (README, "What it does not do").
VENDORS = (
    "audiocodes",
    "broadworks",
    "ribbon",
    "oracle",
    "cisco_cube",
    "netsapiens",
    "metaswitch",
    "webex",
    "opensips",
)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_dialect_is_recorded_once_and_named_nowhere(company: Company, tmp_path: Path, vendor: str) -> None:
    before = company.kept()
    messages = await play(tmp_path, vendor, company.sip_port, transport="tcp")
    assert {answer.first_line for answer in answers_to(messages, "INVITE")} == {"SIP/2.0 200 OK"}
    row = company.new_recording(before)
    assert company.kept() - before == {row["recording"]}
    call_id = messages[0].header("Call-ID")
    assert company.found_of(call_id, "+33612345678") == 0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_cucms_two_sessions_are_one_recording_of_both_voices(
    company: Company, tmp_path: Path, transport: str
) -> None:
    before = company.kept()
    messages = await play(tmp_path, "cucm", company.sip_port, transport=transport, calls=2)
    assert [answer.first_line for answer in answers_to(messages, "INVITE")] == ["SIP/2.0 200 OK"] * 2
    row = company.new_recording(before)
    assert company.kept() - before == {row["recording"]}
    company.until_idle()
