"""The receiver on real sockets: what is kept, where it lies, what never is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sipgate.config import Media
from sipgate.core.events import Side, StreamOffer
from sipgate.media.receiver import Receiver
from tests.media.conftest import NEAR, SECOND, Call, Events, heard, noise, soon
from tests.peers.rtp import PCMA, Voice, packet, speak


@pytest.mark.parametrize("packet_ms", [10, 20, 30, 40, 60, 120, 200])
def test_both_sides_are_kept_bit_for_bit_where_they_were_spoken(call: Call, packet_ms: int) -> None:
    call.open()
    for voice in call.voices:
        voice.packet_ms = packet_ms
    sounds = [noise(1.2), noise(1.2)]
    start = speak(zip(call.voices, sounds, strict=True), call.begin())
    length = call.finish()
    kept = call.kept()
    assert kept.length_ns == length
    assert kept.lost == (0, 0)
    for leg, sound in enumerate(sounds):
        assert abs(kept.where(leg, sound) - (start - call.answered_at_ns) / 1e9) < NEAR
        assert kept.bytes_of(leg) == sound, "and nothing else"


def test_left_is_the_caller_in_whatever_order_the_streams_are_offered(call: Call) -> None:
    call.open(Side.CALLEE, Side.CALLER)
    sounds = [noise(0.3), noise(0.3)]
    speak(zip(call.voices, sounds, strict=True), call.begin())
    call.finish()
    assert [call.kept().bytes_of(leg) for leg in (1, 0)] == sounds


def test_reordered_and_repeated_packets_are_put_right_and_lost_ones_leave_a_gap(call: Call) -> None:
    call.open()
    call.begin(ago_ns=SECOND)  # packets that come all at once were spoken before
    voice, sound = call.voices[0], noise(0.4)
    packets = [
        packet(sound[n * 160 : n * 160 + 160], sequence=65_530 + n, timestamp=2**32 - 1000 + n * 160) for n in range(20)
    ]
    for number in [0, 2, 1, 3, 3, 4, 7, 6, 5, 9, 8, *range(12, 20), 15]:  # 10 and 11 are lost
        voice.send_raw(packets[number])
    call.finish()
    kept = call.kept()
    first = kept.where(0, sound[: 10 * 160])
    assert kept.where(0, sound[12 * 160 :]) == pytest.approx(first + 0.24)
    gap = kept.codec[0, int(first * 1000) + 200 : int(first * 1000) + 240]
    assert not gap.any()


def test_lost_packets_are_counted_by_side(call: Call) -> None:
    call.open()
    call.begin()
    for number in (0, 1, 2, 5, 6):
        call.voices[1].send_raw(packet(bytes(160), sequence=number, timestamp=number * 160))
    call.finish()
    assert call.kept().lost == (0, 2)


def test_early_media_is_never_kept(call: Call) -> None:
    call.open()
    early, sound = noise(0.4), noise(0.4)
    speak([(call.voices[0], early)])
    speak([(call.voices[0], sound)], call.begin())
    call.finish()
    kept = call.kept()
    assert kept.bytes_of(0) == sound
    assert early[-160:] not in kept.sound[0].tobytes()


def test_what_came_between_the_answer_and_its_news_is_kept_from_the_answer_on(call: Call) -> None:
    """The answer's time is the signalling's; the packets that came since are still in the kernel's buffer."""
    call.open()
    soon(lambda: call.receiver.running)
    before, after = noise(0.04), noise(0.02)
    call.voices[0].packet_ms = 40
    call.voices[0].send(before)
    time.sleep(0.005)
    call.answered_at_ns = time.time_ns()
    time.sleep(0.01)
    call.voices[1].send(after)
    call.receiver.begin(call.recording, call.answered_at_ns)
    call.finish()
    assert call.kept().bytes_of(0) == b"", "not even the end of a packet that came before"
    assert call.kept().bytes_of(1) == after


