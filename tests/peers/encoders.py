"""Real encoders of what telephones send: ffmpeg's (G.722, G.726, Opus; GSM by libgsm), Belledonne's G.729, and the iLBC
reference coder (RFC 3951) that pjsip carries. Sound in, RTP payloads out."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import subprocess
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from tests.peers import rtp

Samples = npt.NDArray[np.int16]

RATES = {"G722": 16_000, "opus": 48_000}
"""Samples a second that an encoder wants; 8000 for the others."""


def encode(name: str, samples: Samples, packet_ms: int = 20, **options: str) -> list[bytes]:
    """RTP payloads of ``packet_ms`` each, by encoding name as in SDP. ``samples`` at the codec's rate."""
    if name in ("PCMU", "PCMA"):
        return _cut(rtp.encoded(samples, {"PCMU": rtp.PCMU, "PCMA": rtp.PCMA}[name]), 8 * packet_ms)
    if name == "G722":
        return _cut(b"".join(_by_ffmpeg("g722", 16_000, samples)), 8 * packet_ms)
    if name.startswith(("G726-", "AAL2-G726-")):
        bits = int(name.rpartition("-")[2]) // 8
        codec = "g726" if name.startswith("AAL2") else "g726le"
        return _cut(b"".join(_by_ffmpeg(codec, 8000, samples, code_size=str(bits))), bits * packet_ms)
    if name == "opus":
        return _by_ffmpeg("libopus", 48_000, samples, **({"frame_duration": str(packet_ms)} | options))
    if name == "GSM":
        command = ["ffmpeg", "-v", "error", "-f", "s16le", "-ar", "8000", "-ac", "1", "-i", "-", "-f", "gsm", "-"]
        coded = subprocess.run(command, input=samples.tobytes(), capture_output=True, check=True).stdout
        return _cut(coded, 33 * packet_ms // 20)
    if name == "G729":
        return _cut(b"".join(_g729(samples)), packet_ms)
    if name == "iLBC":
        return _ilbc(samples, packet_ms)
    raise ValueError(name)


def _cut(coded: bytes, size: int) -> list[bytes]:
    return [coded[at : at + size] for at in range(0, len(coded) - size + 1, size)]


def _by_ffmpeg(codec: str, rate: int, samples: Samples, **options: str) -> list[bytes]:
    bit_rate = int(options.pop("bit_rate", "0"))
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout, context.format = rate, "mono", "s16"
    context.options = options
    if bit_rate:
        context.bit_rate = bit_rate
    context.open()
    size = context.frame_size or rate // 50
    found = []
    whole = len(samples) // size * size if codec == "libopus" else len(samples)
    for at in range(0, whole, size):
        frame = av.AudioFrame.from_ndarray(samples[at : at + size].reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, at
        found += context.encode(frame)
    found += context.encode(None) if whole == len(samples) and codec != "libopus" else []
    return [bytes(packet) for packet in found]


def g729_with_silence(samples: Samples) -> list[bytes]:
    """Frames of 10 ms with annex B: 10 bytes speech, 2 bytes a silence descriptor, none: nothing is sent."""
    return _g729(samples, silence=True)


def _g729(samples: Samples, *, silence: bool = False) -> list[bytes]:
    name = ctypes.util.find_library("bcg729")
    if name is None:
        pytest.skip("libbcg729-0 is not installed")
    library = ctypes.CDLL(name)
    library.initBcg729EncoderChannel.restype = ctypes.c_void_p
    channel = ctypes.c_void_p(library.initBcg729EncoderChannel(ctypes.c_uint8(silence)))
    out, length, found = ctypes.create_string_buffer(10), ctypes.c_uint8(0), []
    for frame in samples[: len(samples) // 80 * 80].reshape(-1, 80):
        block = np.ascontiguousarray(frame)
        library.bcg729Encoder(channel, block.ctypes.data_as(ctypes.c_void_p), out, ctypes.byref(length))
        found.append(out.raw[: length.value])
    library.closeBcg729EncoderChannel(channel)
    return found


def _ilbc(samples: Samples, packet_ms: int) -> list[bytes]:
    spec = importlib.util.find_spec("pjsua2")
    if spec is None or spec.origin is None:
        pytest.skip("pjsua2 has no wheel for this Python")
    library = ctypes.CDLL(str(next(Path(spec.origin).parent.glob("_pjsua2*.so"))))
    state = ctypes.create_string_buffer(1 << 16)
    mode = 20 if packet_ms % 20 == 0 else 30
    library.initEncode(state, ctypes.c_int(mode))
    size = 38 if mode == 20 else 50
    out, found = ctypes.create_string_buffer(size), []
    for frame in samples[: len(samples) // (8 * mode) * 8 * mode].reshape(-1, 8 * mode):
        block = np.ascontiguousarray(frame, dtype=np.float32)
        library.iLBC_encode(out, block.ctypes.data_as(ctypes.c_void_p), state)
        found.append(out.raw)
    return _cut(b"".join(found), size * packet_ms // mode)
