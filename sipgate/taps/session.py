"""One recording session: what its client has described so far, as streams and parties, and what we answer.

Streams are named by their label (RFC 4574), or by their place where they have none. In an offerless session (RFC 7866
§9.1) we offer two audio m-lines before the client has said anything: they have places for names, and keep them when the
answer or a later offer brings labels. Until the answer, nothing is received on them.

To an offer of SRTP (RFC 4568) we answer with a key of our own for each stream. We never send under it, but an answer
without one is none; it stays the same until the client changes its own, so that a repeated offer gets the same answer.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sipgate.core.events import MediaKey, Party, Side, StreamOffer
from sipgate.errors import MetadataError
from sipgate.sip import sdescriptions, sdp
from sipgate.sip.call import Call
from sipgate.sip.message import Request
from sipgate.sip.rsmetadata import Metadata
from sipgate.taps import awareness
from sipgate.taps.cisco import Headed
from sipgate.taps.keys import Keys, keys_of
from sipgate.taps.parties import label_sides, participant_sides, parties_of

_MAX_METADATA = 1 << 20  # bytes of metadata kept for one call
_ON_HOLD = frozenset({"0.0.0.0", "::"})  # RFC 2543's way to say hold, not an address
_PLACES = (("#0", Side.CALLER), ("#1", Side.CALLEE))  # of the m-lines that we offer


@dataclass(slots=True, eq=False, repr=False)
class Session:
    """``ports``: what ``service`` has opened, by stream name. ``offer``: the client's last description, if any.

    ``offers``: what waits for an answer brought no description, so our answer to it is an offer. ``waits``: the
    metadata will say when the call is answered. ``own_keys``: by stream name, the client's media keys and ours.
    """

    call: Call
    connection: str
    header_uris: frozenset[str]
    country: str
    offer: sdp.Description | None = None
    metadata: Metadata = field(default_factory=Metadata)
    raw: bytearray = field(default_factory=bytearray)
    streams: tuple[StreamOffer, ...] = ()
    parties: tuple[Party, ...] = ()
    label_sides: dict[str, Side | None] = field(default_factory=dict)
    participant_sides: dict[str, Side] = field(default_factory=dict)
    headed: Headed | None = None
    keys: Keys = field(default=Keys(frozenset(), frozenset()))
    waits: bool = False
    places: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    own_keys: dict[str, tuple[tuple[MediaKey, ...], bytes]] = field(default_factory=dict)
    unreadable: bool = False
    objected: bool = False
    networks: tuple[str, ...] = ()
    accepted: bool = False
    offers: bool = False
    local: tuple[int, int] = field(default_factory=lambda: (secrets.randbits(62), 0))
    description: bytes = b""
    fallback: asyncio.TimerHandle | None = None

    def read_metadata(self, documents: Sequence[bytes]) -> bool:
        """Take in documents; False when one cannot be read: then nobody is identified any more (fail closed)."""
        for document in documents:
            if len(self.raw) + len(document) <= _MAX_METADATA:
                self.raw += document
            try:
                self.metadata.update(document)
            except MetadataError:
                self.metadata = Metadata(crossed=self.metadata.crossed)
                self.unreadable = True
                return False
        return True

    def find_parties(self) -> tuple[Party, ...]:
        """Everybody who takes part, by all that is known now."""
        known = self.participant_sides
        self.participant_sides = participant_sides(self.metadata, self.label_sides, known)
        # Header fields name the parties where there is no metadata; never in place of metadata that nobody could read.
        headed = self.headed.uris if self.headed is not None and not self.unreadable else {}
        parties = parties_of(self.metadata, self.participant_sides, self.header_uris, self.country, headed)
        return (*parties, awareness.SOMEBODY) if self.objected else parties

    def find_keys(self, request: Request) -> bool:
        """Which call this is, by all that is known now; whether that is more than before."""
        before = self.keys
        self.keys |= keys_of(request, self.metadata, self.headed)
        return self.keys != before

    def take(self, offer: sdp.Description) -> tuple[StreamOffer, ...]:
        """The streams of an offer of the client."""
        self.offer = offer
        self.objected = self.objected or awareness.objects(offer)
        lines = offer.wanted()
        labels = labels_of(lines)
        if self.headed is not None and self.headed.speaker is not None:
            self.label_sides |= dict.fromkeys(labels, self.headed.speaker)
        self.label_sides |= label_sides(self.metadata, labels, self.label_sides)
        before = {stream.label: stream for stream in self.streams}
        found = []
        for line, label in zip(lines, labels, strict=True):
            name, address = self._name(label), line.address or ""
            if address in _ON_HOLD and name in before:
                address = before[name].address
            found.append(
                StreamOffer(
                    name,
                    self.label_sides[label],
                    address,
                    line.port,
                    line.payload_types,
                    rtcp_mux=line.rtcp.multiplexed,
                    rtcp=line.rtcp.to,
                    crypto=_keys_of(line),
                    networks=self.networks,
                )
            )
        return tuple(found)

    def take_answer(self, answer: sdp.Description) -> tuple[StreamOffer, ...]:
        """The streams of the client's answer to an offer of ours: the m-lines are ours, one for one (RFC 3264 §6)."""
        before = self.offer.media if self.offer is not None else ()
        known = {line.index: line.label for line in before}
        media = tuple(replace(line, label=line.label or known.get(line.index)) for line in answer.media)
        found = replace(answer, media=media)
        if self.offer is None:
            for line, label in zip(found.wanted(), labels_of(found.wanted()), strict=True):
                if line.index < len(self._offered()):
                    self.places[label] = self._offered()[line.index][0]
        return self.take(found)

    def placeholders(self) -> tuple[StreamOffer, ...]:
        """The streams of an offerless session before the answer: from nowhere."""
        return tuple(StreamOffer(name, side, "0.0.0.0", 0, sdp.OFFERED) for name, side in self._offered())

    def give_ports(self, ports: Sequence[int]) -> None:
        """One port for each stream, in order."""
        self.ports = {stream.label: port for stream, port in zip(self.streams, ports, strict=True)}

    def describe(self, address: str) -> bytes:
        """Our side: the answer to the client's description, or an offer where there is none."""
        identifier, version = self.local
        body = self._described(address, version)
        if self.description and body != self.description:  # RFC 3264 §8: the version counts our changes
            self.local = (identifier, version + 1)
            body = self._described(address, version + 1)
        self.description = body
        return body

    def disarm(self) -> None:
        """Nothing waits to be answered any more."""
        if self.fallback is not None:
            self.fallback.cancel()
            self.fallback = None

    def _described(self, address: str, version: int) -> bytes:
        identifier, _ = self.local
        if self.offer is None:
            return sdp.offer(address, [self.ports.get(name, 0) for name, _ in self._offered()], identifier, version)
        wanted = self.offer.wanted()
        names = [self._name(label) for label in labels_of(wanted)]
        keys = {line.index: self._own_key(name, line) for name, line in zip(names, wanted, strict=True)}
        return sdp.answer(self.offer, address, [self.ports.get(name, 0) for name in names], identifier, version, keys)

    def _own_key(self, name: str, line: sdp.MediaLine) -> bytes:
        theirs = _keys_of(line)
        if line.crypto is None:
            return b""
        if name not in self.own_keys or self.own_keys[name][0] != theirs:
            self.own_keys[name] = (theirs, sdescriptions.new_secret(line.crypto.suite))
        return self.own_keys[name][1]

    def _offered(self) -> tuple[tuple[str, Side], ...]:
        if self.headed is not None and self.headed.speaker is not None:
            return ((_PLACES[0][0], self.headed.speaker),)
        return _PLACES

    def _name(self, label: str) -> str:
        return self.places.get(label, label)


def _keys_of(line: sdp.MediaLine) -> tuple[MediaKey, ...]:
    if line.crypto is None:
        return ()
    return tuple(MediaKey(line.crypto.suite, key.secret, key.mki) for key in line.crypto.keys)


def labels_of(lines: Sequence[sdp.MediaLine]) -> tuple[str, ...]:
    """What each m-line is known by: its label, or its place where it has none or not one of its own."""
    found: list[str] = []
    for line in lines:
        label = line.label
        found.append(label if label is not None and label not in found else f"#{line.index}")
    return tuple(found)
