"""Who takes part, and on which side."""

from __future__ import annotations

from sipgate.core.events import Party, Side
from sipgate.sip.message import Request, check, split
from sipgate.sip.rsmetadata import Metadata
from sipgate.taps.parties import label_sides, participant_sides, parties_of, uris_of
from tests.peers.sip_messages import metadata, request

ALICE, BOB, CAROL = "sip:2001@pbx.example", "sip:2002@pbx.example", "sip:2003@pbx.example"


def _metadata(*documents: bytes) -> Metadata:
    found = Metadata()
    for document in documents:
        found.update(document)
    return found


def _two(first_labels: list[str], second_labels: list[str]) -> Metadata:
    return _metadata(metadata(("a", ALICE, first_labels), ("b", BOB, second_labels)))


def _texts(party: Party) -> set[str]:
    return {str(identity) for identity in party.identities}


def test_the_participant_named_first_is_the_caller_whatever_the_order_of_m_lines() -> None:
    assert label_sides(_two(["7"], ["5"]), ["5", "7"], {}) == {"5": Side.CALLEE, "7": Side.CALLER}


def test_two_streams_unknown_to_the_metadata_are_taken_in_order() -> None:
    assert label_sides(_two([], []), ["1", "0"], {}) == {"1": Side.CALLER, "0": Side.CALLEE}


def test_of_two_streams_the_unknown_one_takes_the_side_that_is_left() -> None:
    assert label_sides(_two([], ["1"]), ["1", "0"], {}) == {"1": Side.CALLEE, "0": Side.CALLER}


def test_one_stream_that_both_or_neither_send_is_of_no_side() -> None:
    assert label_sides(_two(["1"], ["1"]), ["1"], {}) == {"1": None}
    assert label_sides(_two([], []), ["1"], {}) == {"1": None}
    assert label_sides(_two([], ["1"]), ["1"], {}) == {"1": Side.CALLEE}


def test_a_label_keeps_its_side_whoever_speaks_on_it_later() -> None:
    known = label_sides(_two(["1"], ["2"]), ["1", "2"], {})
    assert label_sides(_two(["2"], ["1"]), ["1", "2"], known) == known


def test_who_replaces_a_party_on_its_stream_takes_its_side() -> None:
    sides = {"1": Side.CALLER, "2": Side.CALLEE}
    swapped = _metadata(metadata(("c", CAROL, ["1"]), ("b", BOB, ["2"])))
    assert participant_sides(swapped, sides, {"a": Side.CALLER, "b": Side.CALLEE}) == {
        "c": Side.CALLER,
        "b": Side.CALLEE,
    }


def test_without_streams_a_party_keeps_its_side_and_a_new_one_takes_what_is_left() -> None:
    found = _metadata(metadata(("c", CAROL, []), ("b", BOB, [])))
    assert participant_sides(found, {}, {"a": Side.CALLER, "b": Side.CALLEE}) == {"b": Side.CALLEE, "c": Side.CALLER}


def test_a_third_party_without_a_stream_has_no_side_but_is_a_party() -> None:
    found = _metadata(metadata(("a", ALICE, ["1"]), ("b", BOB, ["2"]), ("c", CAROL, [])))
    sides = participant_sides(found, {"1": Side.CALLER, "2": Side.CALLEE}, {})
    parties = parties_of(found, sides, frozenset(), "FR")
    assert [party.side for party in parties] == [Side.CALLER, Side.CALLEE, None]
    assert _texts(parties[2]) == {CAROL, "2003"}


def test_an_extension_and_a_public_number_are_identities_of_their_party_even_escaped() -> None:
    found = _metadata(metadata(("a", "sip:%2B33142685300@pbx.example", []), ("b", "tel:0142685301", [])))
    parties = parties_of(found, participant_sides(found, {}, {}), frozenset(), "FR")
    assert "+33142685300" in _texts(parties[0])
    assert _texts(parties[1]) == {"+33142685301"}


def test_an_anonymous_party_has_its_side_and_no_identity() -> None:
    found = _metadata(metadata(("a", "sip:anonymous@anonymous.invalid", []), ("b", BOB, [])))
    parties = parties_of(found, participant_sides(found, {}, {}), frozenset(), "FR")
    assert (parties[0].side, parties[0].identities) == (Side.CALLER, frozenset())


def test_whoever_the_invites_header_names_is_a_party_without_a_side() -> None:
    lines = [
        'P-Asserted-Identity: "Works council" <sip:2100@pbx.example>, <tel:+33142685300>',
        "Diversion: <sip:2101@pbx.example>;reason=unconditional",
        "History-Info: <sip:2102@pbx.example?Reason=SIP%3Bcause%3D302>;index=1",
        "Referred-By: sip:2103@pbx.example",
        "Remote-Party-ID: <sip:2104@pbx.example>;party=calling",
    ]
    message = check(split(request(extra=lines)))
    assert isinstance(message, Request)
    parties = parties_of(Metadata(), {}, uris_of(message), "FR")
    assert len(parties) == 1
    assert parties[0].side is None
    assert {"2100", "2101", "2102", "2103", "2104", "+33142685300", "sip:src@127.0.0.1"} <= _texts(parties[0])


def test_a_from_that_equals_to_names_nobody() -> None:
    message = check(split(request(drop=["From"], extra=["From: <sip:srs@127.0.0.1>;tag=a"])))
    assert isinstance(message, Request)
    assert uris_of(message) == frozenset()


def test_who_is_mentioned_elsewhere_in_the_metadata_is_a_party_without_a_side() -> None:
    found = _metadata(metadata(("a", ALICE, []), ("b", BOB, []), extra="<x>sip:2100@pbx.example</x>"))
    parties = parties_of(found, participant_sides(found, {}, {}), frozenset(), "FR")
    assert [party.side for party in parties] == [Side.CALLER, Side.CALLEE, None]
    assert _texts(parties[2]) == {"sip:2100@pbx.example", "2100"}
