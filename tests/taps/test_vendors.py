"""What each vendor's recording client really sends (INTEROP): one test a line, over real sockets, the vendor named."""

from __future__ import annotations

import pytest

from sipgate.core.events import Ended, Offered, PartiesChanged, Party, Side, StreamsChanged
from tests.peers.dialogue import Dialogue, ports_of
from tests.peers.recorder import recorder, udp_client
from tests.peers.sip_messages import (
    MIXED,
    TWO_STREAMS,
    audio,
    field_of,
    metadata,
    multipart,
    recording_body,
    request,
    sdp,
    status_of,
)

XML = "application/rs-metadata+xml"
CALLER, CALLEE = "sip:+33612345678@pbx.example", "sip:2001@pbx.example"


def _sides(offered: Offered) -> dict[str, Side | None]:
    return {stream.label: stream.side for stream in offered.streams}


def _named(party: Party) -> set[str]:
    return {str(identity) for identity in party.identities}


async def _offered(body: bytes, content_type: str = MIXED, **changes: object) -> tuple[Offered, bytes]:
    """What is offered of an INVITE, and the answer."""
    async with recorder(connections=[changes]) as found, udp_client(found.port("udp")) as client:
        answer = await Dialogue(client).ask(body=body, content_type=content_type)
        return found.all(Offered)[0], answer


# --- BroadWorks -----------------------------------------------------------------------------------------------------

BROADWORKS = f"""<?xml version="1.0" encoding="UTF-8"?>
<recording_metadata xmlns="urn:ietf:params:xml:ns:siprec"><dataMode>complete</dataMode>
<recording id="urn:uuid:r"><requestor>SRC</requestor><type>selective</type></recording>
<group id="urn:uuid:g" recording="urn:uuid:r"><initiator>{CALLER}</initiator></group>
<session id="urn:uuid:s" group="urn:uuid:g"><start-time>2026-03-16T12:29:09-04:00</start-time></session>
<participant id="urn:uuid:b" session="urn:uuid:s"><aor>{CALLEE};user=phone</aor>
<send><id>urn:uuid:2</id></send></participant>
<participant id="urn:uuid:a" session="urn:uuid:s"><aor>{CALLER}</aor><send><id>urn:uuid:1</id></send></participant>
<stream id="urn:uuid:1" session="urn:uuid:s"><label>1</label><mode>separate</mode></stream>
<stream id="urn:uuid:2" session="urn:uuid:s"><label>2</label><mode>separate</mode></stream>
<extensiondata id="urn:uuid:e" parent="urn:uuid:s"><broadWorksRecordingMetadata
 xmlns="http://schema.broadsoft.com/broadworksCallRecording" version="3.0"><callID>callhalf-1:0</callID><callType>
<termCall><callingPartyNumber>{CALLER}</callingPartyNumber><calledPartyNumber>sip:2100@pbx.example</calledPartyNumber>
</termCall></callType></broadWorksRecordingMetadata></extensiondata></recording_metadata>""".encode()


def _broadworks_body() -> bytes:
    first = b"--UniqueBroadWorksBoundary\r\nContent-Type:application/rs-metadata+xml\r\n"
    first += b"Content-Disposition:recording-session\r\nContent-Length:%d\r\n\r\n%s\r\n" % (len(BROADWORKS), BROADWORKS)
    second = b"--UniqueBroadWorksBoundary\r\nContent-Type:application/sdp\r\n\r\n" + TWO_STREAMS + b"\r\n"
    return first + second + b"--UniqueBroadWorksBoundary--\r\n"


async def test_broadworks_puts_the_metadata_first_in_the_drafts_namespace_and_no_space_after_colons() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        dialogue.sequence = 1
        data = dialogue.message("INVITE", _broadworks_body(), "multipart/mixed;boundary=UniqueBroadWorksBoundary")
        head, _, body = data.partition(b"\r\n\r\n")
        assert status_of(await client.ask(head.replace(b": ", b":") + b"\r\n\r\n" + body)) == 200
        offered = found.all(Offered)[0]
    assert _named(offered.parties[0]) == {CALLER, "+33612345678"}
    assert _named(offered.parties[1]) == {CALLEE, "2001"}
    assert _sides(offered) == {"1": Side.CALLER, "2": Side.CALLEE}


