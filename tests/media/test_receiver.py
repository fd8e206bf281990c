"""The receiver on real sockets: what is kept, where it lies, what never is."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sipgate.config import Media
from sipgate.core.events import DigitPressed, MediaFailed, Side, StreamOffer
from sipgate.errors import MediaError, StoreError
from sipgate.media.receiver import Receiver, Silent
from tests.media.conftest import PAYLOAD_TYPES, Call, Events, offer
from tests.peers.rtp import PCMA, PCMU, Voice, packet, speak

SECOND = 1_000_000_000
NEAR = 0.1
"""Seconds by which a packet's arrival may differ from its sending on a machine that does much else."""


def noise(seconds: float) -> bytes:
    """Bytes that occur once: what is found is where it is."""
    return os.urandom(int(seconds * 8000))


def soon(condition: Callable[[], bool], seconds: float = 6) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not become so in time"
        time.sleep(0.02)


def heard(call: Call, voice: Voice, count: int = 1) -> None:
    """Wait until so many more datagrams of this voice were drained."""
    before = call.receiver.statistics().received
    for _ in range(count):
        voice.send(bytes(160))
    soon(lambda: call.receiver.statistics().received >= before + count)


@pytest.mark.parametrize("packet_ms", [10, 20, 30, 40, 60, 120])
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
    before, after = noise(0.02), noise(0.02)
    call.voices[0].send(before)
    time.sleep(0.005)
    call.answered_at_ns = time.time_ns()
    call.voices[0].send(after)
    call.receiver.begin(call.recording, call.answered_at_ns)
    call.finish()
    assert before not in call.kept().sound[0].tobytes()


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
    for payload_type in (9, 13, 111):
        call.voices[0].payload_type = payload_type
        call.voices[0].send(noise(0.02))
    call.finish()
    assert not call.kept().codec.any()
    assert call.receiver.statistics().other == 3


def test_a_dynamic_payload_type_means_what_the_offer_says(call: Call) -> None:
    voice = call.voices[0]
    dynamic = StreamOffer("1", Side.CALLER, "127.0.0.1", voice.port, ((96, "pcma"), (0, "opus")))
    (voice.destination,) = call.receiver.open(call.recording, [dynamic], call.key, call.folder)
    call.begin()
    sound = noise(0.02)
    voice.payload_type = 0
    voice.send(noise(0.02))
    voice.payload_type = 96
    voice.send(sound)
    call.finish()
    assert call.kept().bytes_of(0) == sound


# --- telephone keys -------------------------------------------------------------------------------------------------


def test_a_telephone_key_is_told_once_and_is_no_sound(call: Call, events: Events) -> None:
    call.open()
    call.begin()
    speak([(call.voices[0], noise(0.1))])
    pressed_at = time.time_ns()
    call.voices[0].press(11)
    event = events.wait()
    assert isinstance(event, DigitPressed)
    assert (event.recording, event.side, event.digit) == (call.recording, Side.CALLER, "#")
    assert abs(event.at_ns - pressed_at) < NEAR * 1e9
    call.voices[1].press(5)
    call.voices[1].press(5)
    call.finish()
    assert [(e.side, e.digit) for e in events.so_far() if isinstance(e, DigitPressed)] == [(Side.CALLEE, "5")] * 2
    kept = call.kept()
    assert kept.codec[0].sum() == 100
    assert kept.lost == (0, 0), "a key takes sequence numbers"


def test_a_key_pressed_before_the_answer_or_just_before_the_hangup_is_told(call: Call, events: Events) -> None:
    call.open()
    call.voices[0].press(1)
    assert events.wait().digit == "1"  # type: ignore[union-attr]
    call.begin()
    call.voices[0].press(2)
    call.finish()
    assert events.wait(0.5).digit == "2"  # type: ignore[union-attr]


def test_the_repr_of_a_key_does_not_tell_it(call: Call, events: Events) -> None:
    call.open()
    call.voices[0].press(7)
    assert "digit" not in repr(events.wait())


# --- streams that change --------------------------------------------------------------------------------------------


def test_a_restream_keeps_the_port_of_a_label_and_hears_the_new_source(
    call: Call, new_call: Callable[[int], Call]
) -> None:
    ports = call.open()
    call.begin()
    moved, added = new_call(2).voices
    offers = [
        offer(moved, Side.CALLER, "CALLER"),
        offer(added, Side.CALLEE, "third"),
        offer(call.voices[1], Side.CALLEE),
    ]
    changed = call.receiver.restream(call.recording, offers)
    assert (changed[0], changed[2]) == ports
    assert changed[1] not in ports
    old, new, third = noise(0.02), noise(0.02), noise(0.02)
    call.voices[0].send(old)
    moved.destination, added.destination = changed[0], changed[1]
    moved.send(new)
    added.send(third)
    call.finish()
    kept = call.kept()
    assert [kept.bytes_of(0), kept.bytes_of(1)] == [new, third]


