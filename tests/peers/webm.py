"""A small real WebM, VP9 and Opus, as ``media.finish`` makes them; or with sound alone."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

WIDTH, HEIGHT, FRAMES_PER_SECOND, SAMPLES_PER_SECOND = 640, 400, 10, 48_000


def small_webm(seconds: float = 3.0, *, film: bool = True) -> bytes:
    """Left a tone of 440 Hz, right one of 660 Hz; the film a form with a bar that travels from left to right."""
    with tempfile.TemporaryDirectory() as folder:  # cues_to_front opens the file a second time: no BytesIO
        path = Path(folder) / "small.webm"
        with av.open(path, "w", format="webm", options={"cues_to_front": "1"}) as container:
            picture = _film_stream(container) if film else None
            sound = container.add_stream("libopus", rate=SAMPLES_PER_SECOND, layout="stereo")
            if picture is not None:
                _film(container, picture, seconds)
            _sound(container, sound, seconds)
        return path.read_bytes()


def _film_stream(container: OutputContainer) -> VideoStream:
    options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "g": "20"}
    stream = container.add_stream("libvpx-vp9", rate=FRAMES_PER_SECOND, options=options)
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    return stream


def _film(container: OutputContainer, stream: VideoStream, seconds: float) -> None:
    count = round(seconds * FRAMES_PER_SECOND)
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(_picture(number / count), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _picture(progress: float) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    picture = np.full((HEIGHT, WIDTH, 3), (236, 239, 241), np.uint8)
    picture[:44] = (38, 70, 83)
    for row in range(4):
        picture[90 + row * 62 : 124 + row * 62, 60:560] = (255, 255, 255)
    at = 60 + int(progress * 480)
    picture[90:124, at : at + 20] = (42, 157, 143)
    return picture


def _sound(container: OutputContainer, stream: AudioStream, seconds: float) -> None:
    block = SAMPLES_PER_SECOND // 50
    for number in range(round(seconds * 50)):
        at = (np.arange(block) + number * block) / SAMPLES_PER_SECOND
        sides = np.stack([np.sin(2 * np.pi * pitch * at) for pitch in (440, 660)], axis=1) * 8000
        frame = av.AudioFrame.from_ndarray(sides.astype(np.int16).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = SAMPLES_PER_SECOND, number * block
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
