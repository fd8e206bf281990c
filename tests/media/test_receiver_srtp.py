"""Secured streams on real sockets: libsrtp and ffmpeg send, and nothing but their sound is kept."""

from __future__ import annotations

import base64
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sipgate.core.events import MediaKey, Side, StreamOffer
from sipgate.errors import MediaError
from sipgate.media.receiver import Receiver
from sipgate.media.statistics import Statistics
from tests.media.conftest import PAYLOAD_TYPES, SECOND, Call, Events, heard, noise, soon
from tests.media.test_srtp import drawn
from tests.peers.rtp import Voice, encoded, packet, speak
from tests.peers.srtp import SUITES, SecureVoice, Sender


def secured(voice: Voice, side: Side, *keys: MediaKey) -> StreamOffer:
    """A stream of this voice under these keys."""
    return StreamOffer(side.name, side, "127.0.0.1", voice.port, PAYLOAD_TYPES, crypto=keys)


@pytest.fixture
def voices() -> Iterator[tuple[SecureVoice, Voice]]:
    """A caller who speaks SRTP, a callee who does not."""
    caller = SecureVoice(ssrc=0x77)
    with caller, Voice(ssrc=0x78) as callee:
        yield caller, callee


@pytest.fixture
def mixed(receiver: Receiver, voices: tuple[SecureVoice, Voice], tmp_path: Path) -> Call:
    """Their call: AVP and SAVP in one offer, opened and answered."""
    call = Call(receiver, tmp_path, voices)
    offers = [secured(voices[0], Side.CALLER, voices[0].sender.key), secured(voices[1], Side.CALLEE)]
    ports = receiver.open(call.recording, offers, call.key, tmp_path)
    for voice, port in zip(voices, ports, strict=True):
        voice.destination = port
    call.begin(ago_ns=SECOND)
    return call


def after(receiver: Receiver, voice: SecureVoice, *datagrams: bytes) -> Statistics:
    """What became of datagrams that are sent as they are."""
    before = receiver.statistics().received
    for datagram in datagrams:
        voice.send_bare(datagram)
    soon(lambda: receiver.statistics().received >= before + len(datagrams))
    return receiver.statistics()


@pytest.mark.parametrize("suite", SUITES)
def test_both_sides_of_a_mixed_offer_are_kept_bit_for_bit(
    suite: str, mixed: Call, voices: tuple[SecureVoice, Voice], receiver: Receiver
) -> None:
    caller, callee = voices
    caller.sender = Sender(suite)
    receiver.restream(mixed.recording, [secured(caller, Side.CALLER, caller.sender.key), secured(callee, Side.CALLEE)])
    sounds = [noise(0.6), noise(0.6)]  # the caller's sequence numbers wrap on the way
    speak(zip(voices, sounds, strict=True))
    mixed.finish()
    assert [mixed.kept().bytes_of(leg) for leg in (0, 1)] == sounds
    assert (receiver.statistics().unauthentic, receiver.statistics().replayed) == (0, 0)


def test_nothing_of_a_secured_stream_is_kept_but_what_its_key_proves(
    mixed: Call, voices: tuple[SecureVoice, Voice], receiver: Receiver
) -> None:
    caller = voices[0]
    plain = packet(noise(0.02), sequence=1, ssrc=caller.ssrc)
    stranger = Sender().protect(plain)
    genuine = caller.sender.protect(plain)
    altered = genuine[:50] + bytes([genuine[50] ^ 1]) + genuine[51:]
    key = packet(b"\x01\x8a\x03\x20", payload_type=101, ssrc=caller.ssrc)
    statistics = after(receiver, caller, plain, stranger, altered, genuine[:13], key)
    assert (statistics.unauthentic, statistics.kept) == (5, 0)
    statistics = after(receiver, caller, genuine, genuine)
    assert (statistics.unauthentic, statistics.replayed, statistics.kept) == (5, 1, 1)
    mixed.finish()
    assert mixed.kept().bytes_of(0) == plain[12:]


