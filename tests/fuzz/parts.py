"""The readers by themselves, faster than through messages: session descriptions, multipart bodies, metadata, RTP."""

from __future__ import annotations

import atexit
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import fields
from typing import Final

import numpy as np

from sipgate.core.events import MediaKey
from sipgate.errors import MetadataError, MultipartError, SdpError, SipError
from sipgate.media.codecs import G726, ILBC, OPUS, TELEPHONE_EVENT
from sipgate.media.drain import NEVER, Drain, ReportWay
from sipgate.media.frames import WINDOW_SAMPLES
from sipgate.media.recvmmsg import prepare
from sipgate.media.store import RING_UNITS, RING_WINDOWS
from sipgate.sip import sdp
from sipgate.sip.grammar import Via
from sipgate.sip.message import Request
from sipgate.sip.multipart import bodies_of
from sipgate.sip.rsmetadata import MAX_PARTICIPANTS, Metadata
from sipgate.sip.sdescriptions import new_secret
from sipgate.taps.offers import acceptable
from sipgate.taps.parties import label_sides, participant_sides, parties_of

SEPARATOR = b"\x1e"
ANSWERED_NS = 1_000_000_000
"""Before what is heard now the call was answered so long ago."""


def take_sdp(data: bytes) -> int:
    """An offer is answered m-line by m-line (RFC 3264 §6), in words that we can read; or it is an SdpError."""
    try:
        offered = sdp.parse(data)
        ports = [30000 + 2 * index for index in range(len(offered.wanted()))]
        secured = {line.index: line.crypto for line in offered.wanted() if line.crypto is not None}
        keys = {index: new_secret(crypto.suite) for index, crypto in secured.items()}
        answered = sdp.parse(sdp.answer(offered, "127.0.0.1", ports, 1, 1, keys))
        assert len(answered.media) == len(offered.media) >= len(ports)
        taken = {line.index for line in offered.wanted()}
        for ours, theirs in zip(answered.media, offered.media, strict=True):
            assert (ours.port != 0) == (theirs.index in taken), "a port for what is not wanted, or none for what is"
            assert (ours.kind, ours.protocol, ours.label) == (theirs.kind, theirs.protocol, theirs.label)
            assert ours.port == 0 or ours.direction in {"recvonly", "inactive"}
        with suppress(SipError):
            acceptable(offered)
    except SdpError:
        pass
    return 1


def take_multipart(data: bytes) -> int:
    """The first line is Content-Type, the rest the body: SDP and metadata, or SipError, or MultipartError."""
    kind, _, body = data.partition(b"\n")
    fields = {"content-type": [kind.decode("utf-8", "surrogateescape").strip()]}
    via = Via("", "UDP", "127.0.0.1", None, {})
    with suppress(SipError, MultipartError):
        bodies_of(Request("INVITE", "sip:srs@127.0.0.1", fields, body, via, "c", "f", None, 1))
    return 1


def take_metadata(data: bytes) -> int:
    """Documents one after the other, cut at byte 1E; each is taken in whole or, with MetadataError, not at all."""
    metadata = Metadata(crossed=data[:1] == b"x")
    documents = data.split(SEPARATOR)[:8]
    for document in documents:
        before = (dict(metadata.participants), metadata.mentioned, metadata.session_ids)
        try:
            metadata.update(document)
        except MetadataError:
            assert before == (metadata.participants, metadata.mentioned, metadata.session_ids), "half taken in"
        assert len(metadata.participants) <= MAX_PARTICIPANTS
        sides = label_sides(metadata, ["1", "2", "#2"], {})
        placed = participant_sides(metadata, sides, {})
        assert set(placed) <= set(metadata.participants)
        assert len(parties_of(metadata, placed, frozenset(), "FR")) >= len(metadata.participants)
    return len(documents)


KEY: Final = MediaKey("AES_CM_128_HMAC_SHA1_80", bytes(30))


class Heard:
    """A stream of one call, over a real socket of this machine: there is no other way into the kernel's arrays."""

    def __init__(self) -> None:
        self.drain = Drain(4)
        self._ours = socket.socket(type=socket.SOCK_DGRAM)
        self._ours.bind(("127.0.0.1", 0))
        prepare(self._ours, 1 << 20)
        self._peer = socket.socket(type=socket.SOCK_DGRAM)
        self._peer.bind(("127.0.0.1", 0))
        self._peer.connect(self._ours.getsockname())

    def close(self) -> None:
        """Close the sockets."""
        self._ours.close()
        self._peer.close()

    def take(self, data: bytes) -> int:
        """The first byte shifts the clock; odd, it makes the stream SRTP under ``KEY``. Then datagrams, cut at
        bytes 1E: every one has a fate, and just one; what is due to be reported of them is sent."""
        drain, datagrams = self.drain, data[1:].split(SEPARATOR)[:64]
        row, call = drain.add(self._ours), drain.take_call()
        try:
            drain.call[row] = call
            crypto = (KEY,) if data[:1] and data[0] & 1 else ()
            types = {101: TELEPHONE_EVENT, 96: OPUS, 97: ILBC, 98: G726[1]}
            peer = self._peer.getsockname()
            drain.listen(row, peer, types, crypto)
            shift, now = (data[0] if data else 0) * 50_000_000, time.time_ns()
            drain.answered[row], drain.ended[row] = now - ANSWERED_NS, NEVER
            drain.high[call] = (2 + RING_WINDOWS) * WINDOW_SAMPLES
            before = drain.statistics
            drain.report(row, None if crypto else ReportWay(self._ours, peer), now)
            for datagram in datagrams:
                self._peer.send(datagram)
            digits = drain.some(deque([row]), shift, now)
            self._check(call, before.received + len(datagrams), len(digits))
            drain.send_reports(shift, now + 60 * 1_000_000_000)
            self._forget_reports()
        finally:
            drain.late.clear()
            drain.store.give_back(call)
            drain.remove(row)
        return len(datagrams)

    def _forget_reports(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._peer.recv(2048, socket.MSG_DONTWAIT)

    def _check(self, call: int, received: int, digits: int) -> None:
        now = self.drain.statistics
        fates = sum(getattr(now, f.name) for f in fields(now) if f.name not in {"received", "dropped"})
        assert now.received == received == fates, "a datagram has no fate, or two"
        assert digits <= 64
        others = np.delete(self.drain.store.codec, call, axis=0)
        assert not others.any(), "sound was written into another call's ring"
        assert self.drain.store.codec.shape[2] == RING_UNITS


_heard: list[Heard] = []


def take_rtp(data: bytes) -> int:
    """See ``Heard``."""
    if not _heard:
        _heard.append(Heard())
        atexit.register(_heard[0].close)
    return _heard[0].take(data)