def test_a_stream_on_hold_by_the_null_address_or_gone_from_the_offer_is_not_heard_until_it_is_back(call: Call) -> None:
    call.open()
    call.begin()
    held = StreamOffer("CALLER", Side.CALLER, "0.0.0.0", call.voices[0].port, PAYLOAD_TYPES)
    call.receiver.restream(call.recording, [held])
    silent, sounds = noise(0.02), [noise(0.02), noise(0.02)]
    for voice in call.voices:
        voice.send(silent)
    soon(lambda: call.receiver.statistics().foreign == 2)
    call.receiver.restream(call.recording, [offer(v, s) for v, s in zip(call.voices, Side, strict=True)])
    for voice, sound in zip(call.voices, sounds, strict=True):
        voice.send(sound)
    call.finish()
    assert [call.kept().bytes_of(leg) for leg in (0, 1)] == sounds


def test_a_mixed_stream_is_kept_as_one_and_its_keys_count_for_both_sides(
    new_call: Callable[[int], Call], events: Events
) -> None:
    call = new_call(1)
    call.open(None)
    call.begin()
    sound = noise(0.02)
    call.voices[0].send(sound)
    call.voices[0].press(9)
    call.finish()
    kept = call.kept()
    assert kept.bytes_of(0) == sound
    assert all(window.mixed for window in kept.windows)
    assert {e.side for e in events.so_far() if isinstance(e, DigitPressed)} == set(Side)


# --- ports ----------------------------------------------------------------------------------------------------------


def test_rtp_is_received_on_even_ports_whose_odd_neighbour_stays_free(call: Call) -> None:
    for port in call.open():
        assert port % 2 == 0
        with socket.socket(type=socket.SOCK_DGRAM) as rtcp:
            rtcp.bind(("127.0.0.1", port + 1))


def test_a_port_is_used_again_only_after_the_old_sender_was_quiet(events: Events, tmp_path: Path) -> None:
    receiver = Receiver(Media(first_port=23_990, last_port=23_993), time.time_ns, events)
    receiver.start()
    first = Call(receiver, tmp_path / "1", (Voice(), Voice()))
    second = Call(receiver, tmp_path / "2", (Voice(), Voice()))
    for call in (first, second):
        call.folder.mkdir()
    try:
        ports = first.open()
        first.begin()
        first.finish()
        with pytest.raises(MediaError, match=r"media\.first_port"):
            second.open()
        receiver.release(second.recording)
        receiver.release(first.recording)
        stale, since = noise(0.02), time.monotonic()
        while time.monotonic() < since + 2.5:  # the old peer does not stop
            first.voices[0].send(stale)
            time.sleep(0.1)
        third = Call(receiver, tmp_path / "3", second.voices)
        third.folder.mkdir()
        with pytest.raises(MediaError):
            third.open()
        third = Call(receiver, tmp_path / "4", second.voices)
        third.folder.mkdir()
        soon(lambda: opened(third))
        assert sorted(v.destination for v in third.voices) == sorted(ports)
        third.begin()
        first.voices[0].send(stale)  # stale RTP into the reused port
        sound = noise(0.02)
        third.voices[0].send(sound)
        third.finish()
        assert third.kept().bytes_of(0) == sound
    finally:
        receiver.stop()
        for voice in (*first.voices, *second.voices):
            voice.close()


def opened(call: Call) -> bool:
    """Whether ports were free."""
    try:
        call.open()
    except MediaError:
        (call.folder / "audio.sealed").unlink()
        return False
    return True


def test_after_discard_nothing_more_is_written_and_the_sender_meets_no_error(call: Call) -> None:
    call.open()
    call.begin()
    speak([(call.voices[0], noise(0.1))])
    call.receiver.discard(call.recording)
    size = (call.folder / "audio.sealed").stat().st_size
    with Voice() as connected:
        heard(call, call.voices[0], 20)
        assert connected.port
    assert (call.folder / "audio.sealed").stat().st_size == size
    call.receiver.finish(call.recording, time.time_ns())
    call.receiver.begin(call.recording, time.time_ns())
    with pytest.raises(MediaError, match="not under way"):
        call.receiver.restream(call.recording, [])


def test_an_address_of_another_family_is_refused_and_leaves_no_port_open(call: Call) -> None:
    with pytest.raises(MediaError, match="family"):
        call.receiver.open(
            call.recording, [StreamOffer("1", Side.CALLER, "::1", 4000, PAYLOAD_TYPES)], call.key, call.folder
        )


def test_a_folder_that_is_not_there_is_refused(call: Call, tmp_path: Path) -> None:
    call.folder = tmp_path / "absent"
    with pytest.raises(StoreError):
        call.open()


