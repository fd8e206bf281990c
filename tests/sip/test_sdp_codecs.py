"""Every codec that is kept is taken as it was offered; what is not kept is named, if its name can be said."""

from __future__ import annotations

import pytest

from sipgate.media.codecs import ABSENT, IS_SOUND, codec_number
from sipgate.sip import sdp, sdp_codecs
from tests.peers.sip_messages import audio
from tests.peers.sip_messages import sdp as description


def offered(formats: str, *attributes: str) -> sdp.MediaLine:
    return sdp.parse(description("\n".join([f"m=audio 40000 RTP/AVP {formats}", *attributes]))).media[0]


def answered(formats: str, *attributes: str) -> list[str]:
    line = "\n".join([f"m=audio 40000 RTP/AVP {formats}", *attributes])
    text = sdp.answer(sdp.parse(description(line)), "192.0.2.1", [30000], 1, 0).decode().split("\r\n")
    return text[5:-2]


def test_a_telephones_whole_list_is_answered_in_its_order_with_its_own_numbers_and_parameters() -> None:
    assert answered(
        "111 9 18 97 96 3 8 13 101 126",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtpmap:18 G729/8000",
        "a=fmtp:18 annexb=no",
        "a=rtpmap:97 iLBC/8000",
        "a=fmtp:97 mode=20",
        "a=rtpmap:96 EVS/16000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=rtpmap:126 telephone-event/48000",
    ) == [
        "m=audio 30000 RTP/AVP 111 9 18 97 3 8 13 101 126",
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:18 G729/8000",
        "a=fmtp:18 annexb=no",
        "a=rtpmap:97 iLBC/8000",
        "a=fmtp:97 mode=20",
        "a=rtpmap:3 GSM/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:13 CN/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=rtpmap:126 telephone-event/48000",
        "a=fmtp:126 0-15",
    ]


@pytest.mark.parametrize("rate", [16, 24, 32, 40])
@pytest.mark.parametrize("packing", ["", "AAL2-"])
def test_g726_is_taken_at_every_rate_and_in_both_packings(rate: int, packing: str) -> None:
    name = f"{packing}G726-{rate}"
    assert offered("99", f"a=rtpmap:99 {name}/8000").payload_types == ((99, name),)


def test_what_is_taken_is_what_the_receiver_keeps() -> None:
    """Two tables in two layers: neither may know of a codec that the other does not."""
    names = {name for name, _ in sdp_codecs._TAKEN}
    kept = {name for name in names if IS_SOUND[codec_number(name)]}
    assert names - kept == {"CN", "telephone-event"}
    assert codec_number("CN") == ABSENT
    assert all(name in names for _, name in sdp.OFFERED)


def test_what_is_taken_beside_sound_does_not_suffice() -> None:
    line = offered("13 101", "a=rtpmap:101 telephone-event/8000")
    assert not line.wanted
    assert line.refused_codecs == ()


@pytest.mark.parametrize(
    ("formats", "attributes", "named"),
    [
        ("96", ["a=rtpmap:96 AMR-WB/16000"], ("AMR-WB",)),
        ("96 97 101", ["a=rtpmap:96 EVS/16000", "a=rtpmap:97 amr/8000", "a=rtpmap:101 telephone-event/8000"],
         ("AMR", "EVS")),
        ("4 15", [], ("G723", "G728")),
        ("96", ["a=rtpmap:96 Alice.33639980001/8000"], ("another",)),
        ("77", [], ("another",)),
        ("96", ["a=rtpmap:96 opus/8000"], ("OPUS",)),
    ],
)  # fmt: skip
def test_refused_codecs_are_named_as_they_are_registered_never_as_a_peer_calls_them(
    formats: str, attributes: list[str], named: tuple[str, ...]
) -> None:
    line = offered(formats, *attributes)
    assert not line.wanted
    assert line.refused_codecs == named


def test_nothing_is_said_of_codecs_that_were_offered_beside_one_that_is_taken_nor_of_a_stream_that_is_off() -> None:
    assert offered("96 0", "a=rtpmap:96 EVS/16000").refused_codecs == ()
    off = sdp.parse(description("m=audio 0 RTP/AVP 4", audio())).media[0]
    assert off.refused_codecs == ()
    assert sdp.parse(description("m=video 9 RTP/AVP 31")).media[0].refused_codecs == ()


def test_opus_may_leave_out_its_two_channels_and_nothing_else_may_have_them() -> None:
    assert offered("96", "a=rtpmap:96 OPUS/48000").payload_types == ((96, "OPUS"),)
    assert not offered("0", "a=rtpmap:0 PCMU/8000/2").wanted
    assert "a=rtpmap:96 OPUS/48000/1" in answered("96", "a=rtpmap:96 OPUS/48000/1")


def test_parameters_that_are_not_understood_are_not_repeated() -> None:
    assert answered("97", "a=rtpmap:97 iLBC/8000", "a=fmtp:97 mode=25;x=1")[1:] == ["a=rtpmap:97 iLBC/8000"]
    assert "a=fmtp:18 annexb=yes" in answered("18", "a=fmtp:18 x=1; AnnexB=yes")


def test_our_own_offer_names_every_codec_so_that_no_call_must_be_recoded() -> None:
    text = sdp.offer("192.0.2.1", [30000], 1, 0).decode()
    assert "m=audio 30000 RTP/AVP 0 8 9 96 18 3 97 98 13 101\r\n" in text
    assert "a=rtpmap:96 opus/48000/2\r\n" in text
    assert "a=rtpmap:97 iLBC/8000\r\n" in text
    assert "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n" in text
    assert sdp.parse(text.encode()).media[0].payload_types == sdp.OFFERED
