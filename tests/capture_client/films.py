"""Films as tests see them: sealed segments opened with the recording's private key, decoded by FFmpeg, read."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from capture_client.film import Camera, CameraFailed, Studio
from capture_client.indicator import Sign
from capture_client.protocol import Application, FilmPacket, FilmState, open_segment
from capture_client.session import ArmCamera, EndFilm, StartCamera
from capture_client.spool import Spool
from capture_client.windows.x11 import X11Desktop
from deploy.demo.bars import read_bars

UNCERTAINTY_NS = 200_000
DEMO = Application(window_class="SipgateDemo")
_SECONDS = 15.0
Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One decoded picture; ``at_ns`` is its time on the server's clock."""

    at_ns: int
    key: bool
    rgb: Rgb

    @property
    def shows_ns(self) -> int | None:
        """The time that the business window had painted."""
        return read_bars(self.rgb)

    def share(self, red: int, green: int, blue: int, tolerance: int = 40) -> float:
        """Which part of the picture has this colour."""
        near = np.abs(self.rgb.astype(np.int16) - (red, green, blue)).max(axis=2) <= tolerance
        return float(near.mean())

    @property
    def canary_pixels(self) -> int:
        """Magenta, or what chroma subsampling makes of its edges."""
        red, green, blue = (self.rgb[..., c].astype(np.int16) for c in range(3))
        return int(((red - green > 60) & (blue - green > 60)).sum())


def decode(packets: list[FilmPacket], answered_at_ns: int) -> list[Picture]:
    """One picture for each packet."""
    decoder = av.CodecContext.create("vp9", "r")
    assert isinstance(decoder, VideoCodecContext)
    pictures = []
    for packet in packets:
        (frame,) = decoder.decode(av.Packet(packet.data))
        rgb = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
        assert rgb.shape[:2] == (packet.height, packet.width)
        pictures.append(Picture(answered_at_ns + packet.pts_ns, packet.key, rgb))
    return pictures


def open_all(folder: Path, key: X25519PrivateKey) -> list[FilmPacket]:
    """All packets of the segments below ``folder``, in order."""
    return [packet for file in sorted(folder.rglob("*.seg")) for packet in open_segment(file.read_bytes(), key)]


@dataclass
class Desk:
    """A camera with a real sign on a real display; this process's clock is the server's."""

    display: str
    folder: Path
    key: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    recording: str = field(default_factory=lambda: secrets.token_hex(16))
    said: list[FilmState | CameraFailed] = field(default_factory=list)
    pressed: int = 0
    lost: int = 0
    answered_at_ns: int = 0
    ended_at_ns: int = 0

    def __post_init__(self) -> None:
        self.spool = Spool(self.folder)
        self.sign = Sign(self.display, self._press, self._lose, lambda: None)
        studio = Studio(
            lambda: X11Desktop(self.display),
            self.spool,
            time.time_ns,
            lambda: UNCERTAINTY_NS,
            lambda: self.sign.is_up,
            self.said.append,
            lambda: None,
        )
        self.camera = Camera(studio)

    def _press(self) -> None:
        self.pressed += 1

    def _lose(self) -> None:
        self.lost += 1

    def start(self, application: Application = DEMO, frames_per_second: int = 10) -> None:
        """Arm and start at once, as a call by SIPREC does."""
        self.answered_at_ns = time.time_ns()
        public = self.key.public_key().public_bytes_raw()
        self.camera.do(ArmCamera(self.recording, application, frames_per_second, public))
        self.sign.show(paused=False)
        self.camera.do(StartCamera(self.recording, self.answered_at_ns))

    def next_call(self) -> None:
        """Another recording; the former one is erased."""
        self.spool.erase(self.recording)
        self.recording = secrets.token_hex(16)
        self.said.clear()

    def stop(self) -> list[Picture]:
        """Hang up; the film as it was kept."""
        self.ended_at_ns = time.time_ns()
        self.camera.do(EndFilm(self.recording, self.ended_at_ns, "stopped"))
        self.sign.hide()
        self.wait_for("stopped")
        return self.film()

    def film(self) -> list[Picture]:
        """What is in the spool."""
        return decode(open_all(self.folder, self.key), self.answered_at_ns)

    def wait_for(self, state: str) -> FilmState:
        """Until the camera reports this state."""
        return self.until(lambda: next((s for s in self.states() if s.state == state), None), state)

    def states(self) -> list[FilmState]:
        """What the camera has reported so far."""
        return [s for s in self.said if isinstance(s, FilmState)]

    def until(self, found: object, what: str) -> FilmState:
        """Wait, bounded."""
        deadline = time.monotonic() + _SECONDS
        assert callable(found)
        while (value := found()) is None:
            assert time.monotonic() < deadline, f"no {what} within {_SECONDS:.0f} s; so far {self.said}"
            time.sleep(0.01)
        assert isinstance(value, FilmState)
        return value

    def close(self) -> None:
        """End the threads."""
        self.camera.close()
        self.sign.close()


@contextmanager
def desk(display: str, folder: Path) -> Iterator[Desk]:
    """A desk for one test."""
    made = Desk(display, folder)
    try:
        yield made
    finally:
        made.close()