async def test_broadworks_calling_party_number_says_who_called_whatever_the_order() -> None:
    offered, _ = await _offered(_broadworks_body(), "multipart/mixed;boundary=UniqueBroadWorksBoundary")
    assert [party.side for party in offered.parties[:2]] == [Side.CALLER, Side.CALLEE]


async def test_broadworks_dialled_number_is_a_party_without_a_side_so_that_exclusion_sees_it() -> None:
    offered, _ = await _offered(_broadworks_body(), "multipart/mixed;boundary=UniqueBroadWorksBoundary")
    assert offered.parties[2].side is None
    assert "2100" in _named(offered.parties[2])


# --- AudioCodes -----------------------------------------------------------------------------------------------------


async def test_audiocodes_marks_a_session_by_bare_src_and_begins_inactive_without_losing_media() -> None:
    inactive = sdp(audio(40000, "1", direction="inactive"), audio(40002, "2", direction="inactive"))
    async with recorder() as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        contact = [f"Contact: <sip:src@{client.sent_by}>;src"]
        first = await dialogue.ask(body=recording_body(inactive), drop=["Contact"], extra=contact)
        assert first.count(b"a=inactive") == 2
        again = await dialogue.ask(body=recording_body())
        assert again.count(b"a=recvonly") == 2
        assert ports_of(first) == ports_of(again) == [30000, 30002]
        assert [stream.port for stream in found.all(Offered)[0].streams] == [40000, 40002]
        assert found.all(StreamsChanged) == []  # its media is accepted from the first INVITE on


@pytest.mark.parametrize("vendor", ["AudioCodes", "Ribbon"])
@pytest.mark.parametrize(
    "namespace",
    ["urn:ietf:params:xml:ns:recording:1", "urn:ietf:params:xml:ns:recording", "urn:ietf:params:xml:ns:siprec"],
)
async def test_each_of_the_three_namespaces_is_read(vendor: str, namespace: str) -> None:
    document = metadata(("a", CALLER, ["1"]), ("b", CALLEE, ["2"]), namespace=namespace)
    offered, _ = await _offered(recording_body(metadata_part=document))
    assert [_named(party) for party in offered.parties[:2]] == [{CALLER, "+33612345678"}, {CALLEE, "2001"}], vendor


# --- Ribbon / Sonus -------------------------------------------------------------------------------------------------

_BOTH = (
    "<participantstreamassoc participant_id='a'><{0}>s1</{0}><{1}>s2</{1}></participantstreamassoc>"
    "<participantstreamassoc participant_id='b'><{0}>s2</{0}><{1}>s1</{1}></participantstreamassoc>"
    "<stream stream_id='s1'><label>1</label></stream><stream stream_id='s2'><label>2</label></stream>"
)


def _associated(text: str) -> bytes:
    return recording_body(metadata_part=metadata(("a", CALLER, []), ("b", CALLEE, []), extra=text))


async def test_sonus_crossed_send_and_recv_are_put_right_where_the_connection_says_so() -> None:
    crossed = _associated(_BOTH.format("recv", "send"))
    offered, _ = await _offered(crossed, crossed_streams=True)
    assert _sides(offered) == {"1": Side.CALLER, "2": Side.CALLEE}
    offered, _ = await _offered(crossed)
    assert _sides(offered) == {"1": Side.CALLEE, "2": Side.CALLER}


async def test_sonus_streams_that_are_only_received_are_sent_by_the_other_party() -> None:
    only = "".join(
        f"<participantstreamassoc participant_id='{who}'><recv>{stream}</recv></participantstreamassoc>"
        for who, stream in (("a", "s2"), ("b", "s1"))
    )
    streams = "<stream stream_id='s1'><label>1</label></stream><stream stream_id='s2'><label>2</label></stream>"
    offered, _ = await _offered(_associated(only + streams))
    assert _sides(offered) == {"1": Side.CALLER, "2": Side.CALLEE}


