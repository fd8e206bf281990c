"""An SRTP sender by libsrtp, the reference implementation, which shares nothing with sipgate (``pylibsrtp``)."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field

import pylibsrtp

from sipgate.core.events import MediaKey
from tests.peers.rtp import Voice, packet

_PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": (30, pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80),
    "AES_CM_128_HMAC_SHA1_32": (30, pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32),
    "AEAD_AES_128_GCM": (28, pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM),
    "AEAD_AES_256_GCM": (44, pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM),
}
SUITES = tuple(_PROFILES)
"""Those that pylibsrtp speaks: of AES_256_CM it knows nothing, its test vectors and ``by_hand`` do."""


class Sender:
    """One direction's keys. ``secret``: master key and salt, drawn where none is given."""

    def __init__(self, suite: str = SUITES[0], secret: bytes | None = None) -> None:
        size, profile = _PROFILES[suite]
        self.key = MediaKey(suite, secret or os.urandom(size))
        policy = pylibsrtp.Policy(
            key=self.key.secret, ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile
        )
        policy.allow_repeat_tx = True
        self._session = pylibsrtp.Session(policy)

    def protect(self, rtp: bytes) -> bytes:
        """SRTP of one RTP packet; rollover counters as libsrtp counts them."""
        return bytes(self._session.protect(rtp))

    def count_on(self, ssrc: int, packets: int, sequence: int = 0) -> int:
        """Go on as if so many packets had been sent; returns the next sequence number."""
        for number in range(sequence, sequence + packets, 0x4000):
            self.protect(packet(b"", sequence=number, ssrc=ssrc))
        self.protect(packet(b"", sequence=sequence + packets - 1, ssrc=ssrc))
        return (sequence + packets) & 0xFFFF

    @property
    def attribute(self) -> str:
        """The a=crypto that offers this key."""
        return f"a=crypto:1 {self.key.suite} inline:{base64.b64encode(self.key.secret).decode()}"


class Reference:
    """libsrtp as a receiver, a packet at a time."""

    def __init__(self, key: MediaKey) -> None:
        policy = pylibsrtp.Policy(
            key=key.secret, ssrc_type=pylibsrtp.Policy.SSRC_ANY_INBOUND, srtp_profile=_PROFILES[key.suite][1]
        )
        policy.window_size = 128
        self._session = pylibsrtp.Session(policy)

    def unprotect(self, srtp: bytes) -> bytes | None:
        """What it says, None when libsrtp does not take it."""
        try:
            return bytes(self._session.unprotect(srtp))
        except pylibsrtp.Error:
            return None


@dataclass
class SecureVoice(Voice):
    """A voice that sends SRTP; ``sender`` may be replaced in mid-stream."""

    sender: Sender = field(default_factory=Sender)

    def send_raw(self, datagram: bytes) -> None:
        """Any datagram, protected."""
        self.send_bare(self.sender.protect(datagram))

    def send_bare(self, datagram: bytes) -> None:
        """Any datagram, as it is."""
        super().send_raw(datagram)