def test_forged_packets_keep_no_call_alive(mixed: Call, voices: tuple[SecureVoice, Voice], receiver: Receiver) -> None:
    """What renews a film's lease, and what ends a recording by silence, is when its sender was last heard."""
    caller = voices[0]
    heard(mixed, caller)
    last = receiver.heard_at_ns(mixed.recording)
    assert last is not None
    forged = [packet(bytes(170), sequence=number, ssrc=caller.ssrc) for number in range(3)]
    after(receiver, caller, *forged, *[caller.sender.protect(packet(bytes(160), sequence=9, ssrc=caller.ssrc))[:-1]])
    assert receiver.heard_at_ns(mixed.recording) == last
    heard(mixed, caller)
    assert (receiver.heard_at_ns(mixed.recording) or 0) > last


def test_rtcp_that_anybody_could_have_sent_is_not_heard_and_none_is_sent(
    mixed: Call, voices: tuple[SecureVoice, Voice], receiver: Receiver
) -> None:
    caller = voices[0]
    heard(mixed, caller)
    last = receiver.heard_at_ns(mixed.recording)
    goodbye = bytes([0x81, 203, 0, 1]) + caller.ssrc.to_bytes(4, "big")
    assert after(receiver, caller, goodbye).control == 1
    assert receiver.heard_at_ns(mixed.recording) == last
    (offer,) = [secured(caller, Side.CALLER, caller.sender.key)]
    receiver.restream(mixed.recording, [replace(offer, rtcp=("127.0.0.1", caller.port))])
    row = next(iter(receiver._owners))
    assert row not in receiver._drain._reports._ways


def test_a_telephone_key_is_heard_in_srtp_and_not_beside_it(
    mixed: Call, voices: tuple[SecureVoice, Voice], events: Events
) -> None:
    caller = voices[0]
    caller.press(5)
    event = events.wait()
    assert getattr(event, "digit", None) == "5"
    caller.send_bare(packet(b"\x07\x0a\x03\x20", payload_type=101, sequence=9, timestamp=7, ssrc=caller.ssrc))
    heard(mixed, caller)
    time.sleep(0.3)
    assert events.so_far() == []


def test_a_new_key_in_mid_call_loses_nothing_on_its_way(
    mixed: Call, voices: tuple[SecureVoice, Voice], receiver: Receiver
) -> None:
    caller, callee = voices
    sound, new = noise(0.6), Sender("AEAD_AES_256_GCM")
    speak([(caller, sound[:1600])])
    port = caller.destination
    offers = [secured(caller, Side.CALLER, new.key), secured(callee, Side.CALLEE)]
    assert receiver.restream(mixed.recording, offers)[0] == port, "the port stays"
    speak([(caller, sound[1600:3200])])  # it has not heard of our answer yet
    caller.sender = new
    speak([(caller, sound[3200:])])
    time.sleep(0.1)  # the three followed each other without the last packet's 20 ms
    mixed.finish()
    assert mixed.kept().bytes_of(0) == sound
    assert receiver.statistics().unauthentic == 0


def test_from_plain_to_secured_nothing_plain_is_kept_any_more(
    mixed: Call, voices: tuple[SecureVoice, Voice], receiver: Receiver
) -> None:
    caller, callee = voices
    receiver.restream(mixed.recording, [secured(caller, Side.CALLER), secured(callee, Side.CALLEE)])
    assert after(receiver, caller, packet(bytes(160), sequence=1)).kept == 1
    receiver.restream(mixed.recording, [secured(caller, Side.CALLER, caller.sender.key), secured(callee, Side.CALLEE)])
    assert after(receiver, caller, packet(bytes(160), sequence=2)).unauthentic == 1
    assert after(receiver, caller, caller.sender.protect(packet(bytes(160), sequence=3))).kept == 2


