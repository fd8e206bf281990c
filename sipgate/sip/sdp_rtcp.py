"""What an m-line says of RTCP (RFC 8866 §8, RFC 3605, RFC 3556, RFC 5761). Pure.

Without a word of it, RTCP is on the port above the RTP's. ``a=rtcp-mux`` puts both on one, ``a=rtcp:`` names another,
``b=RR:0`` asks for no receiver reports at all. One that names another host than the m-line's own gets none either: what
is sent there because of a description would be sent to somebody who has not asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_RTCP = re.compile(r"a=rtcp:([0-9]{1,5})(?:\s+IN\s+IP[46]\s+(\S+))?")
_BANDWIDTH = re.compile(r"b=RR:([0-9]+)")
_ON_HOLD = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True, slots=True)
class Rtcp:
    """``multiplexed``: on the RTP's port. ``to``: where receiver reports are wanted, or None."""

    multiplexed: bool = False
    to: tuple[str, int] | None = None


UNKNOWN = Rtcp()


def read(session: Sequence[str], section: Sequence[str], address: str | None, port: int) -> Rtcp:
    """Of one m-line: ``section`` are its lines, ``session`` those above the first m-line."""
    multiplexed = "a=rtcp-mux" in section
    if address is None or address in _ON_HOLD or port == 0 or _unwanted(session, section):
        return Rtcp(multiplexed)
    named = next((match for line in section if (match := _RTCP.fullmatch(line))), None)
    if multiplexed:
        to = (address, port)
    elif named is not None:
        to = (named[2] or address, int(named[1]))
    else:
        to = (address, port + 1)
    return Rtcp(multiplexed, to if 0 < to[1] <= 65535 and to[0] == address else None)


def _unwanted(session: Sequence[str], section: Sequence[str]) -> bool:
    said = [int(match[1]) for lines in (section, session) for line in lines if (match := _BANDWIDTH.fullmatch(line))]
    return bool(said) and said[0] == 0
