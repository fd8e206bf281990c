"""The receiver on real sockets: silence, floods, full buffers, defects; many calls; what it counts."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

import pytest

from sipgate.config import Media
from sipgate.core.events import MediaFailed
from sipgate.errors import MediaError
from sipgate.media.frames import FILE_NAME
from sipgate.media.receiver import Receiver, Silent
from tests.media.conftest import NEAR, Call, Events, noise, soon
from tests.peers.rtp import Voice, speak


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
    monkeypatch.setattr(receiver, "_drain_pass", lambda *_, **__: 1 / 0)
    receiver.start()
    event = events.wait()
    assert event == MediaFailed(call.recording, event.at_ns)
    assert died.wait(5)
    soon(lambda: not receiver.running)
    monkeypatch.undo()
    receiver.stop()
    for voice in call.voices:
        voice.close()


@pytest.mark.parametrize("room", [1, 2, 3, 4])
def test_without_room_for_a_calls_sockets_none_of_them_is_left(call: Call, room: int) -> None:
    """One descriptor for the live file, two for each of two streams."""
    before = descriptors()
    with no_more_descriptors_than(room), pytest.raises(MediaError):
        call.open()
    assert descriptors() == before
    assert call.receiver.heard_at_ns(call.recording) is None
    (call.folder / FILE_NAME).unlink()
    call.open()
    sound = noise(0.1)
    speak([(call.voices[0], sound)], call.begin())
    call.finish()
    assert call.kept().bytes_of(0) == sound


def descriptors() -> set[int]:
    """What this process has open."""
    listed = {int(name) for name in os.listdir("/proc/self/fd")}
    return {number for number in listed if Path(f"/proc/self/fd/{number}").exists()}  # that of the listing is closed


@contextmanager
def no_more_descriptors_than(more: int) -> Iterator[None]:
    """This process may open only so many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = descriptors()
    free = (number for number in count() if number not in taken)
    limit = next(islice(free, more, None))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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
