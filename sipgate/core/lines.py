"""Identities of a line, and matching.

A line (a telephone that somebody answers) is known by several identities: an extension, one or more public
numbers, SIP addresses. A *party* of an observed call shows some identities of its line. An exclusion or an
enrolment names identities, ranges or patterns; a party matches when any of its identities does (deny and allow
alike; deny is asked first, see ``policy``).

Normal forms, so that equal lines compare equal:

* a number: digits only. What ``phonenumbers`` takes for a valid number of the site's country (or an international
  one) is E.164 with ``+``; anything else (an extension) stays as dialled.
* a SIP address (RFC 3261 §19.1.4): ``user@host`` with the host in lower case, parameters and port dropped. The user
  part of a SIP address, when it looks like a number, is an identity of its own as well: ``sip:2001@pbx`` is also
  extension 2001.

``repr`` of an identity is blank: no log, traceback or assertion can show it (R12).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import phonenumbers

from sipgate.errors import LineSyntaxError

_NUMBER = re.compile(r"\+?[0-9*#]{1,20}")
_SEPARATORS = re.compile(r"[\s.\-()/\u00a0\u202f]")
_RANGE = re.compile(r"(\+?[0-9 ]{1,20}?)\s*(?:\.\.|-|\u2013)\s*(\+?[0-9 ]{1,20})")
_PATTERN = re.compile(r"\+?[0-9xX]*[0-9xX]\*?")
_ANONYMOUS_USERS = frozenset({"", "anonymous", "unknown", "unavailable", "restricted", "private", "asserted"})
_ANONYMOUS_HOST = "anonymous.invalid"


@dataclass(frozen=True, slots=True, repr=False)
class Number:
    """A telephone number in its normal form: ``+33142685300`` or an extension, ``2001``."""

    digits: str

    def __str__(self) -> str:
        return self.digits


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A SIP address of record, ``user@host``."""

    aor: str

    def __str__(self) -> str:
        return f"sip:{self.aor}"


Identity = Number | Address


@dataclass(frozen=True, slots=True, repr=False)
class NumberRange:
    """Numbers of one length from ``first`` to ``last``, both included: ``2000-2999``."""

    first: str
    last: str

    def holds(self, number: Number) -> bool:
        """Whether ``number`` lies in the range; a number of another length never does."""
        return len(number.digits) == len(self.first) and self.first <= number.digits <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True, repr=False)
class NumberPattern:
    """``21xx``: x is any digit; a final ``*`` stands for any further digits."""

    text: str
    _regex: re.Pattern[str] = field(compare=False)

    def holds(self, number: Number) -> bool:
        """Whether the whole of ``number`` fits the pattern."""
        return self._regex.fullmatch(number.digits) is not None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, repr=False)
class AddressPattern:
    """``sip:*@council.example``: every address of one host."""

    host: str

    def holds(self, address: Address) -> bool:
        """Whether ``address`` is of this host."""
        return address.aor.endswith("@" + self.host)

    def __str__(self) -> str:
        return f"sip:*@{self.host}"


Selector = Number | Address | NumberRange | NumberPattern | AddressPattern


def parse_number(text: str, country: str) -> Number | None:
    """The normal form of a dialled or displayed number, or None when ``text`` is none.

    ``country`` is the site's ISO 3166 code, needed for national numbers (``01 42 68 53 00``).
    """
    compact = _SEPARATORS.sub("", text)
    if not _NUMBER.fullmatch(compact):
        return None
    if compact.startswith("00"):
        compact = "+" + compact[2:]
    try:
        parsed = phonenumbers.parse(compact, country)
    except phonenumbers.NumberParseException:
        return Number(compact)
    if len(compact) > 6 and phonenumbers.is_possible_number(parsed):
        return Number(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))
    return Number(compact)


def identities_of(uri: str, country: str) -> frozenset[Identity]:
    """What a URI (``sip:``, ``sips:``, ``tel:``, or bare) says about a line; empty when it identifies nobody."""
    scheme, _, rest = uri.strip().strip("<>").rpartition(":") if ":" not in uri else _split_scheme(uri)
    rest = rest.partition("?")[0]
    if scheme == "tel":
        number = parse_number(rest.partition(";")[0], country)
        return frozenset({number}) if number is not None else frozenset()
    user, at, host_part = rest.rpartition("@")
    if not at:
        number = parse_number(rest.partition(";")[0], country)
        return frozenset({number}) if number is not None else frozenset()
    return _of_address(user, host_part, country)


