"""After the call: sealed sound and sealed film become one sealed WebM that a browser plays.

Runs in a worker process (``spawn``), at a low priority, on plain arguments. Sound: Opus, left the caller, right the
callee, exactly as long as the call, at the highest rate of the codecs it came in; the two are coded as two streams
without coupling (RFC 7845 §5.1.1.2, mapping family 1 with no coupled stream), so that neither is heard on the other's
side. Picture: the film's VP9 packets as they are, padded (``film.padded``). The whole is made in memory (memfd):
nothing unencrypted touches a disk.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from av.stream import Stream

from sipgate.errors import StoreError
from sipgate.media.codecs import KEY, PCMA, PCMU, decode
from sipgate.media.decoding import Leg, rate_of
from sipgate.media.film import Film, TimedPacket, padded, read_film
from sipgate.media.frames import FILE_NAME, LiveFileReader, blank
from sipgate.vault.sealed import write_sealed_file

OPUS_BITS_PER_CHANNEL: Final = {8_000: 24_000, 16_000: 32_000, 48_000: 40_000}
"""By samples a second of what was received."""
KEYS_FILE: Final = "keys.sealed"
"""When telephone keys were pressed, never which: JSON ``{"keys": [{"side", "at_ms"}]}``, sealed; none, no file."""
_NICENESS: Final = 15
_CHUNK: Final = 1 << 20
_MILLISECOND: Final = Fraction(1, 1000)

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class FinishJob:
    """Times: Unix ns on the server's clock. ``folder``: the recording's; ``output``: the sealed WebM's path."""

    recording: str
    folder: Path
    data_key: bytes = field(repr=False)
    film_private_key: bytes = field(repr=False)
    answered_at_ns: int
    ended_at_ns: int
    output: Path


@dataclass(frozen=True, slots=True)
class Finished:
    """``frames``: film frames that the workstation sent (not those shown again). ``lost``: RTP packets by leg.

    ``film_refused``: there was a film, and it could not be joined to the sound, which is there alone.
    """

    audio_seconds: float
    channels: int
    frames: int
    first_frame_ns: int | None
    last_frame_ns: int | None
    lost: tuple[int, int]
    film_complete: bool
    film_refused: bool = False


def finish_recording(job: FinishJob) -> Finished:
    """Make ``job.output``. Raises StoreError or SealError when the sound cannot be read or the WebM not be written.

    A film that cannot be joined to the sound does not cost the sound.
    """
    if os.getpriority(os.PRIO_PROCESS, 0) < _NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    length_ns = max(0, job.ended_at_ns - job.answered_at_ns)
    film = read_film(job.folder / "film", job.recording, job.film_private_key, length_ns)
    if film.packets:
        try:
            return _finish(job, length_ns, film)
        except (FFmpegError, OSError):
            return replace(_finish_or_say(job, length_ns, Film((), complete=False)), film_refused=True)
    return _finish_or_say(job, length_ns, film)


def _finish_or_say(job: FinishJob, length_ns: int, film: Film) -> Finished:
    try:
        return _finish(job, length_ns, film)
    except (FFmpegError, OSError) as error:  # the former cannot even be told to another process: it does not unpickle
        raise StoreError(f"a recording's WebM cannot be made: {error.strerror or type(error).__name__}") from None


def _finish(job: FinishJob, length_ns: int, film: Film) -> Finished:
    memory = os.memfd_create("webm", os.MFD_CLOEXEC)
    try:
        with LiveFileReader(job.folder / FILE_NAME, job.data_key) as live:
            channels = 1 if live.mixed else 2
            samples = _mux(f"/proc/self/fd/{memory}", live, length_ns, channels, film)
            lost, seconds = live.lost, samples / rate_of(live.codecs)
            _seal_keys(job, live, length_ns)
        _name_sides(memory)
        write_sealed_file(job.output, job.data_key, _chunks(memory))
    finally:
        os.close(memory)
    times = [job.answered_at_ns + packet.pts_ns for packet in film.packets]
    return Finished(
        audio_seconds=seconds,
        channels=channels,
        frames=len(times),
        first_frame_ns=times[0] if times else None,
        last_frame_ns=times[-1] if times else None,
        lost=lost,
        film_complete=film.complete,
    )