def test_ipv6_is_received_like_ipv4(events: Events, tmp_path: Path) -> None:
    receiver = Receiver(Media(address="::1", first_port=23_980, last_port=23_987), time.time_ns, events)
    receiver.start()
    recording, key = "00" * 16, bytes(32)
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as source,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as stranger,
    ):
        source.bind(("::1", 0))
        offered = StreamOffer("1", Side.CALLER, "::1", source.getsockname()[1], ((PCMU, "PCMU"),))
        (port,) = receiver.open(recording, [offered], key, tmp_path)
        call = Call(receiver, tmp_path, (), recording, key)
        call.begin(ago_ns=SECOND)
        sound = noise(0.02)
        stranger.sendto(packet(noise(0.02)), ("::1", port))
        source.sendto(packet(sound), ("::1", port))
        soon(lambda: receiver.statistics().received == 2)
        call.finish()
    receiver.stop()
    assert call.kept().bytes_of(0) == sound


# --- time -----------------------------------------------------------------------------------------------------------


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


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_session_without_rtp_is_told_once_with_the_time_of_its_last_packet(tmp_path: Path, events: Events) -> None:
    media = Media(first_port=23_970, last_port=23_979, silence_seconds=0.5)
    receiver = Receiver(media, time.time_ns, events)
    receiver.start()
    call = Call(receiver, tmp_path, (Voice(), Voice()))
    try:
        call.open()
        call.begin()
        speak([(call.voices[0], noise(0.1))])
        last = time.time_ns()
        event = events.wait()
        assert event == Silent(call.recording, event.at_ns)
        assert abs(event.at_ns - last) < NEAR * 1e9
        time.sleep(1.2)
        assert events.so_far() == []
    finally:
        receiver.stop()
        for voice in call.voices:
            voice.close()


def test_a_stop_in_mid_call_seals_all_that_was_received(call: Call) -> None:
    call.open()
    sound = noise(0.7)
    speak([(call.voices[0], sound)], call.begin())
    call.receiver.stop()
    kept = call.kept()
    assert kept.length_ns is None
    assert kept.bytes_of(0) == sound


def test_a_kernel_buffer_that_is_full_shows_in_the_statistics(call: Call, events: Events, worker_ports: Media) -> None:
    receiver = Receiver(worker_ports, time.time_ns, events)  # not started: nobody drains
    call.receiver = receiver
    call.open()
    call.begin()
    for _ in range(60_000):
        call.voices[0].send(bytes(160))
    receiver.start()
    soon(lambda: receiver.statistics().dropped > 0)
    receiver.stop()
    statistics = receiver.statistics()
    assert statistics.received + statistics.dropped == 60_000


def test_a_flood_on_one_port_does_not_starve_another_call(new_call: Callable[[int], Call]) -> None:
    flooded, quiet = new_call(1), new_call(1)
    for call in (flooded, quiet):
        call.open(None)
        call.begin()
    over = threading.Event()

    def flood() -> None:
        while not over.is_set():
            flooded.voices[0].send_raw(b"no rtp")

    flooding = threading.Thread(target=flood)
    flooding.start()
    sound = noise(1.0)
    speak([(quiet.voices[0], sound)], quiet.answered_at_ns)
    quiet.finish()
    over.set()
    flooding.join()
    assert quiet.kept().bytes_of(0) == sound


def test_a_defect_that_ends_the_drain_is_told_for_every_recording(
    events: Events, worker_ports: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver(worker_ports, time.time_ns, events)
    call = Call(receiver, tmp_path, (Voice(), Voice()))
    call.open()
    died = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: died.set())
    monkeypatch.setattr(receiver, "_drain_pass", lambda _: 1 / 0)
    receiver.start()
    event = events.wait()
    assert event == MediaFailed(call.recording, event.at_ns)
    assert died.wait(5)
    soon(lambda: not receiver.running)
    monkeypatch.undo()
    receiver.stop()
    for voice in call.voices:
        voice.close()


def test_many_calls_at_once_do_not_mix(new_call: Callable[[int], Call]) -> None:
    calls = [new_call(2) for _ in range(40)]
    pairs = []
    for call in calls:
        call.open()
        call.begin()
        pairs.append([noise(0.3), noise(0.3)])
    speak(spoken for call, pair in zip(calls, pairs, strict=True) for spoken in zip(call.voices, pair, strict=True))
    for call, pair in zip(calls, pairs, strict=True):
        call.finish()
        assert [call.kept().bytes_of(leg) for leg in (0, 1)] == pair


def test_statistics_account_for_every_datagram(call: Call) -> None:
    call.open()
    call.voices[0].send(bytes(160))
    soon(lambda: call.receiver.statistics().received == 1)
    call.begin()
    call.voices[0].send(bytes(160))
    call.voices[0].press(3, packets=4)
    call.voices[0].send_raw(b"no rtp")
    call.finish()
    statistics = call.receiver.statistics()
    assert (statistics.received, statistics.idle, statistics.kept) == (7, 1, 1)
    assert (statistics.other, statistics.malformed, statistics.foreign) == (4, 1, 0)
