"""The one error tree, on one page. Every error that sipgate raises on purpose is a ``SipgateError``.

Each carries its own verdict: the exit status of the command line, and, where a peer is to be answered,
the SIP or HTTP status. Messages name the key, line or header concerned and say what to do; they never
hold a telephone number, a person's name or a Call-ID, since messages end in logs.
"""

from __future__ import annotations


class SipgateError(Exception):
    """Root of the tree."""

    exit_status = 1
    http_status = 500


class ConfigurationError(SipgateError):
    """sipgate.toml or a file that it names is wrong: says key or line, and what to write instead."""

    exit_status = 2


class UsageError(SipgateError):
    """The command line was used wrongly."""

    exit_status = 2


class LineSyntaxError(SipgateError):
    """A line's identity (number, range, pattern, SIP address) cannot be read."""

    exit_status = 2
    http_status = 422


class ProtocolError(SipgateError):
    """A peer sent what its protocol does not allow. ``sip_status`` is what the RFC answers."""

    sip_status = 400


class SipError(ProtocolError):
    """A SIP message is malformed or not acceptable (RFC 3261 §8.2, §16.3). Names the header."""

    def __init__(self, message: str, sip_status: int = 400, reason: str | None = None) -> None:
        super().__init__(message)
        self.sip_status = sip_status
        self.reason = reason


class SdpError(ProtocolError):
    """A session description is malformed (RFC 8866). Names the line."""

    sip_status = 400


class MultipartError(ProtocolError):
    """A multipart body is malformed (RFC 2046)."""

    sip_status = 400


class MetadataError(ProtocolError):
    """rs-metadata of which no party can be read (RFC 7865). The session is refused, never a 400."""

    sip_status = 603


class StoreError(SipgateError):
    """Something kept cannot be written or read."""


class SealError(StoreError):
    """A sealed frame does not open: wrong key, or altered."""


class ErasedError(StoreError):
    """The key was destroyed: the recording is erased."""

    http_status = 410


class JournalError(StoreError):
    """The journal cannot be written, or does not verify. Playback is refused (R7)."""

    http_status = 503


class RegisterLostError(StoreError):
    """The register's database cannot be read or written: its disk is full, or it is locked or away."""

    http_status = 503


class MediaError(SipgateError):
    """No port is free, or a stream cannot be received."""


class WorkstationError(SipgateError):
    """A workstation's message, certificate or upload is not acceptable."""

    http_status = 401


class AccessError(SipgateError):
    """Not signed in, or not entitled. Never tells whether the thing exists."""

    http_status = 404


class RuleError(SipgateError):
    """What was asked would break a rule of RULES.md; the message names it (R1 … R22)."""

    http_status = 422


class RuleValueError(RuleError):
    """A value that no rule lets stand, whatever the register holds: too long, too many, in the past."""

    exit_status = 2


class NotInForceError(SipgateError):
    """A change is written, but calls under way are not known to follow it: do not rely on it yet."""

    http_status = 503


class RegisterError(SipgateError):
    """The register refuses: it names the row concerned and what to do."""

    http_status = 409


class RegisterValueError(RegisterError):
    """A value that the register never takes: too short, misspelt, missing."""

    exit_status = 2


class PeerError(SipgateError):
    """A telephone, a broker or another peer process did not do its part."""
