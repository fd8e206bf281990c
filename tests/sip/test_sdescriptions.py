"""What RFC 4568 lets a client offer, what of it is taken, and how it is answered."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipgate.sip import sdescriptions, sdp
from sipgate.sip.sdescriptions import SUITES, read
from tests.peers.sip_messages import audio
from tests.peers.sip_messages import sdp as description

KEY = base64.b64encode(bytes(range(30))).decode()
LONG = base64.b64encode(bytes(range(46))).decode()
CM, GCM = "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM"


def inline(suite: str) -> str:
    """Key parameters of the right length."""
    return "inline:" + base64.b64encode(bytes(SUITES[suite].key + SUITES[suite].salt)).decode()


def secured(*attributes: str, port: int = 40000, label: str = "1", profile: str = "RTP/SAVP") -> str:
    """An m-line of SRTP with these a=crypto values."""
    return "\n".join([audio(port, label).replace("RTP/AVP", profile), *(f"a=crypto:{value}" for value in attributes)])


def answered(*sections: str) -> list[str]:
    """The lines of our answer; ports from 30000 on, our keys all zero."""
    offer = sdp.parse(description(*sections))
    wanted = offer.wanted()
    own = {line.index: bytes(30) for line in wanted if line.crypto is not None}
    ports = [30000 + 2 * number for number in range(len(wanted))]
    return sdp.answer(offer, "192.0.2.1", ports, 1, 0, own).decode().split("\r\n")


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_is_taken_with_a_key_of_its_length_and_no_other(suite: str) -> None:
    found = read(f"7 {suite} {inline(suite)}")
    assert found is not None
    assert (found.tag, found.suite, len(found.keys[0].secret)) == (7, suite, SUITES[suite].key + SUITES[suite].salt)
    short = base64.b64encode(found.keys[0].secret[1:]).decode()
    assert read(f"7 {suite} inline:{short}") is None


@pytest.mark.parametrize(
    ("parameters", "mki"),
    [
        pytest.param(f"inline:{KEY}", b"", id="bare"),
        pytest.param(f"inline:{KEY}|2^20", b"", id="lifetime as a power"),
        pytest.param(f"inline:{KEY}|1048576", b"", id="lifetime as a number"),
        pytest.param(f"inline:{KEY}|2^20|1:4", b"\0\0\0\1", id="lifetime and MKI"),
        pytest.param(f"inline:{KEY}|66051:3", b"\1\2\3", id="MKI alone"),
        pytest.param(f"inline:{KEY}|1:128", bytes(127) + b"\1", id="the longest MKI"),
        pytest.param(f"INLINE:{KEY}", b"", id="capitals"),
        pytest.param(f"inline:{KEY} WSH=128", b"", id="a window size, which binds nobody"),
        pytest.param(f"inline:{KEY} -future=1 -KDR=1", b"", id="what may be ignored"),
    ],
)
def test_what_asks_nothing_more_of_us_is_taken(parameters: str, mki: bytes) -> None:
    found = read(f"1 {CM} {parameters}")
    assert found is not None
    assert [(key.secret, key.mki) for key in found.keys] == [(bytes(range(30)), mki)]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(f"1 {CM} inline:{KEY} UNENCRYPTED_SRTP", id="in the clear"),
        pytest.param(f"1 {CM} inline:{KEY} UNENCRYPTED_SRTCP", id="reports in the clear"),
        pytest.param(f"1 {CM} inline:{KEY} UNAUTHENTICATED_SRTP", id="without tags"),
        pytest.param(f"1 {CM} inline:{KEY} KDR=1", id="a key derivation rate"),
        pytest.param(f"1 {CM} inline:{KEY} FEC_ORDER=FEC_SRTP", id="forward error correction"),
        pytest.param(f"1 {CM} inline:{KEY} FUTURE=1", id="a parameter that must be understood"),
        pytest.param(f"1 NULL_HMAC_SHA1_80 inline:{KEY}", id="a suite that encrypts nothing"),
        pytest.param(f"1 F8_128_HMAC_SHA1_80 inline:{KEY}", id="another suite"),
        pytest.param(f"1 {CM} uri:{KEY}", id="another method"),
        pytest.param(f"1 {CM} inline:{KEY[:-1]}", id="a cut key"),
        pytest.param(f"1 {CM} inline:{LONG}", id="a longer key"),
        pytest.param(f"1 {CM} inline:{KEY}|0", id="no lifetime"),
        pytest.param(f"1 {CM} inline:{KEY}|2^49", id="too long a lifetime"),
        pytest.param(f"1 {CM} inline:{KEY}|2^999999", id="a lifetime to count for ever"),
        pytest.param(f"1 {CM} inline:{KEY}|256:1", id="an MKI that does not fit"),
        pytest.param(f"1 {CM} inline:{KEY}|1:0", id="an MKI of no length"),
        pytest.param(f"1 {CM} inline:{KEY}|1:129", id="an MKI of too much"),
        pytest.param(f"1 {CM} inline:{KEY};inline:{KEY}", id="two keys without names"),
        pytest.param(f"1 {CM} inline:{KEY}|1:4;inline:{KEY}|1:4", id="two keys of one name"),
        pytest.param(f"1 {CM} inline:{KEY}|1:4;inline:{KEY}|2:2", id="names of two lengths"),
        pytest.param(f"1 {CM} " + ";".join(f"inline:{KEY}|{n}:1" for n in range(5)), id="too many keys"),
        pytest.param(f"1 {CM}", id="no key"),
        pytest.param(f"x {CM} inline:{KEY}", id="no tag"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_asks_for_less_or_cannot_be_understood_is_passed_over(value: str) -> None:
    assert read(value) is None
    lines = answered(secured(value), audio(40002, "2"))
    assert "m=audio 0 RTP/SAVP 0 101" in lines
    better = answered(secured(value, f"2 {CM} inline:{KEY}"))
    assert "m=audio 30000 RTP/SAVP 0 101" in better
    assert [line for line in better if line.startswith("a=crypto:2 ")]


def test_several_keys_have_names() -> None:
    found = read(f"1 {CM} inline:{KEY}|1:4;inline:{KEY}|2^30|2:4")
    assert found is not None
    assert [key.mki for key in found.keys] == [b"\0\0\0\1", b"\0\0\0\2"]


def test_each_m_line_is_answered_in_its_own_profile_and_with_its_own_tag() -> None:
    lines = answered(
        secured(f"5 {CM} inline:{KEY}", label="a"),
        audio(40002, "b"),
        secured(f"9 {CM} inline:{KEY}", port=40004, label="c", profile="RTP/SAVPF"),
        audio(40006, "d").replace("RTP/AVP", "RTP/AVPF"),
        secured(f"1 {CM} inline:{KEY}", port=40008, label="e", profile="UDP/TLS/RTP/SAVPF"),
        secured(port=40010, label="f"),
    )
    assert [line for line in lines if line.startswith(("m=", "a=crypto", "a=label"))] == [
        "m=audio 30000 RTP/SAVP 0 101",
        "a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40,
        "a=label:a",
        "m=audio 30002 RTP/AVP 0 101",
        "a=label:b",
        "m=audio 30004 RTP/SAVPF 0 101",
        "a=crypto:9 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40,
        "a=label:c",
        "m=audio 30006 RTP/AVPF 0 101",
        "a=label:d",
        "m=audio 0 UDP/TLS/RTP/SAVPF 0 101",
        "a=label:e",
        "m=audio 0 RTP/SAVP 0 101",
        "a=label:f",
    ]


def test_the_best_suite_is_taken_wherever_it_stands() -> None:
    offered = [f"{tag} {suite} {inline(suite)}" for tag, suite in enumerate(reversed(SUITES), 1)]
    line = sdp.parse(description(secured(*offered))).media[0]
    assert line.crypto is not None
    assert (line.crypto.suite, line.crypto.tag) == (GCM, len(SUITES))


def test_a_suite_spelt_as_in_drafts_is_answered_as_it_is_spelt() -> None:
    found = read(f"1 AES_CM_256_HMAC_SHA1_80 inline:{LONG}")
    assert found is not None
    assert found.suite == "AES_256_CM_HMAC_SHA1_80"
    assert found.answered(bytes(46)).startswith("a=crypto:1 AES_CM_256_HMAC_SHA1_80 inline:AAAA")


def test_a_key_beside_plain_rtp_secures_nothing() -> None:
    """Some offer both in one m-line of RTP/AVP (best effort); the profile says which it is."""
    line = sdp.parse(description(secured(f"1 {CM} inline:{KEY}", profile="RTP/AVP"))).media[0]
    assert line.wanted
    assert line.crypto is None


def test_our_own_keys_are_fresh_and_as_long_as_their_suite_wants() -> None:
    for suite, lengths in SUITES.items():
        drawn = {sdescriptions.new_secret(suite) for _ in range(4)}
        assert len(drawn) == 4
        assert {len(secret) for secret in drawn} == {lengths.key + lengths.salt}


def test_no_key_shows_in_a_repr() -> None:
    offer = sdp.parse(description(secured(f"1 {CM} inline:{KEY}")))
    crypto = offer.media[0].crypto
    assert crypto is not None
    for shown in (repr(offer), repr(offer.media[0]), repr(crypto), repr(crypto.keys)):
        assert KEY[:8] not in shown
        assert "\\x02\\x03" not in shown


@given(st.text(alphabet=st.sampled_from("1 |:;^=-2inlAES_CM_128_HMAC_SHA1_80" + KEY[:9] + "\t"), max_size=120))
def test_anything_is_read_or_passed_over(value: str) -> None:
    found = read(value)
    assert found is None or found.suite in SUITES


@given(st.binary(min_size=30, max_size=30))
def test_every_key_is_read_as_it_was_written(secret: bytes) -> None:
    found = read(f"1 {CM} inline:{base64.b64encode(secret).decode()}")
    assert found is not None
    assert found.keys[0].secret == secret
    again = read(found.answered(other := os.urandom(30)).removeprefix("a=crypto:"))
    assert again is not None
    assert again.keys[0].secret == other
