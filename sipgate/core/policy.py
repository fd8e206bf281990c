"""May this call be recorded? A pure function of the policy in force, the parties and the moment.

The order is the rule: what denies is asked first, and whatever is unknown denies.

==  ========================================  =====================================================
 1  any party might be an excluded line       ``Protected``, which has no fields (R12)
 2  the exclusions cannot be read             refused (fail closed, DESIGN.md decision 2)
 3  the connection is not configured          refused: nothing is known of its announcement (R10)
 4  the gate is not open                      refused (R13)
 5  a side of the call is unidentified        refused: exclusion cannot be decided (R12)
 6  no enrolment in force names a party       refused (R4)
 7  its line has no holder, or several        refused (R4): whose recording would it be?
 8  the holder has not acknowledged           refused (R9)
 9  the enrolment's backlog is full           refused (R5)
10  no key reaches the recorder               refused (R11)
==  ========================================  =====================================================

Rows 6 to 10 are asked of every side of the call and every enrolment; one that passes them all permits. When both
sides pass for different people (two trainees on the telephone with each other), the recording would be neither's own
(R6): refused. A film enrolment goes before a sound enrolment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from sipgate.core.events import Party, Side
from sipgate.core.lines import Identity, Selector, SelectorSet, own_identities


@dataclass(frozen=True, slots=True)
class FilmPlan:
    """What the enrolment lets the workstation film: one application, matched as ``capture_client.protocol`` says."""

    workstation: str
    application: str
    frames_per_second: int


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Who may be recorded, on which lines, from when to when (Unix ns), within which backlog (R4, R5).

    ``trainee`` is set for a film enrolment, whose ``film`` it then has; a sound enrolment has neither, and the
    recording belongs to whoever holds the line.
    """

    enrolment: int
    lines: SelectorSet = field(repr=False)
    starts_at_ns: int
    ends_at_ns: int
    capacity: int
    backlog: int
    trainee: int | None = None
    film: FilmPlan | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """One person holds these identities of one line; ``acknowledged`` says whether of the notice in force (R9)."""

    person: int
    line: SelectorSet = field(repr=False)
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Connection:
    """What is declared of one peer. ``telephone_key``: digits that reach the recorder from a telephone, or None."""

    name: str
    telephone_key: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """All that decides, as one value.

    ``exclusions`` protect always; ``exclusions_readable`` False says that the file could not be read: then these are
    the last good ones, which still refuse, and nothing is recorded. ``domains`` are the site's own SIP hosts: where
    they are given, an extension at another host is no enrolled line and nobody's; exclusions hold at every host.
    """

    exclusions: SelectorSet = field(repr=False)
    exclusions_readable: bool
    gate_open: bool
    enrolments: tuple[Enrolment, ...] = ()
    holders: tuple[Holder, ...] = ()
    connections: Mapping[str, Connection] = field(default_factory=dict)
    domains: frozenset[str] = frozenset()
    _held: Mapping[Selector, tuple[int, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # A company has as many holders as telephones, and every call asks for one of them.
        held: dict[Selector, tuple[int, ...]] = {}
        for place, holder in enumerate(self.holders):
            for selector in holder.line.exact:
                held[selector] = (*held.get(selector, ()), place)
        object.__setattr__(self, "_held", held)

    def holders_of(self, identities: frozenset[Identity]) -> tuple[Holder, ...]:
        """Who holds a line that any of ``identities`` names. A line is held by its identities, never by a range."""
        places = {place for identity in identities for place in self._held.get(identity, ())}
        return tuple(self.holders[place] for place in sorted(places))


class Reason(Enum):
    """Why a call that nobody protects is not recorded: for the admin's dry run, never for a log of calls.

    In the order of the table: of several refusals, the one that came furthest is the one to tell.
    """

    EXCLUSIONS_UNREADABLE = "the exclusions cannot be read: nothing is recorded"
    UNKNOWN_CONNECTION = "the connection is not configured"
    GATE_CLOSED = "the activation gate is closed"
    UNIDENTIFIED = "a party of the call cannot be identified"
    NOT_ENROLLED = "no enrolment in force names a line of this call"
    NO_HOLDER = "the line is not assigned to one person"
    TWO_OWNERS = "both sides are enrolled people: the recording would be neither's own"
    NOT_ACKNOWLEDGED = "the line's holder has not acknowledged the notice in force"
    BACKLOG_FULL = "the enrolment's backlog of unreviewed recordings is full"
    NO_PRIVATE_KEY = "no key for a private call reaches the recorder from this line"


@dataclass(frozen=True, slots=True)
class Protected:
    """A protected line takes part. This value has no fields, so nothing downstream can tell which call it was."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Not recorded, and why."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Permitted:
    """Recorded: whose, under which enrolment, on which side the owner is, and what may be filmed beside it."""

    owner: int
    enrolment: int
    side: Side
    film: FilmPlan | None
    telephone_key: str | None


Decision = Protected | Refused | Permitted


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else is true at the moment: who can be reached, and what is being recorded.

    ``reachable``: workstations that can be commanded and film nothing else. ``live``: recordings under way or not yet
    counted in ``Enrolment.backlog``, by enrolment. ``admitted``: the enrolment under which this very call already has
    its place; a backlog blocks the next call, never one under way (R5). ``keyed``: the sides whose telephone keys the
    recorder would hear, because their stream offers telephone events (RFC 4733).
    """

    reachable: frozenset[str] = frozenset()
    live: Mapping[int, int] = field(default_factory=dict)
    admitted: int | None = None
    keyed: frozenset[Side] = frozenset()


def moments_of(policy: Policy, after_ns: int) -> tuple[int, ...]:
    """When its enrolments begin or end, after that time, in order."""
    moments = {moment for e in policy.enrolments for moment in (e.starts_at_ns, e.ends_at_ns)}
    return tuple(sorted(moment for moment in moments if moment > after_ns))


def denies(decision: Decision) -> bool:
    """Whether nothing of the call may remain: a protected line takes part, or somebody who could hold one."""
    return isinstance(decision, Protected) or is_stranger(decision)


def is_stranger(decision: Decision) -> bool:
    """Whether somebody who takes part could be anybody."""
    return isinstance(decision, Refused) and decision.reason is Reason.UNIDENTIFIED


def decide(
    policy: Policy | None, connection: str, parties: Sequence[Party], at_ns: int, surroundings: Surroundings
) -> Decision:
    """The decision for a call with ``parties`` at ``at_ns`` (Unix ns) on ``connection``: see the table above."""
    if policy is not None and any(policy.exclusions.might_match(p.identities) for p in parties):
        return Protected()
    denial = _denial(policy, connection, parties)
    if policy is None or denial is not None:
        return Refused(denial or Reason.EXCLUSIONS_UNREADABLE)
    verdicts = list(_verdicts(policy, policy.connections[connection], parties, at_ns, surroundings))
    grants = [v for v in verdicts if isinstance(v, Permitted)]
    if len({g.owner for g in grants}) > 1:
        return Refused(Reason.TWO_OWNERS)
    if grants:
        return max(grants, key=lambda g: g.film is not None)
    order = list(Reason)
    return Refused(max((v for v in verdicts if isinstance(v, Reason)), key=order.index, default=Reason.NOT_ENROLLED))


def _denial(policy: Policy | None, connection: str, parties: Sequence[Party]) -> Reason | None:
    if policy is None or not policy.exclusions_readable:
        return Reason.EXCLUSIONS_UNREADABLE
    if connection not in policy.connections:
        return Reason.UNKNOWN_CONNECTION
    if not policy.gate_open:
        return Reason.GATE_CLOSED
    identified = {p.side for p in parties if p.identities}
    # A party without a name beside named ones could be anybody, a representative included: whether it speaks or not.
    if not {Side.CALLER, Side.CALLEE} <= identified or any(not p.identities for p in parties):
        return Reason.UNIDENTIFIED
    return None


def _verdicts(
    policy: Policy, connection: Connection, parties: Sequence[Party], at_ns: int, surroundings: Surroundings
) -> Iterator[Permitted | Reason]:
    for party in parties:
        identities = own_identities(party.identities, policy.domains)
        for enrolment in policy.enrolments:
            in_force = enrolment.starts_at_ns <= at_ns < enrolment.ends_at_ns
            if party.side is not None and in_force and enrolment.lines.matches(identities):
                yield _verdict(policy, connection, identities, party.side, enrolment, surroundings)


def _verdict(
    policy: Policy,
    connection: Connection,
    identities: frozenset[Identity],
    side: Side,
    enrolment: Enrolment,
    surroundings: Surroundings,
) -> Permitted | Reason:
    holders = policy.holders_of(identities)
    if len(holders) != 1:
        return Reason.NO_HOLDER
    holder = holders[0]
    if enrolment.trainee is not None and enrolment.trainee != holder.person:
        return Reason.NO_HOLDER
    if not holder.acknowledged:
        return Reason.NOT_ACKNOWLEDGED
    under_way = surroundings.live.get(enrolment.enrolment, 0)
    if enrolment.enrolment != surroundings.admitted and enrolment.backlog + under_way >= enrolment.capacity:
        return Reason.BACKLOG_FULL
    film = enrolment.film if enrolment.film and enrolment.film.workstation in surroundings.reachable else None
    key = connection.telephone_key if side in surroundings.keyed else None
    if film is None and not key:
        return Reason.NO_PRIVATE_KEY
    return Permitted(holder.person, enrolment.enrolment, side, film, key)
