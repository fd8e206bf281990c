"""What a telephone's preference does that its recording client passes on (RFC 7866 §7.3.2; RULES R10, R11)."""

from __future__ import annotations

import pytest

from sipgate.core.events import Offered, PartiesChanged, Side, StreamsChanged
from tests.peers.dialogue import Dialogue, ports_of
from tests.peers.recorder import recorder, udp_client
from tests.peers.sip_messages import (
    CALLER_AND_CALLEE,
    TWO_STREAMS,
    audio,
    recording_body,
    sdp,
    status_of,
)


def preferring(line: str, stream: str = "2") -> bytes:
    """The usual offer with a line more in one stream."""
    return recording_body(sdp(*(f"{audio(port, label)}{line if label == stream else ''}" for port, label in STREAMS)))


STREAMS = ((40000, "1"), (40002, "2"))
OBJECTIONS = ["a=recordpref:off", "a=recordpref:pause", "a=recordpref: OFF"]
WORDS = [
    "a=recordpref:on",
    "a=recordpref:nopreference",
    "a=record:off",
    "a=record:on",
    "a=record:paused",
    "a=recordpref",
]


@pytest.mark.parametrize("line", OBJECTIONS)
async def test_who_objects_makes_the_call_one_with_an_unidentified_party(line: str) -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        await Dialogue(client).ask(body=preferring(f"\n{line}"))
        (offered,) = found.all(Offered)
    assert any(not party.identities for party in offered.parties)
    assert {Side.CALLER, Side.CALLEE} <= {party.side for party in offered.parties if party.identities}


async def test_an_objection_of_the_whole_session_counts_for_it() -> None:
    body = recording_body(sdp("a=recordpref:off", audio(40000, "1"), audio(40002, "2")))
    async with recorder() as found, udp_client(found.port("udp")) as client:
        await Dialogue(client).ask(body=body)
        (offered,) = found.all(Offered)
    assert any(not party.identities for party in offered.parties)


@pytest.mark.parametrize("line", WORDS)
async def test_other_words_of_awareness_change_nothing_and_are_not_answered(line: str) -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        answer = await Dialogue(client).ask(body=preferring(f"\n{line}"))
        (offered,) = found.all(Offered)
    assert all(party.identities for party in offered.parties)
    assert ports_of(answer) == [30000, 30002]
    assert b"a=record" not in answer


async def test_an_objection_in_mid_call_is_told_at_once_and_holds_when_it_is_taken_back() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        await dialogue.ask(body=recording_body())
        assert status_of(await dialogue.ask(body=preferring("\na=recordpref:off"))) == 200
        assert status_of(await dialogue.ask(body=preferring("\na=recordpref:on"))) == 200
        (changed,) = found.all(PartiesChanged)
        assert found.all(StreamsChanged) == []
    assert any(not party.identities for party in changed.parties)


async def test_an_objection_in_the_answer_of_an_offerless_session_counts_too() -> None:
    answer = TWO_STREAMS.replace(b"a=label:2", b"a=label:2\r\na=recordpref:off")
    assert answer != TWO_STREAMS
    async with recorder() as found, udp_client(found.port("udp")) as client:
        metadata = "application/rs-metadata+xml"
        await Dialogue(client).ask(body=CALLER_AND_CALLEE, content_type=metadata, answer_body=answer)
        changed = await found.wait_for(PartiesChanged)
    assert any(not party.identities for party in changed.parties)