def _split_scheme(uri: str) -> tuple[str, str, str]:
    scheme, colon, rest = uri.strip().strip("<>").partition(":")
    if scheme.lower() in {"sip", "sips", "tel"}:
        return scheme.lower(), colon, rest
    return "", "", uri.strip().strip("<>")


def _of_address(user: str, host_part: str, country: str) -> frozenset[Identity]:
    user = user.partition(";")[0].partition(":")[0]
    host = host_of(host_part)
    if host == _ANONYMOUS_HOST or user.lower() in _ANONYMOUS_USERS:
        return frozenset()
    found: set[Identity] = {Address(f"{user}@{host}")}
    number = parse_number(user, country)
    if number is not None:
        found.add(number)
    return frozenset(found)


def host_of(host_part: str) -> str:
    """The host of ``host[:port][;params]``, in lower case; IPv6 references keep their brackets (RFC 3261 §25.1)."""
    host = host_part.partition(";")[0].strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].rstrip(".")


def parse_selector(text: str, country: str) -> Selector:
    """One identity, range or pattern as a person writes it.

    Raises LineSyntaxError when it is none of them, or a range that is reversed or of unequal lengths.
    """
    text = text.strip()
    if text.lower().startswith(("sip:", "sips:")) or "@" in text:
        return _parse_address_selector(text)
    if (match := _RANGE.fullmatch(text)) and not _is_one_number(text, country):
        return _parse_range(match[1], match[2], country)
    compact = _SEPARATORS.sub("", text)
    if "x" in compact.lower() or (compact.endswith("*") and len(compact) > 1 and "#" not in compact):
        return _parse_pattern(compact)
    number = parse_number(text.removeprefix("tel:"), country)
    if number is None:
        raise LineSyntaxError(
            "not a line: write a number (2001, +33 1 42 68 53 00), a range (2000-2999), a pattern (21xx, +33142685*) "
            "or a SIP address (sip:name@host)"
        )
    return number


def _is_one_number(text: str, country: str) -> bool:
    # "01-42-68-53-00" is one number written with dashes: a range has one dash between two full numbers.
    return len(re.findall(r"-|\u2013|\.\.", text)) > 1


def _parse_range(first_text: str, last_text: str, country: str) -> NumberRange:
    first, last = parse_number(first_text, country), parse_number(last_text, country)
    if first is None or last is None or len(first.digits) != len(last.digits):
        raise LineSyntaxError("a range needs two numbers of the same length, such as 2000-2999")
    if first.digits > last.digits:
        raise LineSyntaxError("the range is reversed: write the lower number first")
    return NumberRange(first.digits, last.digits)


def _parse_pattern(compact: str) -> NumberPattern:
    if not _PATTERN.fullmatch(compact):
        raise LineSyntaxError("a pattern holds digits, x for any digit, and at most one * at its end")
    if not re.search(r"[0-9]", compact):
        raise LineSyntaxError("a pattern needs at least one digit: it would match every line")
    body = compact.removesuffix("*")
    regex = re.escape(body.lower()).replace("x", "[0-9]") + ("[0-9]*" if compact.endswith("*") else "")
    return NumberPattern(compact.lower(), re.compile(regex))


def _parse_address_selector(text: str) -> Address | AddressPattern:
    rest = re.sub(r"^sips?:", "", text, flags=re.IGNORECASE)
    user, at, host_part = rest.rpartition("@")
    host = host_of(host_part)
    if not at or not user or not host:
        raise LineSyntaxError("a SIP address is written sip:name@host")
    if user == "*":
        return AddressPattern(host)
    return Address(f"{user.partition(';')[0]}@{host}")


class SelectorSet:
    """Many selectors, asked often: exact identities by hash, ranges and patterns one by one."""

    def __init__(self, selectors: Iterable[Selector]) -> None:
        all_selectors = tuple(selectors)
        self._exact = frozenset(s for s in all_selectors if isinstance(s, Number | Address))
        self._numbers = tuple(s for s in all_selectors if isinstance(s, NumberRange | NumberPattern))
        self._addresses = tuple(s for s in all_selectors if isinstance(s, AddressPattern))

    def __bool__(self) -> bool:
        return bool(self._exact or self._numbers or self._addresses)

    def matches(self, identities: Iterable[Identity]) -> bool:
        """Whether any of ``identities`` is named by any selector."""
        return any(self._matches_one(identity) for identity in identities)

    def _matches_one(self, identity: Identity) -> bool:
        if identity in self._exact:
            return True
        if isinstance(identity, Number):
            return any(s.holds(identity) for s in self._numbers)
        return any(s.holds(identity) for s in self._addresses)