# --- Oracle ---------------------------------------------------------------------------------------------------------


async def test_oracle_invites_before_the_answer_so_the_session_alone_proves_none() -> None:
    offered, _ = await _offered(recording_body(), begins="early")
    assert offered.answered_at_ns is None


async def test_oracle_re_invites_get_a_full_answer_with_the_same_port_for_each_label() -> None:
    async with recorder(begins="early") as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        first = await dialogue.ask(body=recording_body())
        for direction in ("sendonly", "inactive", "sendrecv", "sendonly"):
            body = recording_body(sdp(audio(40000, "1", direction=direction), audio(40002, "2", direction=direction)))
            again = await dialogue.ask(body=body)
            assert ports_of(again) == ports_of(first)
            assert [line for line in again.split(b"\r\n") if line.startswith(b"a=label")] == [
                b"a=label:1",
                b"a=label:2",
            ]
        assert found.all(StreamsChanged) == []


async def test_oracle_and_genesys_ping_with_options() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        assert status_of(await client.ask(request("OPTIONS", drop=["Contact"]))) == 200
        found.tap.available = False
        assert status_of(await client.ask(request("OPTIONS", branch="z9hG4bK2", call_id="2", drop=["Contact"]))) == 503


# --- Cisco ----------------------------------------------------------------------------------------------------------

RPID = [
    'Remote-Party-ID: "A, B" <sip:+33612345678@cube>;party=calling;screen=yes, <sip:2001@cube>;party=called',
]


async def test_cisco_cube_names_its_participants_in_header_fields() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        assert (
            status_of(await Dialogue(client).ask(body=TWO_STREAMS, content_type="application/sdp", extra=RPID)) == 200
        )
        offered = found.all(Offered)[0]
    assert [party.side for party in offered.parties[:2]] == [Side.CALLER, Side.CALLEE]
    assert "+33612345678" in _named(offered.parties[0])
    assert "2001" in _named(offered.parties[1])
    assert _sides(offered) == {"1": Side.CALLER, "2": Side.CALLEE}


async def test_cisco_cube_metadata_counts_for_more_than_its_header_fields() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        await Dialogue(client).ask(body=recording_body(), extra=RPID)
        offered = found.all(Offered)[0]
    assert _named(offered.parties[0]) == {"sip:2001@pbx.example", "2001"}
    assert offered.parties[-1].side is None


def _cucm(end: str, call_id: str, near: str = "102", far: str = "101", address: str = "1000") -> bytes:
    user = f"sip:2001@ucm1;{end};x-refci={near};x-nearenddevice=SEP1;x-farendrefci={far};x-farendaddr={address}"
    return request(
        call_id=call_id,
        branch=f"z9hG4bK{call_id}",
        drop=["From"],
        extra=[f"From: <{user}>;tag={call_id}"],
        body=sdp(audio(40000, None)),
        content_type="application/sdp",
    )


async def test_cisco_cucm_sends_near_and_far_end_as_two_calls_with_one_key_and_both_parties_in_each() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        assert status_of(await client.ask(_cucm("x-nearend", "near"))) == 200
        assert status_of(await client.ask(_cucm("x-farend", "far"))) == 200
        near, far = found.all(Offered)
    assert "x-refci=102@ucm1" in near.keys & far.keys
    for offered in (near, far):
        assert offered.half
        assert [party.side for party in offered.parties[:2]] == [Side.CALLER, Side.CALLEE]
        assert "1000" in _named(offered.parties[0])  # leg 101 was made before leg 102
        assert "2001" in _named(offered.parties[1])
    assert [stream.side for stream in near.streams] == [Side.CALLEE]
    assert [stream.side for stream in far.streams] == [Side.CALLER]


