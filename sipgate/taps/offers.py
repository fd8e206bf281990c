"""What a request of a recording session brings: its session description and its metadata (RFC 7866 §9.1).

Everything that is wrong with a body becomes a SipError here: the status that the RFC names, and a reason phrase that
names the header field or the line.
"""

from __future__ import annotations

from dataclasses import dataclass

from sipgate.errors import MultipartError, SdpError, SipError
from sipgate.sip import sdp
from sipgate.sip.message import Request
from sipgate.sip.multipart import bodies_of

_ANSWERABLE = ("application/sdp", "application/*", "*/*", "application/rs-metadata")


@dataclass(frozen=True, slots=True, repr=False)
class Offer:
    """``description`` is None when the request brings none."""

    description: sdp.Description | None
    metadata: tuple[bytes, ...]


def read_offer(request: Request) -> Offer:
    """Raises SipError: 400, 406 or 415."""
    try:
        bodies = bodies_of(request)
        description = sdp.parse(bodies.sdp) if bodies.sdp is not None else None
    except SdpError as error:
        raise SipError(str(error), error.sip_status, f"Bad Session Description: {error}") from None
    except MultipartError as error:
        raise SipError(str(error), error.sip_status, f"Bad Multipart Body: {error}") from None
    if request.method == "INVITE" and not _takes_sdp(request):
        raise SipError("Accept leaves out application/sdp", 406, "Not Acceptable: Accept Without application/sdp")
    return Offer(description, bodies.metadata)


def acceptable(offer: sdp.Description) -> sdp.Description:
    """The offer, if a recorder can take anything of it, or if it takes everything away (all ports 0, a hold)."""
    if offer.wanted() or (offer.media and all(line.port == 0 for line in offer.media)):
        return offer
    raise SipError("no m-line is audio in a codec that is kept, over RTP/AVP or RTP/SAVP with an SRTP key for it", 488)


def _takes_sdp(request: Request) -> bool:
    # Recording clients write Accept for what they want of recorders (RFC 7866 §8.3.1) and often forget SDP in it.
    accepted = request.tokens("accept")
    return not accepted or any(token.startswith(_ANSWERABLE) for token in accepted)
