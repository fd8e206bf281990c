"""What the recording server can do, and how it says so when it is asked for something else (RFC 3261 §8.2, §11.2)."""

from __future__ import annotations

from sipgate.errors import SipError
from sipgate.sip.message import Request
from sipgate.sip.multipart import ACCEPT
from sipgate.sip.session_timer import MIN_SE

ALLOWED = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "UPDATE", "PRACK")
SUPPORTED = frozenset({"siprec", "record-aware", "timer", "100rel", "histinfo"})  # what Require may name
RETRY_AFTER = ("Retry-After", "5")
ALLOW = ("Allow", ", ".join(ALLOWED))
CAPABILITIES = (ALLOW, ("Accept", ACCEPT), ("Accept-Encoding", "identity"), ("Supported", "siprec, timer"))


def companions(error: SipError, request: Request) -> list[tuple[str, str]]:
    """The header fields that the RFC asks for beside a status (RFC 3261 §8.2)."""
    match error.sip_status:
        case 405:
            return [ALLOW]
        case 415:
            return [("Accept", ACCEPT), ("Accept-Encoding", "identity")]
        case 422:
            return [("Min-SE", str(MIN_SE))]
        case 420:
            return [("Unsupported", ", ".join(sorted(set(request.tokens("require")) - SUPPORTED)))]
        case _:
            return []


def may_offer(request: Request) -> bool:
    """Whether a request may bring an offer: it has a body that is not metadata alone."""
    return bool(request.body) and not (request.get("content-type") or "").strip().startswith("application/rs-metadata")


def check_extensions(request: Request) -> None:
    """Raises SipError for what the request requires and we have not: 420 or 415."""
    if set(request.tokens("require")) - SUPPORTED:
        raise SipError("Require names an unknown extension", 420)
    if set(request.tokens("content-encoding")) - {"identity"}:
        raise SipError("Content-Encoding is not supported", 415, "Unsupported Media Type: Content-Encoding")
