"""What the recording client says about its call (RFC 7865)."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from sipgate.phones.metadata import snapshot

NS = "{urn:ietf:params:xml:ns:recording:1}"
AT_NS = 1_795_343_696_250_000_000


def test_the_caller_sends_what_is_labelled_one_and_the_callee_what_is_labelled_two() -> None:
    document = ElementTree.fromstring(snapshot("sip:+33612345678@pbx.example", "sip:2101@pbx.example", AT_NS).document)
    label_of = {s.get("stream_id"): s.findtext(f"{NS}label") for s in document.findall(f"{NS}stream")}
    aor_of = {
        party.get("participant_id"): name.get("aor")
        for party in document.findall(f"{NS}participant")
        for name in party.findall(f"{NS}nameID")
    }
    sends = {
        aor_of[a.get("participant_id")]: (label_of[a.findtext(f"{NS}send")], label_of[a.findtext(f"{NS}recv")])
        for a in document.findall(f"{NS}participantstreamassoc")
    }
    assert sends == {"sip:+33612345678@pbx.example": ("1", "2"), "sip:2101@pbx.example": ("2", "1")}


def test_everything_belongs_to_the_one_session_since_the_time_given() -> None:
    document = ElementTree.fromstring(snapshot("sip:a@b", "sip:c@d", AT_NS).document)
    (session,) = document.findall(f"{NS}session")
    associated = [*document.findall(f"{NS}participantsessionassoc"), *document.findall(f"{NS}sessionrecordingassoc")]
    assert len(associated) == 3
    assert {a.get("session_id") for a in associated} == {session.get("session_id")}
    assert {a.findtext(f"{NS}associate-time") for a in associated} == {"2026-11-22T10:34:56Z"}


@pytest.mark.parametrize("aor", ['sip:"Bob" & Co@pbx.example', "sip:<o'brien>@pbx.example"])
def test_any_address_survives_the_markup(aor: str) -> None:
    document = ElementTree.fromstring(snapshot(aor, "sip:c@d", AT_NS).document)
    assert document.findall(f"{NS}participant/{NS}nameID")[0].get("aor") == aor


def test_no_two_calls_share_a_name_and_each_name_stands_in_the_document() -> None:
    first, second = (snapshot("sip:a@b", "sip:c@d", AT_NS) for _ in range(2))
    assert not set(first.traces) & set(second.traces)
    assert all(trace in first.document for trace in first.traces)
    assert repr(first) == "Snapshot()"
