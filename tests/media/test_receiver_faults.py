"""kill -9 in mid-call, and a disk that is full."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sipgate.core.events import MediaFailed
from sipgate.media.frames import FILE_NAME, FRAME_BYTES, LiveFileReader, sealed_length_ns
from tests.media.conftest import Call, Events, read
from tests.media.receiving_process import KEY
from tests.media.test_frames import files_no_longer_than
from tests.peers.rtp import Voice, speak


@pytest.mark.peer
@pytest.mark.parametrize("seconds", [1.9, 2.3])
def test_after_kill_9_every_sealed_frame_opens_and_at_most_a_second_is_missing(tmp_path: Path, seconds: float) -> None:
    with Voice(ssrc=1) as caller, Voice(ssrc=2) as callee:
        command = [sys.executable, "-m", "tests.media.receiving_process", str(tmp_path)]
        ports = [str(caller.port), str(callee.port)]
        with subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            begun = json.loads(process.stdout.readline())
            caller.destination, callee.destination = begun["ports"]
            sounds = [os.urandom(8000 * 5), os.urandom(8000 * 5)]
            killed: list[int] = []

            def kill() -> None:
                process.kill()
                killed.append(time.time_ns())

            killer = threading.Timer(seconds, kill)
            killer.start()
            started = time.time_ns()
            with contextlib.suppress(ConnectionRefusedError):
                speak(zip((caller, callee), [sound[: int(8000 * (seconds + 0.2))] for sound in sounds], strict=True))
            killer.join()
            process.wait()
    with LiveFileReader(tmp_path / FILE_NAME, KEY) as reader:
        assert reader.damaged == 0
        assert reader.length_ns is None
    lived = killed[0] - begun["answered_at_ns"]
    sealed = sealed_length_ns(tmp_path / FILE_NAME, KEY)
    assert lived - 1_000_000_000 <= sealed <= lived
    kept = read(tmp_path / FILE_NAME, KEY)
    begins = (started - begun["answered_at_ns"]) / 1e9
    for leg, sound in enumerate(sounds):
        heard = sound[: int((sealed / 1e9 - begins - 0.1) * 8000)]
        assert kept.where(leg, heard) == pytest.approx(begins, abs=0.1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; for those who may not mount one, see the other test."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_full_is_told_once_and_what_was_sealed_stays(
    call: Call, events: Events, small_disk: Path
) -> None:
    call.folder = small_disk
    call.open()
    speak([(call.voices[0], os.urandom(8000 * 4))], call.begin())
    event = events.wait(3)
    assert event == MediaFailed(call.recording, event.at_ns)
    call.finish()
    assert events.so_far() == []
    kept = call.kept()
    assert kept.length_ns is None
    assert len(kept.windows) >= 4


def test_a_file_that_may_not_grow_fails_its_recording_alone(
    new_call: Callable[[int], Call], events: Events, tmp_path: Path
) -> None:
    """As on a full disk, without a mount: one recording's file is at the size limit already, the other's is not."""
    failing, other = new_call(1), new_call(1)
    with files_no_longer_than(3 * FRAME_BYTES):
        failing.open(None)
        failing.begin(ago_ns=3_000_000_000)
        failed = events.wait(3)
        other.open(None)
        sound = os.urandom(1600)
        speak([(other.voices[0], sound)], other.begin())
        other.finish()
    assert failed == MediaFailed(failing.recording, failed.at_ns)
    assert other.kept().bytes_of(0) == sound
    assert events.so_far() == []
