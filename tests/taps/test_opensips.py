"""A real OpenSIPS 3.6.8's recording sessions, replayed from captures against the tap."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipgate.core.events import Ended, Offered, PartiesChanged, Side, StreamsChanged
from tests.peers.pcap import sip_to
from tests.peers.recorder import Recorder, UdpClient, recorder, udp_client
from tests.peers.sip_messages import field_of, status_of, tag_of

DATA = Path(__file__).parents[1] / "data" / "opensips"
CAPTURES = sorted(path.name for path in DATA.glob("*.pcap"))


async def _replay(client: UdpClient, messages: list[bytes]) -> list[bytes]:
    """Send messages one after the other, with our tag for the recorder's of that day; returns the answers."""
    answers: list[bytes] = []
    tags: dict[str, str] = {}
    for original in messages:
        call = field_of(original, "Call-ID")
        message = original.replace(b"UDP 127.0.0.1:5060;", f"UDP {client.sent_by};".encode())
        message = message.replace(b";tag=srs1\r\n", f";tag={tags.get(call, '')}\r\n".encode())
        if message.startswith(b"ACK "):
            client.send(message)
            continue
        answers.append(await client.ask(message))
        tags[call] = tag_of(field_of(answers[-1], "To"))
    return answers


async def _replayed(name: str) -> tuple[Recorder, list[bytes]]:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        return found, await _replay(client, sip_to(DATA / name, 5070))


def _media(answer: bytes) -> list[str]:
    wanted = ("m=", "a=label", "a=recvonly", "a=inactive")
    return [line for line in answer.decode().split("\r\n") if line.startswith(wanted)]


def test_the_captures_are_there() -> None:
    assert len(CAPTURES) == 9


@pytest.mark.parametrize("name", CAPTURES)
async def test_every_request_of_every_capture_gets_200_and_every_session_ends(name: str) -> None:
    found, answers = await _replayed(name)
    assert {status_of(answer) for answer in answers} == {200}
    offered = found.all(Offered)
    assert [event.session for event in found.all(Ended)] == [event.session for event in offered]
    assert all(event.established for event in found.all(Ended))
    for event in offered:
        assert [stream.side for stream in event.streams] == [Side.CALLER, Side.CALLEE]
        assert [party.side for party in event.parties] == [Side.CALLER, Side.CALLEE]
    assert {str(i) for i in offered[0].parties[0].identities} == {"sip:alice@example.com"}


async def test_the_first_invite_as_it_was_sent_is_answered_stream_by_stream() -> None:
    message = (DATA / "basic_invite_to_srs.sip").read_bytes()
    async with recorder() as found, udp_client(found.port("udp")) as client:
        answers = await _replay(client, [message])
    (offered,) = found.all(Offered)
    assert [(s.label, s.address, s.port) for s in offered.streams] == [
        ("1", "127.0.0.1", 30028),
        ("0", "127.0.0.1", 30046),
    ]
    assert offered.streams[0].payload_types == ((0, "PCMU"), (101, "telephone-event"))
    assert offered.keys == {"1-20351@127.0.0.1", "B2B.411.3684984.1795335911.1330902535"}
    assert offered.story_keys == {"session xNm0UDE5TKuT1jxCAnGOOw=="}
    assert _media(answers[0]) == [
        *("m=audio 30000 RTP/AVP 0 101", "a=label:1", "a=recvonly"),
        *("m=audio 30002 RTP/AVP 0 101", "a=label:0", "a=recvonly"),
    ]


async def test_an_unescaped_ampersand_hides_nobody() -> None:
    found, _ = await _replayed("basic_ampersand.pcap")
    parties = found.all(Offered)[0].parties
    assert {str(i) for i in parties[1].identities} == {"sip:bob@example.com"}


async def test_video_is_declined_and_audio_unknown_to_the_metadata_keeps_its_order() -> None:
    found, answers = await _replayed("video.pcap")
    assert [(s.label, s.side) for s in found.all(Offered)[0].streams] == [("1", Side.CALLER), ("0", Side.CALLEE)]
    assert [line for line in _media(answers[0]) if line[0] == "m"] == [
        *("m=audio 30000 RTP/AVP 0 101", "m=video 0 RTP/AVP 96"),
        *("m=audio 30002 RTP/AVP 0 101", "m=video 0 RTP/AVP 96"),
    ]


@pytest.mark.parametrize(
    ("name", "held"),
    [("hold_inactive.pcap", ["a=inactive", "a=inactive"]), ("hold_sendonly.pcap", ["a=recvonly", "a=inactive"])],
)
async def test_hold_keeps_ports_and_labels_and_is_no_change_of_streams_or_parties(name: str, held: list[str]) -> None:
    found, answers = await _replayed(name)
    assert found.all(StreamsChanged) == []
    assert found.all(PartiesChanged) == []
    talking, holding, again, _ = (_media(answer) for answer in answers)
    assert [line for line in holding if line.startswith("a=label") or line[0] == "m"] == [
        line for line in talking if line.startswith("a=label") or line[0] == "m"
    ]
    assert [line for line in holding if line in {"a=recvonly", "a=inactive"}] == held
    assert again == talking
    versions = [answer.split(b"o=- ")[1].split()[1] for answer in answers[:3]]
    assert versions == [b"0", b"1", b"2"]


@pytest.mark.parametrize("name", ["cancel183.pcap", "early183.pcap"])
async def test_a_session_opened_at_early_media_is_no_evidence_of_an_answer(name: str) -> None:
    async with recorder(begins="early") as found, udp_client(found.port("udp")) as client:
        await _replay(client, sip_to(DATA / name, 5070))
    assert found.all(Offered)[0].answered_at_ns is None


async def test_a_transferred_call_comes_as_a_session_of_its_own() -> None:
    found, _ = await _replayed("blindxfer.pcap")
    first, second = found.all(Offered)
    assert first.session != second.session
    assert first.keys.isdisjoint(second.keys)