def test_what_comes_after_the_hangup_is_never_kept(call: Call) -> None:
    call.open()
    call.begin()
    sound, late = noise(0.2), noise(0.2)
    speak([(call.voices[0], sound)])
    hung_up = time.time_ns() - call.answered_at_ns
    speak([(call.voices[0], late)])
    call.finish(hung_up)
    heard(call, call.voices[0])
    kept = call.kept()
    assert kept.length_ns == hung_up
    assert late[:160] not in kept.sound[0].tobytes()
    assert not kept.codec[:, hung_up // 1_000_000 + 1 :].any()


def test_a_packet_that_comes_after_the_hangup_is_not_kept_though_it_was_spoken_before(call: Call) -> None:
    call.open()
    call.begin(ago_ns=SECOND)
    sound = noise(0.2)
    packets = [packet(sound[n * 160 : n * 160 + 160], sequence=n, timestamp=n * 160) for n in range(10)]
    for number in (0, 1, 2, 3, 4, 6, 7, 8, 9):
        call.voices[0].send_raw(packets[number])
    hung_up = time.time_ns() - call.answered_at_ns
    call.voices[0].send_raw(packets[5])
    call.finish(hung_up)
    kept = call.kept().bytes_of(0)
    assert kept.startswith(sound[: 5 * 160] + sound[6 * 160 : 9 * 160])


def test_a_hangup_that_is_told_late_takes_back_what_was_sealed_since(call: Call) -> None:
    call.open()
    call.begin()
    speak([(call.voices[0], noise(1.5))])
    call.finish(300_000_000)
    kept = call.kept()
    assert kept.length_ns == 300_000_000
    assert len(kept.windows) == 1
    assert not kept.codec[:, 300:].any()


def test_the_length_is_the_calls_even_when_nobody_speaks(call: Call) -> None:
    call.open()
    call.begin()
    time.sleep(0.8)
    length = call.finish()
    kept = call.kept()
    assert kept.length_ns == length
    assert not kept.codec.any()


def test_a_hold_keeps_its_duration_though_the_senders_clock_stood_still(call: Call) -> None:
    call.open()
    before, after = noise(0.3), noise(0.3)
    speak([(call.voices[0], before)], call.begin())
    time.sleep(1.0)
    resumed = speak([(call.voices[0], after)])
    call.finish()
    kept = call.kept()
    assert kept.where(0, after) == pytest.approx((resumed - call.answered_at_ns) / 1e9, abs=NEAR)
    assert kept.where(0, before) < NEAR


def test_a_new_ssrc_and_a_new_codec_in_mid_call_break_nothing(call: Call) -> None:
    call.open()
    voice, first, second = call.voices[0], noise(0.3), noise(0.3)
    speak([(voice, first)], call.begin())
    voice.ssrc, voice.sequence, voice.timestamp, voice.payload_type = 99, 5, 1_000_000, PCMA
    changed = speak([(voice, second)], call.answered_at_ns + 300_000_000)
    call.finish()
    kept = call.kept()
    assert kept.where(0, first) < NEAR
    assert kept.where(0, second) == pytest.approx((changed - call.answered_at_ns) / 1e9, abs=NEAR)
    at = int(kept.where(0, second) * 1000)
    assert set(kept.codec[0, at : at + 300].tolist()) == {2}


def test_header_extensions_csrcs_and_padding_are_not_sound(call: Call) -> None:
    call.open()
    call.begin(ago_ns=SECOND)
    sound = noise(0.02)
    plain = packet(sound)
    variants = {
        "extension": bytes([0x90]) + plain[1:12] + b"\xbe\xde\0\1" + b"\1\2\3\4" + sound,
        "csrc": bytes([0x81]) + plain[1:12] + b"\1\2\3\4" + sound,
        "padding": bytes([0xA0]) + plain[1:] + b"\0\0\0\4",
    }
    for number, variant in enumerate(variants.values()):
        header = bytearray(variant)
        header[2:8] = number.to_bytes(2, "big") + (number * 160).to_bytes(4, "big")
        call.voices[0].send_raw(bytes(header))
    call.finish()
    assert call.kept().bytes_of(0) == sound * 3


@pytest.mark.parametrize(
    "datagram",
    [b"", b"\x80", b"\x80\x00" + bytes(9), b"\x40" + bytes(171), b"\xbf\x00" + bytes(10), b"\x90" + bytes(11)],
)
def test_what_is_no_rtp_is_dropped_and_harms_nothing(call: Call, datagram: bytes) -> None:
    call.open()
    call.begin()
    call.voices[0].send_raw(datagram)
    sound = noise(0.02)
    call.voices[0].send(sound)
    call.finish()
    assert call.kept().bytes_of(0) == sound


def test_rtp_from_elsewhere_than_the_offer_is_dropped(call: Call) -> None:
    call.open()
    call.begin()
    with Voice(ssrc=call.voices[0].ssrc, destination=call.voices[0].destination) as stranger:
        speak([(stranger, noise(0.1))])
        sound = noise(0.1)
        speak([(call.voices[0], sound)])
        call.finish()
    kept = call.kept()
    assert kept.bytes_of(0) == sound
    assert call.receiver.statistics().foreign == 5


def test_a_codec_that_is_not_kept_and_comfort_noise_leave_silence(call: Call) -> None:
    call.open()
    call.begin()
    for payload_type in (4, 13, 111):
        call.voices[0].payload_type = payload_type
        call.voices[0].send(noise(0.02))
    call.finish()
    assert not call.kept().codec.any()
    assert call.receiver.statistics().other == 3


def test_a_dynamic_payload_type_means_what_the_offer_says(call: Call) -> None:
    voice = call.voices[0]
    dynamic = StreamOffer("1", Side.CALLER, "127.0.0.1", voice.port, ((96, "pcma"), (0, "G7221")))
    (voice.destination,) = call.receiver.open(call.recording, [dynamic], call.key, call.folder)
    call.begin()
    sound = noise(0.02)
    voice.payload_type = 0
    voice.send(noise(0.02))
    voice.payload_type = 96
    voice.send(sound)
    call.finish()
    assert call.kept().bytes_of(0) == sound


def test_the_servers_clock_may_differ_from_the_machines(events: Events, tmp_path: Path) -> None:
    """The kernel stamps packets by CLOCK_REALTIME; the server's own clock was never set back."""
    ahead = 3600 * SECOND
    receiver = Receiver(Media(first_port=23_960, last_port=23_969), lambda: time.time_ns() + ahead, events)
    receiver.start()
    call = Call(receiver, tmp_path, (Voice(), Voice()))
    try:
        call.open()
        call.answered_at_ns = time.time_ns() + ahead
        receiver.begin(call.recording, call.answered_at_ns)
        sound = noise(0.3)
        speak([(call.voices[1], sound)])
        time.sleep(0.03)
        ended = time.time_ns() + ahead
        receiver.finish(call.recording, ended)
        assert call.kept().where(1, sound) < NEAR
        assert call.kept().length_ns == ended - call.answered_at_ns
    finally:
        receiver.stop()
        for voice in call.voices:
            voice.close()


def test_a_packet_that_comes_after_its_window_was_sealed_still_finds_its_place(call: Call) -> None:
    call.open()
    start = call.begin()
    voice, sound = call.voices[0], noise(2.0)
    for number in range(100):
        if number != 3:
            time.sleep(max(0, start + number * 20_000_000 - time.time_ns()) / 1e9)
            payload = sound[number * 160 : number * 160 + 160]
            voice.send_raw(packet(payload, sequence=number, timestamp=number * 160))
    sealed = (call.folder / "audio.sealed").stat().st_size
    assert sealed > 9_000, "the first window is sealed by now"
    voice.send_raw(packet(sound[480:640], sequence=3, timestamp=480))
    soon(lambda: sound[:3200] in bytes(call.kept().sound[0]))  # sealed again, should the process be killed now
    call.finish()
    assert call.kept().where(0, sound) < NEAR


def test_a_receiver_that_was_held_up_loses_nothing_of_what_the_kernel_kept(
    call: Call, events: Events, worker_ports: Media
) -> None:
    call.receiver = Receiver(worker_ports, time.time_ns, events)  # not started: nobody drains
    call.open()
    call.begin()
    sound = noise(3.0)
    speak([(call.voices[0], sound)], call.answered_at_ns)
    call.receiver.start()
    soon(lambda: call.receiver.statistics().kept == 150)
    call.finish()
    call.receiver.stop()
    assert call.kept().bytes_of(0) == sound
