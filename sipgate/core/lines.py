"""Lines: whether a party of a call is one that an exclusion or an enrolment names.

A line (a telephone that somebody answers) is known by several identities: an extension, one or more public
numbers, SIP addresses (``numbers``, ``identities``). A *party* of an observed call shows some identities of its line.
An exclusion or an enrolment names identities, ranges or patterns (``selectors``).

There are two questions, because the two mistakes are not alike. ``SelectorSet.matches`` asks whether a party *is*
named: an enrolment allows nobody else. ``SelectorSet.might_match`` asks whether it *could be*: a miss there would be
a recorded staff representative (R12), a hit too many is one call less for training. So for exclusions:

* public numbers are compared by their significant digits, either being the tail of the other: whatever a PBX puts
  before or leaves out (trunk prefix, outside line, country code, ``+``, ``#31#``) makes no other line;
* an address is compared by its user alone, since SBCs put their own host in the place of the line's;
* the digits within a user part count (``ext2001``, ``2001-desk``), and so does the extension behind a number.

An extension is a line of one PBX alone: ``sip:2001@other-company`` shows extension 2001, and is not ours. Where the
site says which hosts are its own, enrolments and holders are asked of ``own_identities``; exclusions of all of them.

``repr`` of an identity is blank: no log, traceback or assertion can show it (R12).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from sipgate.core.identities import Address, Identity, dialled_by, host_of, identities_of
from sipgate.core.numbers import SIGNIFICANT, Number, compact, digits_of, parse_number, significant_digits
from sipgate.core.selectors import AddressPattern, NumberPattern, NumberRange, Selector, parse_selector

__all__ = [
    "Address",
    "AddressPattern",
    "Identity",
    "Number",
    "NumberPattern",
    "NumberRange",
    "Selector",
    "SelectorSet",
    "host_of",
    "identities_of",
    "own_identities",
    "parse_number",
    "parse_selector",
]


_WITH_COUNTRY_CODE = 10
"""A number of as many digits may be an international one whose + was left out."""


def own_identities(identities: frozenset[Identity], domains: frozenset[str]) -> frozenset[Identity]:
    """``identities`` of one party without the extensions that only addresses of other hosts show.

    ``domains`` are the site's own hosts as ``host_of`` gives them; empty: nobody has said, every host counts. An
    extension that no address shows (``tel:2001``, a bare ``2001``) is the site's: its equipment says no host.
    """
    if not domains:
        return identities
    addresses = [i for i in identities if isinstance(i, Address)]
    ours = {dialled_by(a) for a in addresses if a.host in domains}
    theirs = {dialled_by(a) for a in addresses} - ours
    return frozenset(i for i in identities if isinstance(i, Address) or i.public or i.digits not in theirs)


class SelectorSet:
    """Many selectors, asked often: exact identities by hash, ranges and patterns one by one."""

    def __init__(self, selectors: Iterable[Selector]) -> None:
        chosen = tuple(selectors)
        self._exact = frozenset(s for s in chosen if isinstance(s, Number | Address))
        self._numbers = tuple(s for s in chosen if isinstance(s, NumberRange | NumberPattern))
        self._addresses = tuple(s for s in chosen if isinstance(s, AddressPattern))
        named = {text for s in self._exact for text in _numbers_named(s)}
        self._digits = frozenset(map(digits_of, named))
        self._significant = frozenset(s for s in map(significant_digits, named) if len(s) >= SIGNIFICANT)
        self._tails = frozenset(tail for digits in self._digits for tail in _tails(digits))
        self._users = frozenset(u for s in self._exact if isinstance(s, Address) for u in (s.user, s.aor))

    @property
    def exact(self) -> frozenset[Number | Address]:
        """The single identities among the selectors."""
        return self._exact

    def __bool__(self) -> bool:
        return bool(self._exact or self._numbers or self._addresses)

    def matches(self, identities: Iterable[Identity]) -> bool:
        """Whether any of ``identities`` is named by any selector."""
        return any(self._matches_one(identity) for identity in identities)

    def might_match(self, identities: Collection[Identity]) -> bool:
        """Whether any of ``identities`` could be a line that is named: what exclusions ask."""
        if not self:
            return False
        # A number is shown in several ways by the identities of one party: each is looked at once, as that is slow.
        shown = {number for identity in identities for number in _numbers_shown(identity)}
        return (
            self.matches(identities)
            or any(map(self._might_be_number, shown))
            or any(self._might_be_address(identity) for identity in identities if isinstance(identity, Address))
        )

    def _matches_one(self, identity: Identity) -> bool:
        if identity in self._exact:
            return True
        if isinstance(identity, Number):
            return any(s.holds(identity) for s in self._numbers)
        return any(s.holds(identity) for s in self._addresses)

    def _might_be_address(self, address: Address) -> bool:
        return address.user in self._users or any(s.might_hold(address) for s in self._addresses)

    def _might_be_number(self, seen: str) -> bool:
        digits = digits_of(seen)
        return (
            digits in self._digits
            or not self._significant.isdisjoint(_tails(digits))
            or significant_digits(seen) in self._tails
            or any(s.might_hold(seen) for s in self._numbers)
        )


def _tails(digits: str) -> Iterator[str]:
    return (digits[-length:] for length in range(SIGNIFICANT, len(digits) + 1))


def _numbers_named(selector: Number | Address) -> Iterator[str]:
    """The numbers that an exact selector means: of an address, its user when that is a number as people write them."""
    number = selector.digits if isinstance(selector, Number) else compact(selector.user)
    if not _is_written_number(number):
        return
    yield number
    if len(number) >= _WITH_COUNTRY_CODE and not number.startswith("+"):
        yield f"+{number}"


def _numbers_shown(identity: Identity) -> Iterator[str]:
    """All that could be a number in what signalling shows."""
    if isinstance(identity, Number):
        yield from (identity.digits, *re.findall(r"[0-9]+", f"{identity.digits} {identity.extension}"))
    else:
        yield from re.findall(r"\+?[0-9]+", identity.user)
        if _is_written_number(identity.user):
            yield compact(identity.user)


def _is_written_number(user: str) -> bool:
    return bool(digits_of(user)) and re.fullmatch(r"[+0-9*#.()-]+", user) is not None
