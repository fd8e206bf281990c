"""The receiver on real sockets: telephone keys, streams that change, ports."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sipgate.config import Media
from sipgate.core.events import DigitPressed, Side, StreamOffer
from sipgate.errors import MediaError, StoreError
from sipgate.media import recvmmsg
from sipgate.media.codecs import ABSENT, codec_number
from sipgate.media.frames import UNIT_BYTES
from sipgate.media.receiver import Receiver
from tests.media.conftest import NEAR, PAYLOAD_TYPES, SECOND, Call, Events, heard, noise, offer, soon
from tests.peers.rtp import PCMU, Voice, packet, speak


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
    assert len(kept.bytes_of(0)) < 800, "nor is what lies beside it"
    assert {leg for window in kept.windows for leg, _ in window.keys} == {0, 1}
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


@pytest.fixture
def waiting(call: Call, idle_receiver: Receiver) -> Call:
    """A call under way of whose receiver nobody drains: what is sent waits."""
    call.receiver = idle_receiver
    call.open()
    call.begin()
    return call


def test_what_waited_when_a_stream_was_held_was_sent_before_and_is_kept(waiting: Call) -> None:
    sound, silent = noise(0.1), noise(0.02)
    speak([(waiting.voices[0], sound)])
    held = [replace(offer(voice, side), port=0) for voice, side in zip(waiting.voices, Side, strict=True)]
    waiting.receiver.restream(waiting.recording, held)
    waiting.voices[0].send(silent)
    time.sleep(0.2)  # what waited may be stamped when it was read, and so lie later
    waiting.finish()
    assert waiting.kept().bytes_of(0) == sound


def test_what_waited_is_of_the_codec_that_its_payload_type_meant_when_it_was_sent(waiting: Call) -> None:
    before, after = (
        [replace(offer(v, s), payload_types=((96, codec),)) for v, s in zip(waiting.voices, Side, strict=True)]
        for codec in ("PCMU", "PCMA")
    )
    waiting.receiver.restream(waiting.recording, before)
    waiting.voices[0].payload_type = 96
    first, second = noise(0.1), noise(0.1)
    speak([(waiting.voices[0], first)])
    waiting.receiver.restream(waiting.recording, after)
    speak([(waiting.voices[0], second)])
    time.sleep(0.2)  # what waited may be stamped when it was read, and so lie later
    waiting.finish()
    kept = waiting.kept()
    units = kept.codec[0][kept.codec[0] != ABSENT]
    assert kept.bytes_of(0) == first + second
    assert units.tolist() == [codec_number("PCMU")] * 100 + [codec_number("PCMA")] * 100


def test_what_waited_is_on_the_side_that_its_label_was_of_when_it_was_sent(waiting: Call) -> None:
    first, second = noise(0.1), noise(0.1)
    speak([(waiting.voices[0], first)])
    swapped = [
        offer(voice, side, side_before.name)
        for voice, side, side_before in zip(waiting.voices, reversed(Side), Side, strict=True)
    ]
    waiting.receiver.restream(waiting.recording, swapped)
    speak([(waiting.voices[0], second)])
    time.sleep(0.2)  # what waited may be stamped when it was read, and so lie later
    waiting.finish()
    assert [waiting.kept().bytes_of(leg) for leg in (0, 1)] == [first, second]


def test_a_key_that_waited_is_told_when_the_streams_change(waiting: Call, events: Events) -> None:
    waiting.voices[0].press(4)
    waiting.receiver.restream(waiting.recording, [])
    (told,) = events.so_far()
    assert isinstance(told, DigitPressed)
    assert (told.side, told.digit) == (Side.CALLER, "4")


def test_a_mixed_stream_is_kept_as_one_and_its_keys_count_for_both_sides(
    new_call: Callable[[int], Call], events: Events
) -> None:
    call = new_call(1)
    call.open(None)
    call.begin()
    sound = noise(0.2)
    speak([(call.voices[0], sound)])
    call.voices[0].press(9)
    call.finish()
    kept = call.kept()
    assert kept.bytes_of(0) == sound[: -60 * UNIT_BYTES], "a gateway may let the beginning of the tone through"
    assert all(window.mixed for window in kept.windows)
    assert {e.side for e in events.so_far() if isinstance(e, DigitPressed)} == set(Side)


def test_rtp_is_received_on_even_ports_and_rtcp_on_the_odd_one_above(call: Call) -> None:
    ports = call.open()
    assert {port % 2 for port in ports} == {0}
    for port in (port + 1 for port in ports):
        with socket.socket(type=socket.SOCK_DGRAM) as rtcp:
            rtcp.connect(("127.0.0.1", port))
            rtcp.send(b"x")
            rtcp.send(b"no ICMP error says that nobody is there")


def test_where_rtcp_shares_the_port_a_stream_needs_one_and_odd_ones_do(receiver: Receiver, tmp_path: Path) -> None:
    offers = [StreamOffer(str(n), Side(n), "127.0.0.1", 40000 + n, ((0, "PCMU"),), rtcp_mux=True) for n in (0, 1)]
    first, second = receiver.open("00" * 16, offers, bytes(32), tmp_path)
    assert second == first + 1


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


def test_while_it_runs_a_packet_into_a_new_port_is_stamped_when_it_came_not_when_it_was_read(
    receiver: Receiver,
) -> None:
    """The kernel begins to stamp only some time after a first socket asked for it: here that was the receiver's own."""
    assert receiver.running
    for _ in range(5):
        time.sleep(0.1)
        assert _read_late() < 20_000_000


def _read_late() -> int:
    """By how much the arrival of a packet into a new port, read 50 ms later, is stamped too late, ns."""
    with socket.socket(type=socket.SOCK_DGRAM) as port, Voice() as voice:
        port.bind(("127.0.0.1", 0))
        recvmmsg.prepare(port, 65_536)
        voice.destination = port.getsockname()[1]
        voice.send(noise(0.02))
        sent_at_ns = time.time_ns()
        time.sleep(0.05)
        batch = recvmmsg.Batch()
        assert batch.receive(port.fileno()) == 1
        return abs(int(batch.arrivals(0)[0]) - sent_at_ns)
