"""Pictures into VP9, as measured in LAB.md §3. Importing this module is cheap: PyAV comes with the first picture."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from capture_client.errors import FilmError
from capture_client.windows import Pixels

if TYPE_CHECKING:
    import av.video.codeccontext

KEYFRAME_EVERY = 100
_OPTIONS = {
    "deadline": "realtime",
    "cpu-used": "8",
    "tune-content": "screen",
    "crf": "30",
    "b": "0",
    "lag-in-frames": "0",
}
_BT709 = 1  # ISO 23091-2 matrix coefficients; written into the stream, so that every player shows the same colours
_LIMITED_RANGE = 1


class Encoder:
    """One picture in, one VP9 frame out. A picture of another size than the last begins a new keyframe."""

    def __init__(self) -> None:
        self._codec: av.video.codeccontext.VideoCodecContext | None = None
        self._last_ms = -1

    def encode(self, picture: Pixels, pts_ns: int, key: bool) -> tuple[bytes, bool]:
        """The frame, and whether it is a keyframe. Raises FilmError."""
        import av

        try:
            return self._encode(picture, pts_ns, key)
        except (av.FFmpegError, MemoryError) as error:
            raise FilmError(f"VP9: {type(error).__name__}") from error

    def _encode(self, picture: Pixels, pts_ns: int, key: bool) -> tuple[bytes, bool]:
        import av
        from av.video.frame import PictureType

        height, width = picture.shape[:2]
        if self._codec is None or (self._codec.width, self._codec.height) != (width, height):
            self._codec = _open(width, height)
            key = True
        frame = av.VideoFrame.from_numpy_buffer(picture, format="bgra")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        self._last_ms = max(self._last_ms + 1, pts_ns // 1_000_000)
        frame.pts, frame.time_base = self._last_ms, Fraction(1, 1000)
        if key:
            frame.pict_type = PictureType.I
        packets = self._codec.encode(frame)
        if len(packets) != 1:  # lag-in-frames=0 gives one for one
            raise FilmError(f"VP9 encoder gave {len(packets)} packets for a frame")
        return bytes(packets[0]), packets[0].is_keyframe


def _open(width: int, height: int) -> av.video.codeccontext.VideoCodecContext:
    import av

    codec = av.CodecContext.create("libvpx-vp9", "w")
    codec.width, codec.height = width, height
    codec.pix_fmt = "yuv420p"
    codec.time_base = Fraction(1, 1000)
    codec.gop_size = KEYFRAME_EVERY
    codec.thread_count = 1
    codec.colorspace, codec.color_range = _BT709, _LIMITED_RANGE
    codec.options = dict(_OPTIONS)
    codec.open()
    return codec