@pytest.mark.parametrize("in_mid_call", [False, True])
def test_a_key_that_cannot_be_used_opens_nothing(
    in_mid_call: bool, mixed: Call, voices: tuple[SecureVoice, Voice], receiver: Receiver, tmp_path: Path
) -> None:
    caller, callee = voices
    broken = [secured(caller, Side.CALLER, MediaKey("AES_CM_128_HMAC_SHA1_80", b"short"))]
    if in_mid_call:
        receiver.restream(mixed.recording, [secured(caller, Side.CALLER), secured(callee, Side.CALLEE)])
        with pytest.raises(MediaError):
            receiver.restream(mixed.recording, broken)
        statistics = after(receiver, caller, packet(bytes(160)), caller.sender.protect(packet(bytes(160), sequence=1)))
        assert statistics.kept == 0
    else:
        (tmp_path / "other").mkdir()
        with pytest.raises(MediaError):
            receiver.open("f" * 32, broken, bytes(32), tmp_path / "other")


def test_behind_a_nat_a_secured_stream_takes_the_source_of_its_first_authentic_packet(
    receiver: Receiver, tmp_path: Path, voices: tuple[SecureVoice, Voice]
) -> None:
    caller, stranger = voices
    call = Call(receiver, tmp_path, ())
    offer = StreamOffer(
        *("1", Side.CALLER, "192.0.2.1", 9, PAYLOAD_TYPES), crypto=(caller.sender.key,), networks=("127.0.0.0/8",)
    )
    (port,) = receiver.open(call.recording, [offer], call.key, tmp_path)
    call.begin(ago_ns=SECOND)
    caller.destination = stranger.destination = port
    for _ in range(20):
        stranger.send(bytes(170))
    soon(lambda: receiver.statistics().received >= 20)
    caller.send(bytes(160))
    soon(lambda: receiver.statistics().kept == 1)
    stranger.send(bytes(170))
    caller.send(bytes(160))
    soon(lambda: receiver.statistics().kept == 2)
    assert receiver.statistics().foreign == 21


FFMPEG_SUITES = ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"]


@pytest.mark.peer
@pytest.mark.parametrize("suite", FFMPEG_SUITES)
def test_what_ffmpeg_sends_as_srtp_is_kept(suite: str, receiver: Receiver, tmp_path: Path) -> None:
    ffmpeg = shutil.which("ffmpeg")
    assert ffmpeg is not None, "apt-get install ffmpeg"
    key = drawn(suite)
    with Voice() as place:
        port = place.port  # whence ffmpeg will send
    call = Call(receiver, tmp_path, ())
    offers = [StreamOffer("1", Side.CALLER, "127.0.0.1", port, PAYLOAD_TYPES, crypto=(key,))]
    (to,) = receiver.open(call.recording, offers, call.key, tmp_path)
    call.begin(ago_ns=1_000_000_000)  # ffmpeg begins with a burst: its first packets lie before it
    secret = base64.b64encode(key.secret).decode()
    done = subprocess.run(
        [
            *(ffmpeg, "-v", "error", "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=8000:duration=1.5"),
            *("-c:a", "pcm_mulaw", "-f", "rtp", "-srtp_out_suite", suite, "-srtp_out_params", secret),
            f"srtp://127.0.0.1:{to}?localport={port}&localrtcpport={port + 1}&pkt_size=212",
        ],
        timeout=30,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    call.finish()
    kept, statistics = call.kept().bytes_of(0), receiver.statistics()
    assert len(kept) == 12_000
    loud = sum(byte not in (0xFF, 0x7F) for byte in kept)
    assert loud > 10_000
    assert set(kept) <= set(encoded_sine()), "a sine of this loudness, not cipher text"
    assert statistics.unauthentic <= 2, "but for its RTCP"


def encoded_sine() -> bytes:
    """Every value that a mu-law sine at an eighth of full scale takes."""
    return encoded(np.arange(-4400, 4400).astype(np.int16))