async def test_cisco_cucm_near_end_called_when_its_leg_was_made_first() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        await client.ask(_cucm("x-nearend", "near", near="101", far="102"))
        offered = found.all(Offered)[0]
    assert "2001" in _named(offered.parties[0])
    assert [stream.side for stream in offered.streams] == [Side.CALLER]


async def test_cisco_cucm_without_a_far_end_address_leaves_that_party_unidentified() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        await client.ask(_cucm("x-nearend", "near", address=""))
        offered = found.all(Offered)[0]
    assert [(party.side, bool(party.identities)) for party in offered.parties[:2]] == [
        (Side.CALLER, False),
        (Side.CALLEE, True),
    ]


async def test_cisco_cucm_delayed_offer_gets_one_m_line() -> None:
    data = _cucm("x-farend", "far")
    head = data.partition(b"\r\n\r\n")[0]
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-")]
    async with recorder() as found, udp_client(found.port("udp")) as client:
        answer = await client.ask(b"\r\n".join([*lines, b"Content-Length: 0", b"", b""]))
        assert ports_of(answer) == [30000]
        tag = field_of(answer, "To").partition(";tag=")[2]
        client.send(
            data.replace(b"INVITE", b"ACK").replace(
                b"To: <sip:srs@127.0.0.1>", b"To: <sip:srs@127.0.0.1>;tag=" + tag.encode()
            )
        )
        changed = await found.wait_for(StreamsChanged)
    assert [(s.label, s.side, s.port) for s in changed.streams] == [("#0", Side.CALLER, 40000)]


# --- NetSapiens, Metaswitch, Avaya, Webex and others ----------------------------------------------------------------


@pytest.mark.parametrize("labels", [("0", "1"), ("1", "2"), ("caller-leg", "callee-leg"), ("2", "1")])
async def test_netsapiens_needs_its_labels_back_whatever_they_are(labels: tuple[str, str]) -> None:
    document = metadata(("a", CALLER, [labels[0]]), ("b", CALLEE, [labels[1]]))
    media = sdp(audio(40000, labels[0]), audio(40002, labels[1]))
    offered, answer = await _offered(recording_body(media, document))
    assert [line for line in answer.decode().split("\r\n") if "label" in line] == [f"a=label:{name}" for name in labels]
    assert _sides(offered) == {labels[0]: Side.CALLER, labels[1]: Side.CALLEE}


async def test_metaswitch_one_mixed_m_line_is_of_neither_side() -> None:
    document = metadata(("a", CALLER, ["1"]), ("b", CALLEE, ["1"]))
    offered, answer = await _offered(recording_body(sdp(audio(40000, "1")), document))
    assert _sides(offered) == {"1": None}
    assert ports_of(answer) == [30000]
    assert [party.side for party in offered.parties[:2]] == [Side.CALLER, Side.CALLEE]


@pytest.mark.parametrize("mode", ["complete", "partial"])
async def test_avaya_dummy_participants_are_corrected_by_an_update(mode: str) -> None:
    dummy = metadata(("a", "sip:anonymous@anonymous.invalid", ["1"]), ("b", "sip:unknown@avaya", ["2"]))
    real = metadata(("a", CALLER, ["1"]), ("b", CALLEE, ["2"]), mode=mode)
    async with recorder() as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        await dialogue.ask(body=recording_body(metadata_part=dummy))
        assert [bool(party.identities) for party in found.all(Offered)[0].parties[:2]] == [False, False]
        assert status_of(await dialogue.ask("UPDATE", real, XML)) == 200
        (changed,) = found.all(PartiesChanged)
    assert [(party.side, "2001" in _named(party)) for party in changed.parties[:2]] == [
        (Side.CALLER, False),
        (Side.CALLEE, True),
    ]


async def test_webex_names_more_streams_in_its_metadata_than_there_are_m_lines() -> None:
    document = metadata(("a", CALLER, ["1", "3", "5"]), ("b", CALLEE, ["2", "4", "6"]))
    offered, answer = await _offered(recording_body(metadata_part=document))
    assert _sides(offered) == {"1": Side.CALLER, "2": Side.CALLEE}
    assert ports_of(answer) == [30000, 30002]