def sound(live: LiveFileReader, length_ns: int, channels: int) -> Iterator[Samples]:
    """Linear samples of ``rate_of(live.codecs)``, (n, channels) a block; together exactly as long as the call, absent
    sound silent."""
    remaining = round(length_ns * rate_of(live.codecs) / 1_000_000_000)
    for block in _blocks(live, length_ns, channels):
        yield block[:remaining]
        remaining -= len(block[:remaining])


def _blocks(live: LiveFileReader, length_ns: int, channels: int) -> Iterator[Samples]:
    """Whole windows."""
    if live.codecs <= {PCMU, PCMA}:
        for window in live.windows(length_ns):
            yield _sided([decode(window.codec[leg], window.sound[leg]) for leg in range(channels)], window.mixed)
        return
    legs = [Leg(rate_of(live.codecs), live.codecs) for _ in range(channels)]
    mixed: deque[bool] = deque()
    for window in chain(live.windows(length_ns), [blank(0, 0)] * Leg.BEHIND):
        mixed.append(window.mixed)
        found = [leg.window(window.codec[number], window.sound[number]) for number, leg in enumerate(legs)]
        if len(mixed) > Leg.BEHIND:
            yield _sided(found, mixed.popleft())


def _sided(legs: list[Samples], mixed: bool) -> Samples:
    if mixed and len(legs) == 2:  # a mix in one part of the call: on both sides
        legs = [legs[0], legs[0]]
    return np.stack(legs, axis=1)


def _mux(path: str, live: LiveFileReader, length_ns: int, channels: int, film: Film) -> int:
    """Write the WebM; returns how many samples of sound went in."""
    rate = rate_of(live.codecs)
    with av.open(path, "w", format="webm", options={"cues_to_front": "1"}) as output:
        picture = None
        if film.packets:
            picture = output.add_mux_stream("vp9", width=film.packets[0].width, height=film.packets[0].height)
            picture.time_base = _MILLISECOND
        layout = "mono" if channels == 1 else "stereo"
        options = {"application": "audio", "mapping_family": "0" if channels == 1 else "255"}
        voice = output.add_stream("libopus", rate=rate, layout=layout, options=options)
        voice.bit_rate = OPUS_BITS_PER_CHANNEL[rate] * channels
        images = padded(film.packets)
        waiting = next(images, None)
        samples = 0
        for block in sound(live, length_ns, channels):
            frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, samples, Fraction(1, rate)
            samples += len(block)
            for packet in voice.encode(frame):
                output.mux(packet)
            while waiting is not None and waiting.pts_ms * rate <= samples * 1000:
                output.mux(_image(waiting, picture))
                waiting = next(images, None)
        for packet in voice.encode(None):
            output.mux(packet)
        while waiting is not None:
            output.mux(_image(waiting, picture))
            waiting = next(images, None)
    return samples


def _name_sides(memory: int) -> None:
    """Uncoupled streams are mapping family 255 to the encoder, channels without meaning; family 1 says left, right."""
    start = os.pread(memory, 4096, 0)
    family = start.find(b"OpusHead") + 18  # RFC 7845 §5.1
    if start[family : family + 1] == b"\xff":
        os.pwrite(memory, b"\x01", family)


def _seal_keys(job: FinishJob, live: LiveFileReader, length_ns: int) -> None:
    path = job.folder / KEYS_FILE
    path.unlink(missing_ok=True)  # of an attempt before
    if KEY in live.codecs:
        keys = [key for window in live.windows(length_ns) for key in window.keys]
        text = json.dumps({"keys": [{"side": ("caller", "callee")[leg], "at_ms": at} for leg, at in keys]})
        write_sealed_file(path, job.data_key, [text.encode()])


def _image(timed: TimedPacket, stream: Stream | None) -> av.Packet[Stream]:
    packet: av.Packet[Stream] = av.Packet(timed.data)
    if stream is not None:
        packet.stream = stream
    packet.time_base = _MILLISECOND
    packet.pts = packet.dts = timed.pts_ms
    packet.is_keyframe = timed.key
    return packet


def _chunks(memory: int) -> Iterator[bytes]:
    offset = 0
    while chunk := os.pread(memory, _CHUNK, offset):
        offset += len(chunk)
        yield chunk
