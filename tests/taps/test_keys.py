"""What sessions are joined by, and when their metadata says that the call is answered."""

from __future__ import annotations

import pytest

from sipgate.core.events import Answered, KeysChanged, Offered, PartiesChanged, StreamsChanged
from tests.peers.dialogue import Dialogue
from tests.peers.recorder import Recorder, recorder, udp_client
from tests.peers.sip_messages import TWO_STREAMS, audio, metadata, recording_body, sdp

PARTIES = (("p1", "sip:2001@pbx.example", ["1"]), ("p2", "tel:+33612345678", ["2"]))
ONE, OTHER, THIRD = "ab30317f1a784dc48ff824d0d3715d86", "47755a9de7794ba387653f2099600ef2", "c" * 32
NIL = "0" * 32
GROUP = "wnJEsB3TSBmZ4mBdTwFOqA=="
SESSION_UUID = "hVpd7YQgRW2nD22h7q60JQ=="


def document(session_id: str = "call-1@pbx", extra: str = "", mode: str = "complete") -> bytes:
    return metadata(*PARTIES, session_id=session_id, extra=extra, mode=mode)


def joined(*participants: str, left: bool = False) -> str:
    """Participants associated with the session."""
    gone = "<disassociate-time>2026-11-22T10:00:00Z</disassociate-time>" if left else ""
    return "".join(
        f"<participantsessionassoc participant_id='{p}' session_id='a'><associate-time>2026-11-22T09:00:00Z"
        f"</associate-time>{gone}</participantsessionassoc>"
        for p in participants
    )


async def offered(body: bytes, *extra: str) -> Offered:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        await Dialogue(client).ask(body=body, extra=extra)
        (event,) = found.all(Offered)
    return event


async def of(session_id: str, extra: str = "", *fields: str) -> Offered:
    return await offered(recording_body(TWO_STREAMS, document(session_id, extra)), *fields)


# --- one call -------------------------------------------------------------------------------------------------------


async def test_a_call_id_in_the_metadata_is_the_call() -> None:
    first, second = await of("1-20351@127.0.0.1"), await of("1-20351@127.0.0.1")
    assert "1-20351@127.0.0.1" in first.keys & second.keys
    assert first.story_keys == frozenset()


async def test_both_ends_session_ids_are_the_call_whichever_end_wrote_them() -> None:
    first, second = await of(f"{ONE};remote={OTHER}"), await of(f"{OTHER.upper()} ; remote={ONE}")
    assert {key for key in first.keys & second.keys if ONE in key}
    assert len(first.story_keys & second.story_keys) == 2


async def test_a_transfer_changes_one_end_it_is_the_same_story() -> None:
    before, after = await of(f"{ONE};remote={OTHER}"), await of(f"{ONE};remote={THIRD}")
    assert not {key for key in before.keys & after.keys if ONE in key}
    assert len(before.story_keys & after.story_keys) == 1


async def test_where_there_is_no_call_id_a_sessions_id_is_the_call() -> None:
    without = (
        document()
        .replace(b"<sipSessionID>call-1@pbx</sipSessionID>", b"")
        .replace(b"'a'", f"'{SESSION_UUID}'".encode())
    )
    both = [await offered(recording_body(TWO_STREAMS, without)) for _ in range(2)]
    assert f"session {SESSION_UUID}" in both[0].keys & both[1].keys


async def test_beside_a_call_id_it_is_no_more_than_the_story() -> None:
    """A client that never changes it must not make one call of all its calls."""
    both = [await of(f"{n}@pbx", f"<session session_id='{SESSION_UUID}'/>") for n in (1, 2)]
    assert both[0].keys & both[1].keys <= {"session-1@client"}
    assert f"session {SESSION_UUID}" in both[0].story_keys & both[1].story_keys


@pytest.mark.parametrize("session_id", [NIL, f"{NIL};remote={NIL}"])
async def test_nil_is_no_call(session_id: str) -> None:
    found = await of(session_id)
    assert not any(NIL in key for key in found.keys | found.story_keys)


@pytest.mark.parametrize("session_id", ["0", "-", "0" * 40, "00000000-0000-0000-0000-000000000000"])
async def test_what_a_client_without_an_identifier_writes_in_its_place_is_no_call(session_id: str) -> None:
    """Else one protected party would deny every call of that client."""
    found = await of(session_id)
    assert found.keys == {"session-1@client"}
    assert found.story_keys == frozenset()


async def test_an_end_that_is_not_known_yet_is_left_out() -> None:
    found = await of(f"{ONE};remote={NIL}")
    assert any(ONE in key for key in found.keys)
    assert found.story_keys == {f"end {ONE}"}


async def test_a_session_id_with_more_parameters_is_still_one() -> None:
    found = await of(f"{ONE};logme;remote={OTHER};x=y")
    assert found.story_keys == {f"end {ONE}", f"end {OTHER}"}


# --- one story ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        f"<group group_id='{GROUP}'><associate-time>2026-11-22T09:00:00Z</associate-time></group>",
        f"<group id='{GROUP}'/>",
        f"<session session_id='b'><group-ref>{GROUP}</group-ref></session>",
    ],
    ids=["RFC 7865", "drafts", "by reference alone"],
)
async def test_a_group_is_the_story(extra: str) -> None:
    assert (await of("call-1@pbx", extra)).story_keys == {f"group {GROUP}"}