@pytest.mark.parametrize("content_type", ["application/rs-metadata", "Application/RS-Metadata+XML; charset=utf-8"])
async def test_metadata_of_either_content_type_is_read(content_type: str) -> None:
    body = multipart(
        (content_type, metadata(("a", CALLER, ["1"]), ("b", CALLEE, ["2"]))), ("application/sdp", TWO_STREAMS)
    )
    offered, _ = await _offered(body)
    assert "2001" in _named(offered.parties[1])


async def test_who_joins_by_a_partial_update_stays_a_party_even_when_another_says_that_they_left() -> None:
    association = "<participantsessionassoc participant_id='c'>{}</participantsessionassoc>"
    joins = metadata(("c", "sip:2100@pbx.example", []), mode="partial")
    leaves = metadata(mode="partial", extra=association.format("<disassociate-time>x</disassociate-time>"))
    async with recorder() as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        await dialogue.ask(body=recording_body())
        for document in (joins, leaves):
            assert status_of(await dialogue.ask("UPDATE", document, XML)) == 200
        changes = found.all(PartiesChanged)
    for change in changes:
        assert [party.side for party in change.parties[:2]] == [Side.CALLER, Side.CALLEE]
        assert any(party.side is None and "2100" in _named(party) for party in change.parties)


@pytest.mark.parametrize(
    ("removed", "what"),
    [
        pytest.param(
            "<session session_id='a'><sipSessionID>call-1@pbx</sipSessionID></session>", "session", id="no Call-ID"
        ),
        pytest.param("<datamode>complete</datamode>", "mode", id="no mode"),
        pytest.param(" session_id='a'", "reference", id="no session of a stream"),
    ],
)
async def test_metadata_that_lacks_something_is_never_a_400(removed: str, what: str) -> None:
    document = metadata(("a", CALLER, ["1"]), ("b", CALLEE, ["2"])).replace(removed.encode(), b"")
    offered, answer = await _offered(recording_body(metadata_part=document))
    assert status_of(answer) == 200, what
    assert [party.side for party in offered.parties[:2]] == [Side.CALLER, Side.CALLEE]


async def test_cisco_and_oracle_flip_between_inactive_and_sendonly_before_the_answer() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        for direction in ("sendonly", "inactive", "sendonly", "inactive", "sendonly"):
            media = sdp(audio(40000, "1", direction=direction), audio(40002, "2", direction=direction))
            answer = await dialogue.ask(body=recording_body(media))
            assert ports_of(answer) == [30000, 30002]
        assert status_of(await dialogue.ask("BYE")) == 200
        assert [type(event) for event in found.events] == [Offered, Ended]


async def test_video_beside_audio_is_answered_with_port_0_and_its_label() -> None:
    media = sdp(audio(40000, "1"), "m=video 40004 RTP/AVP 96\na=rtpmap:96 H264/90000\na=label:3", audio(40002, "2"))
    offered, answer = await _offered(recording_body(media))
    assert ports_of(answer) == [30000, 0, 30002]
    assert b"a=label:3" in answer
    assert _sides(offered) == {"1": Side.CALLER, "2": Side.CALLEE}


async def test_avp_and_savp_in_one_offer_are_answered_each_in_its_own_profile() -> None:
    key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40
    media = sdp(audio(40000, "1"), f"m=audio 40002 RTP/SAVP 0\na=label:2\n{key}", "m=audio 40004 RTP/SAVP 0\na=label:3")
    _, answer = await _offered(recording_body(media))
    assert [line for line in answer.decode().split("\r\n") if line.startswith("m=")] == [
        "m=audio 30000 RTP/AVP 0 101",
        "m=audio 30002 RTP/SAVP 0",
        "m=audio 0 RTP/SAVP 0",  # without a key
    ]
    assert answer.count(b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:") == 1
