"""Who takes part in a recorded call, and on which side: from recording metadata and the INVITE's own header.

Left is the caller. RFC 7865's metadata does not say who called; clients name the caller first (OpenSIPS, INTEROP), so
the order of participants decides unless an extension says it (BroadWorks), and a stream is on the side of the one
participant who sends it. Streams that the metadata does not know (OpenSIPS with video) are taken in the order of the
m-lines, if there are two. A single stream that several or none send is of neither side: it is never split into a stereo
that it is not.

A label keeps its side for the whole call, and so does a participant, whoever joins or leaves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from urllib.parse import unquote

from sipgate.core.events import Party, Side
from sipgate.core.lines import Identity, identities_of
from sipgate.sip.message import Request
from sipgate.sip.rsmetadata import Metadata

_URI = re.compile(r"""\b(?:sips?|tel):[^\s<>",]+""", re.IGNORECASE)
_NAMING = (
    "p-asserted-identity",
    "p-preferred-identity",
    "p-called-party-id",
    "remote-party-id",
    "diversion",
    "history-info",
    "referred-by",
)
_ORDER = (Side.CALLER, Side.CALLEE)


def uris_of(request: Request) -> frozenset[str]:
    """Every URI by which the INVITE's header names somebody.

    From is left out where it equals To: then the client speaks of the recorder alone (OpenSIPS).
    """
    values = [value for name in _NAMING for value in request.fields.get(name, ())]
    found = {uri for value in values for uri in _URI.findall(value)}
    sender, receiver = (_URI.findall(request.get(name) or "") for name in ("from", "to"))
    return frozenset(found | (set(sender) - set(receiver)))


def label_sides(metadata: Metadata, labels: Iterable[str], known: Mapping[str, Side | None]) -> dict[str, Side | None]:
    """The side of each label, in the order of the m-lines; ``known`` sides stay."""
    labels = tuple(labels)
    sides = {label: known[label] for label in labels if label in known}
    senders = {label: _senders(metadata, label) for label in labels}
    ranks = {identifier: rank for rank, identifier in enumerate(metadata.ordered)}
    for label in labels:
        if label not in sides and senders[label]:
            rank = ranks[senders[label][0]]
            sides[label] = _ORDER[rank] if len(senders[label]) == 1 and rank < len(_ORDER) else None
    for label in labels:
        if label not in sides:
            vacant = [side for side in _ORDER if side not in sides.values()]
            sides[label] = vacant[0] if vacant and len(labels) == len(_ORDER) else None
    return sides


def participant_sides(
    metadata: Metadata, sides: Mapping[str, Side | None], known: Mapping[str, Side]
) -> dict[str, Side]:
    """The side of each participant: that of the stream which it sends, else the one it had, else a vacant one."""
    found: dict[str, Side] = {}
    for identifier in metadata.ordered:
        spoken = {sides.get(label) for label in metadata.sent_labels(identifier)} - {None}
        if len(spoken) == 1 and (side := spoken.pop()) is not None:
            found[identifier] = side
    for identifier in metadata.participants:
        if identifier not in found and identifier in known:
            found[identifier] = known[identifier]
    for identifier in metadata.ordered:
        vacant = [side for side in _ORDER if side not in found.values()]
        if identifier not in found and vacant:
            found[identifier] = vacant[0]
    return found


def parties_of(
    metadata: Metadata,
    sides: Mapping[str, Side],
    header_uris: frozenset[str],
    country: str,
    headed: Mapping[Side, frozenset[str]] = MappingProxyType({}),
) -> tuple[Party, ...]:
    """All parties, those with a side first; last, one without a side who has every identity mentioned elsewhere.

    ``headed``: whom header fields name by side; they count where no metadata names anybody.
    """
    parties = [
        Party(sides.get(identifier), _identities(participant.aors, country))
        for identifier, participant in metadata.participants.items()
    ]
    if not parties:
        parties = [Party(side, _identities(uris, country)) for side, uris in headed.items()]
    parties.sort(key=lambda party: 2 if party.side is None else party.side.value)
    seen: frozenset[Identity] = frozenset().union(*(party.identities for party in parties))
    known = {aor for participant in metadata.participants.values() for aor in participant.aors}
    others = _identities((header_uris | metadata.mentioned) - known, country) - seen
    return (*parties, Party(None, others)) if others else tuple(parties)


def _senders(metadata: Metadata, label: str) -> list[str]:
    return [identifier for identifier in metadata.participants if label in metadata.sent_labels(identifier)]


def _identities(uris: Iterable[str], country: str) -> frozenset[Identity]:
    # Escapes are taken off: sip:%32001@pbx is line 2001 as well.
    return frozenset(identity for uri in uris for identity in identities_of(unquote(uri), country))
