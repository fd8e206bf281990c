"""Who takes part, where Cisco says it in header fields instead of metadata.

CUBE (network-based recording) names both parties in Remote-Party-ID, ``party=calling`` and ``party=called``.

CUCM (built-in bridge of the telephone) sends the two voices as two calls, with the parameters of the From URI alone:
``x-nearend`` or ``x-farend`` (whose voice), ``x-refci`` (the same in both: what they are joined on), ``x-farendrefci``
and ``x-farendaddr``. The URI's user is the near end in both. Who called is not said. CUCM numbers the legs of a call as
it makes them, the caller's first: so the end with the lower number is taken for the caller, and without numbers the far
end is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sipgate.core.events import Side
from sipgate.errors import SipError
from sipgate.sip.message import Request, address_of

_ADDRESS = re.compile(r"<([^>]+)>([^,<]*)")
_PARTY = re.compile(r"""\bparty\s*=\s*"?(calling|called)\b""", re.IGNORECASE)
_OTHER = {Side.CALLER: Side.CALLEE, Side.CALLEE: Side.CALLER}


@dataclass(frozen=True, slots=True, repr=False)
class Headed:
    """What header fields say: URIs by side; whose voice the session brings, when only one; what it is joined on."""

    uris: Mapping[Side, frozenset[str]]
    speaker: Side | None = None
    key: str | None = None


def headed_by(request: Request) -> Headed | None:
    """None where the header fields name no sides."""
    return _forked(request) or _called_and_calling(request)


def _called_and_calling(request: Request) -> Headed | None:
    found: dict[Side, frozenset[str]] = {}
    for value in request.fields.get("remote-party-id", ()):
        for uri, parameters in _ADDRESS.findall(value):
            if (party := _PARTY.search(parameters)) is not None:
                side = Side.CALLER if party[1].lower() == "calling" else Side.CALLEE
                found[side] = found.get(side, frozenset()) | {uri}
    return Headed(found) if found else None


def _forked(request: Request) -> Headed | None:
    try:
        uri, *pieces = address_of(request.fields["from"][0], "from").uri.split(";")
    except SipError:
        return None
    said = {name.strip().lower(): value.strip() for name, _, value in (piece.partition("=") for piece in pieces)}
    call = said.get("x-refci")
    if call is None or not {"x-nearend", "x-farend"} & said.keys():
        return None
    near = Side.CALLER if _is_lower(call, said.get("x-farendrefci", "")) else Side.CALLEE
    host = uri.rpartition("@")[2]
    far = said.get("x-farendaddr", "")
    return Headed(
        uris={near: frozenset({uri}), _OTHER[near]: frozenset({f"sip:{far}@{host}"} if far else ())},
        speaker=near if "x-nearend" in said else _OTHER[near],
        key=f"x-refci={call}@{host}",
    )


def _is_lower(number: str, other: str) -> bool:
    return number.isdecimal() and other.isdecimal() and int(number) < int(other)
