"""The whole service behind Kamailio: telephones' calls are recorded, excluded ones leave no trace there either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.demo.evidence import traces
from deploy.demo.office import DELEGATE_LINE
from sipgate.phones.recording_client import place
from tests.peers.kamailio import Dispatcher, needs_kamailio, until
from tests.peers.recording_client import needs_pjsua2
from tests.peers.speech import Dialogue, compare, read_wav
from tests.service.company import CUSTOMER, Company, read_sound
from tests.service.invites import session

pytestmark = [pytest.mark.peer, needs_kamailio]


@pytest.fixture(scope="module")
def kamailio(company: Company, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dispatcher]:
    uri = f"sip:127.0.0.1:{company.sip_port};transport=tcp"
    found = Dispatcher(tmp_path_factory.mktemp("kamailio"), [uri], {"PING_SECONDS": "1"})
    found.start()
    try:
        until(lambda: found.flags.get(company.sip_port, "").startswith("A"), "the recorder's state")
        yield found
    finally:
        found.stop()


@needs_pjsua2
def test_a_call_of_telephones_is_recorded_whole(
    company: Company, kamailio: Dispatcher, spoken: Dialogue, export: Path
) -> None:
    before = company.kept()
    target = f"sip:srs@127.0.0.1:{kamailio.port}"
    report = place(replace(company.call(spoken), target=target))
    assert report.status == 200
    row = company.new_recording(before)
    assert report.answered_at_ns is not None
    assert report.hung_up_at_ns is not None
    assert abs(row["ended_at"] - row["answered_at"] - (report.hung_up_at_ns - report.answered_at_ns) / 1e9) <= 0.1
    words = ("recordings", "export", row["recording"], "--reason", "to hear both sides", "--to", str(export))
    company.command(*words, login="trainer")
    for heard, said in zip(read_sound(export), (spoken.caller, spoken.callee), strict=True):
        assert compare(heard, read_wav(said))[1] > 0.95


def test_an_excluded_line_is_declined_and_kamailio_wrote_nothing_of_any_call(
    company: Company, kamailio: Dispatcher
) -> None:
    with session(kamailio.port, CUSTOMER, DELEGATE_LINE[2]) as declined:
        assert declined.answer.status == 603
    assert company.found_of(*declined.answer.traces) == 0
    assert kamailio.log == []
    words = (*declined.answer.traces, "20417", "33639980001", "2001")
    assert traces(words, [kamailio.folder], []) == 0
