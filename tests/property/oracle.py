"""An independent, simple model of the rules: who may be recorded, told by people and not by their numbers.

It shares no code with ``sipgate.core.policy`` or ``sipgate.core.lines``: people have names here, and only
``world_policy`` and ``world_parties`` translate them into what core is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from sipgate.core.events import Party, Side
from sipgate.core.lines import SelectorSet, identities_of, parse_selector
from sipgate.core.policy import Connection, Enrolment, FilmPlan, Holder, Policy

SECOND = 1_000_000_000
START = 1_728_000_000 * SECOND
KEY = "**9"
KEYS = {"pbx": KEY, "sbc": None}

PEOPLE: dict[str, tuple[str, ...]] = {
    # Every way in which signalling may show somebody. {} is a host that tells which session it was.
    "anna": ("sip:2001@{}", '"Anna" <sip:2001@{};user=phone>', "sip:+33142682001@{}"),
    "bruno": ("sip:2002@{}", "sips:%32002@{}:5061"),
    "colleague": ("sip:3001@{}",),
    "customer": ("sip:+33612345678@{}", "sip:0612345678@{}", "sip:jean@{}"),
    "representative": (
        "sip:2100@{}",
        "sip:+33142682100@{}",
        "sip:%2B33142682100@{};user=phone",
        "sip:0142682100;npdi@{}",
        "sip:00142682100@{}",
        "sip:33142682100@{}",
        "sip:+33-1-42-68-21-00@{}",
        "sip:cse@{}",
        "sip:CSE@{}:5060",
        "sip:+33999999999;ext=2100@{}",
    ),
    "second representative": ("sip:3100@{}", "sip:+33142683100@{}"),
    "nobody": ("sip:anonymous@anonymous.invalid", "sip:192.0.2.1", "sip:{}"),
}
LINES = {
    "anna": ("2001", "+33142682001"),
    "bruno": ("2002",),
    "colleague": ("3001",),
    "representative": ("2100", "+33142682100", "sip:cse@corp.example"),
    "second representative": ("3100", "+33142683100"),
}
PERSON = {"anna": 1, "bruno": 2}
DESKS = {"anna": "desk-anna", "bruno": "desk-bruno"}


@dataclass(frozen=True)
class Enrolled:
    """One enrolment: of whose line, by film or by sound, from when to when, with how many places."""

    number: int
    who: tuple[str, ...]
    film: bool
    ends_at_ns: int = START + 3600 * SECOND
    starts_at_ns: int = START - SECOND
    capacity: int = 2
    backlog: int = 0


@dataclass(frozen=True)
class Rules:
    """The policy in force, in the model's words."""

    readable: bool = True
    gate: bool = True
    excluded: frozenset[str] = frozenset({"representative"})
    enrolled: tuple[Enrolled, ...] = (
        Enrolled(1, ("anna",), film=True),
        Enrolled(2, ("anna", "bruno"), film=False, capacity=3),
    )
    holds: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {"anna": (1,), "bruno": (2,)})
    acknowledged: frozenset[int] = frozenset({1, 2})
    connections: frozenset[str] = frozenset({"pbx", "sbc"})


@dataclass(frozen=True)
class Grant:
    """Whose recording it may be, on which side the owner is, under which enrolment, filmed where."""

    owner: int
    side: Side
    enrolment: int
    desk: str | None


Present = Sequence[tuple[Side | None, str]]


def protected(rules: Rules | None, present: Present) -> bool:
    """Whether a representative takes part, in any role."""
    return rules is not None and any(who in rules.excluded for _, who in present)


def unidentified(present: Present) -> bool:
    """Whether somebody who takes part is nobody that is known."""
    voices = {side for side, _ in present if side is not None}
    return voices != set(Side) or any(who == "nobody" for _, who in present)


def grant(
    rules: Rules | None,
    connection: str,
    present: Present,
    at_ns: int,
    desks: Set[str],
    taken: Mapping[int, int],
    admitted: int | None = None,
) -> Grant | None:
    """Who may be recorded, or None. ``desks``: those that can film now; ``taken``: places taken, by enrolment."""
    if rules is None or not rules.readable or not rules.gate or connection not in rules.connections:
        return None
    if protected(rules, present) or unidentified(present):
        return None
    grants = [
        Grant(rules.holds[who][0], side, enrolled.number, desk)
        for side, who in present
        for enrolled in rules.enrolled
        if side is not None and _entitled(rules, enrolled, who, at_ns)
        if enrolled.number == admitted or enrolled.backlog + taken.get(enrolled.number, 0) < enrolled.capacity
        for desk in [DESKS[who] if enrolled.film and DESKS[who] in desks else None]
        if desk is not None or KEYS[connection] is not None
    ]
    if len({g.owner for g in grants}) != 1:
        return None
    return next((g for g in grants if g.desk is not None), grants[0])


def _entitled(rules: Rules, enrolled: Enrolled, who: str, at_ns: int) -> bool:
    """Whether the enrolment is in force for this person's line, and the line theirs, who knows the notice."""
    holders = rules.holds.get(who, ())
    return (
        who in enrolled.who
        and enrolled.starts_at_ns <= at_ns < enrolled.ends_at_ns
        and len(holders) == 1
        and holders[0] in rules.acknowledged
        and (not enrolled.film or holders[0] == PERSON[enrolled.who[0]])
    )


# --- the same, as core is given it ----------------------------------------------------------------------------------


def world_parties(present: Present, host: str, which: int) -> tuple[Party, ...]:
    """The parties as signalling shows them, in the ``which``-th of their ways."""
    return tuple(
        Party(side, identities_of(PEOPLE[who][which % len(PEOPLE[who])].format(host), "FR")) for side, who in present
    )


def world_policy(rules: Rules) -> Policy:
    """``rules`` as core's policy."""
    return Policy(
        exclusions=_selectors(sorted(rules.excluded)),
        exclusions_readable=rules.readable,
        gate_open=rules.gate,
        enrolments=tuple(map(_enrolment, rules.enrolled)),
        holders=tuple(
            Holder(person, _selectors([who]), person in rules.acknowledged)
            for who, persons in rules.holds.items()
            for person in persons
        ),
        connections={name: Connection(name, KEYS[name]) for name in rules.connections},
    )


def _enrolment(enrolled: Enrolled) -> Enrolment:
    who = enrolled.who[0]
    return Enrolment(
        enrolled.number,
        _selectors(enrolled.who),
        enrolled.starts_at_ns,
        enrolled.ends_at_ns,
        enrolled.capacity,
        enrolled.backlog,
        trainee=PERSON[who] if enrolled.film else None,
        film=FilmPlan(DESKS[who], "class=Crm", 8) if enrolled.film else None,
    )


def _selectors(people: Sequence[str]) -> SelectorSet:
    return SelectorSet(parse_selector(text, "FR") for who in people for text in LINES[who])