@pytest.mark.parametrize("group", ["00000000-0000-0000-0000-000000000000", "1", "group", "AAAA"])
async def test_what_all_calls_of_a_client_could_share_is_no_group(group: str) -> None:
    """AudioCodes writes the nil UUID."""
    assert (await of("call-1@pbx", f"<group group_id='{group}'/>")).story_keys == frozenset()


async def test_header_fields_name_a_story_too() -> None:
    found = await of(
        "call-1@pbx",
        "",
        f"Session-ID: {ONE};remote={NIL}",
        "Replaces: the-old-call@pbx;to-tag=1;from-tag=2",
        "Target-Dialog: another@pbx;local-tag=1;remote-tag=2",
    )
    assert found.story_keys == {f"end {ONE}", "the-old-call@pbx", "another@pbx"}


async def test_a_replaced_recording_session_is_known_by_its_call_id() -> None:
    first = await of("call-1@pbx")
    (own,) = {key for key in first.keys if key not in ("call-1@pbx",)}
    second = await of("call-2@pbx", "", f"Replaces: {own};to-tag=1;from-tag=2")
    assert own in second.story_keys


# --- while it lasts -------------------------------------------------------------------------------------------------


async def modified(found: Recorder, *documents: bytes, begins: bytes) -> None:
    async with udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body(TWO_STREAMS, begins))
        for one in documents:
            await session.ask(body=recording_body(TWO_STREAMS, one))


async def test_what_becomes_known_later_is_told_once() -> None:
    async with recorder() as found:
        group = document(extra=f"<group group_id='{GROUP}'/>")
        await modified(found, document(), group, group, begins=document())
        (event,) = found.all(KeysChanged)
    assert event.story_keys == {f"group {GROUP}"}
    assert "call-1@pbx" in event.keys
    assert "pbx" not in repr(event)
    assert GROUP not in repr(event)


# --- the answer -----------------------------------------------------------------------------------------------------


async def test_where_the_metadata_shows_the_answer_it_is_when_every_participant_has_joined() -> None:
    """Oracle invites early and re-invites when the callee has answered."""
    async with recorder(begins="metadata") as found:
        await modified(
            found, document(extra=joined("p1")), document(extra=joined("p1", "p2")), begins=document(extra=joined("p1"))
        )
        (session,) = found.all(Offered)
        (answered,) = found.all(Answered)
    assert session.answered_at_ns is None
    assert answered.session == session.session
    assert answered.at_ns > session.at_ns
    assert [type(e) for e in found.events] == [Offered, Answered]


async def test_a_partial_update_may_complete_it() -> None:
    update = metadata(mode="partial", extra=joined("p2"))
    async with recorder(begins="metadata") as found:
        await modified(found, update, begins=document(extra=joined("p1")))
        assert len(found.all(Answered)) == 1


async def test_who_has_left_has_not_joined() -> None:
    async with recorder(begins="metadata") as found:
        gone = metadata(mode="partial", extra=joined("p2", left=True))
        await modified(found, gone, begins=document(extra=joined("p1")))
        assert len(found.all(PartiesChanged)) == 1
        assert found.all(Answered) == []


async def test_a_session_that_begins_after_the_answer_is_answered_with_its_invite() -> None:
    async with recorder(begins="metadata") as found:
        await modified(found, begins=document(extra=joined("p1", "p2")))
        (session,) = found.all(Offered)
    assert session.answered_at_ns == session.at_ns


@pytest.mark.parametrize("begins", ["answer", "early"])
async def test_from_other_clients_it_means_nothing(begins: str) -> None:
    async with recorder(begins=begins) as found:
        await modified(found, document(extra=joined("p1", "p2")), begins=document())
        assert found.all(Answered) == []
        assert (found.all(Offered)[0].answered_at_ns is None) == (begins == "early")


async def test_a_single_participant_or_metadata_that_is_no_xml_shows_no_answer() -> None:
    async with recorder(begins="metadata") as found:
        alone = metadata(PARTIES[0], extra=joined("p1"))
        broken = document(extra=joined("p1", "p2")).replace(b"</recording>", b"<oops></recording>")
        await modified(found, broken, begins=alone)
        assert found.all(Answered) == []


async def test_the_answer_is_told_before_the_streams_that_come_with_it() -> None:
    async with recorder(begins="metadata") as found, udp_client(found.port("udp")) as client:
        session = Dialogue(client)
        await session.ask(body=recording_body(TWO_STREAMS, document()))
        moved = sdp(audio(41000, "1"), audio(41002, "2"))
        await session.ask(body=recording_body(moved, document(extra=joined("p1", "p2"))))
    assert [type(e) for e in found.events] == [Offered, Answered, StreamsChanged]


@pytest.mark.parametrize("parties", ["at-once", "later"])
async def test_a_client_may_be_declared_to_name_the_parties_later(parties: str) -> None:
    async with recorder(connections=[{"parties": parties}]) as found, udp_client(found.port("udp")) as client:
        await Dialogue(client).ask(body=recording_body())
        assert found.all(Offered)[0].named_later is (parties == "later")
