"""How a person names lines: one identity, a range or a pattern, for exclusions and enrolments alike.

What cannot be meant is refused rather than taken for a line that no call will ever show: a typing error in an
exclusion would otherwise be found when a representative has been recorded.

``holds`` says whether a line is named; ``might_hold`` whether it could be (``lines`` says why there are two).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sipgate.core.identities import Address, bare_uri, host_of, is_host, split_scheme, user_of
from sipgate.core.numbers import (
    SIGNIFICANT,
    Number,
    compact,
    digits_of,
    national_digits,
    parse_number,
    parse_public,
    plain_text,
    significant_digits,
)
from sipgate.errors import LineSyntaxError

_PATTERN = re.compile(r"\+?[0-9x]+\*?")
_LONGEST = 15
"""Digits of the longest number there is (ITU-T E.164 §6.1)."""
_LOCAL = 4
"""As many digits of an open pattern are needed to find it in a number dialled without its area code."""


@dataclass(frozen=True, slots=True, repr=False)
class NumberRange:
    """Numbers of one length from ``first`` to ``last``, both included: ``2000-2999``."""

    first: str
    last: str

    def holds(self, number: Number) -> bool:
        """Whether ``number`` lies in the range; a number of another length never does."""
        return len(number.digits) == len(self.first) and self.first <= number.digits <= self.last

    def might_hold(self, seen: str) -> bool:
        """Whether ``seen``, a normal form or digits out of a user part, could be one of these numbers."""
        digits, first, last = digits_of(seen), digits_of(self.first), digits_of(self.last)
        if len(digits) == len(first) and first <= digits <= last:
            return True
        length = len(national_digits(self.first))
        if SIGNIFICANT <= length <= len(digits) and first[-length:] <= digits[-length:] <= last[-length:]:
            return True
        local = significant_digits(seen)
        if not SIGNIFICANT <= len(local) < len(first):
            return False
        return first[: -len(local)] != last[: -len(local)] or first[-len(local) :] <= local <= last[-len(local) :]

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True, repr=False)
class NumberPattern:
    """``21xx``: x is any digit; a final ``*`` stands for any further digits.

    ``forms`` are what the normal forms of its numbers look like: as written, and ``+33142685*`` for ``0142685*``.
    """

    text: str
    forms: tuple[str, ...] = field(compare=False)

    def holds(self, number: Number) -> bool:
        """Whether the whole of ``number`` fits the pattern."""
        return any(_fits(form, number.digits) for form in self.forms)

    def might_hold(self, seen: str) -> bool:
        """As ``NumberRange.might_hold``."""
        return any(_open_might_fit(f, seen) if f.endswith("*") else _might_fit(f, seen) for f in self.forms)

    def __str__(self) -> str:
        return self.text


def _fits(form: str, digits: str) -> bool:
    body = re.escape(form.removesuffix("*")).replace("x", "[0-9]")
    return re.fullmatch(body + ("[0-9]*" if form.endswith("*") else ""), digits) is not None


def _might_fit(form: str, seen: str) -> bool:
    digits, body = digits_of(seen), form.removeprefix("+")
    if _fits(body, digits):
        return True
    length = len(national_digits(form.replace("x", "5")))
    if length >= SIGNIFICANT and _fits(body[-length:], digits[-length:]):
        return True
    local = significant_digits(seen)
    return SIGNIFICANT <= len(local) < len(body) and _fits(body[-len(local) :], local)


def _open_might_fit(form: str, seen: str) -> bool:
    digits, body = digits_of(seen), form.removeprefix("+")
    if _fits(body, digits) and (body == form or len(digits) > SIGNIFICANT):
        return True
    tail = body[-len(national_digits(form.removesuffix("*").replace("x", "5"))) - 1 :]
    if len(tail) > SIGNIFICANT and any(_fits(tail, digits[at:]) for at in range(len(digits))):
        return True
    national = national_digits(seen)
    if not form.startswith("+") or seen.startswith("+") or len(national) <= SIGNIFICANT:
        return False
    # Behind a prefix, or without its area code.
    return any(_fits(tail[at:], national) for at in range(max(1, len(tail) - _LOCAL)))


@dataclass(frozen=True, slots=True, repr=False)
class AddressPattern:
    """``sip:*@council.example``: every address of one host."""

    host: str

    def holds(self, address: Address) -> bool:
        """Whether ``address`` is of this host."""
        return address.host == self.host

    def might_hold(self, address: Address) -> bool:
        """Also of a host below it, or where an SBC took the whole address for the user part."""
        return any(h == self.host or h.endswith("." + self.host) for h in address.aor.split("@")[1:])

    def __str__(self) -> str:
        return f"sip:*@{self.host}"


Selector = Number | Address | NumberRange | NumberPattern | AddressPattern


def parse_selector(text: str, country: str) -> Selector:
    """One identity, range or pattern as a person writes it.

    Raises LineSyntaxError when it is none of them, a range that is reversed or of unequal lengths, or what no line
    could ever match.
    """
    text = plain_text(text).strip()
    scheme, rest = split_scheme(bare_uri(text) if "<" in text else text)
    if (scheme and scheme != "tel") or "@" in rest:
        return _parse_address(rest, country)
    if halves := _range_halves(rest, country):
        return _parse_range(*halves, country)
    if "x" in rest.lower() or (rest.endswith("*") and len(rest) > 1 and rest[0] not in "*#"):
        return _parse_pattern(compact(rest).lower(), country)
    return _parse_one_number(rest, country)


def _parse_one_number(text: str, country: str) -> Number:
    number = parse_number(text, country)
    if number is None:
        raise LineSyntaxError(
            "not a line: write a number (2001, +33 1 42 68 53 00), a range (2000-2999), a pattern (21xx, +33142685*) "
            "or a SIP address (sip:name@host)"
        )
    if parse_public(text, country) is None:
        if number.digits.startswith("+") or len(number.digits) > _LONGEST:
            raise LineSyntaxError("no public number has this many digits")
        if compact(text) != text:
            # "2000/2001" and "2000 2001" would become one number that nobody has.
            raise LineSyntaxError("not a number of this country: write an extension without spaces, each by itself")
    return number


def _range_halves(text: str, country: str) -> tuple[str, str] | None:
    for mark in ("..", " - "):
        if mark in text:
            first, _, last = text.partition(mark)
            return first, last
    if text.count("-") != 1:
        return None  # "01-42-68-53-00" is one number written with dashes
    first, _, last = text.partition("-")
    if first.startswith(("0", "+")) and parse_public(text, country) is not None:
        return None  # and so is "030-1234567": neither half is a number of the public network
    return first, last


def _parse_range(first_text: str, last_text: str, country: str) -> NumberRange:
    if "x" in f"{first_text}{last_text}".lower():
        raise LineSyntaxError("a range has a first and a last number, without x: write two patterns by themselves")
    first, last = _parse_one_number(first_text.strip(), country), _parse_one_number(last_text.strip(), country)
    if len(first.digits) != len(last.digits):
        raise LineSyntaxError("a range needs two numbers of the same length, such as 2000-2999")
    if first.digits > last.digits:
        raise LineSyntaxError("the range is reversed: write the lower number first")
    return NumberRange(first.digits, last.digits)


def _parse_pattern(text: str, country: str) -> NumberPattern:
    if not _PATTERN.fullmatch(text):
        raise LineSyntaxError("a pattern holds digits, x for any digit, and at most one * at its end")
    if not digits_of(text):
        raise LineSyntaxError("a pattern needs at least one digit: it would match every line")
    return NumberPattern(text, tuple(sorted({text, *_public_forms(text, country)})))


def _public_forms(text: str, country: str) -> set[str]:
    """How the numbers of a pattern look in E.164, where they have such a form."""
    body, star = text.removesuffix("*"), "*" if text.endswith("*") else ""
    if star and not body.startswith(("0", "+")) and len(body) < SIGNIFICANT:
        return set()  # "2*" means extensions, not half a country
    forms = set()
    for further in range(13 if star else 1):
        sample = body.replace("x", "5") + "5" * further
        public = parse_public(sample, country)
        if public is None:
            continue
        kept = next(n for n in range(len(sample), -1, -1) if public.digits.endswith(sample[len(sample) - n :]))
        forms.add(public.digits[: len(public.digits) - kept] + body[len(sample) - kept :] + star)
    return forms


def _parse_address(rest: str, country: str) -> Address | AddressPattern:
    user_info, at, host_part = rest.rpartition("@")
    user, host = user_of(user_info), host_of(host_part)
    if not at or not user or not is_host(host):
        raise LineSyntaxError("a SIP address is written sip:name@host")
    if user == "*":
        return AddressPattern(host)
    if re.search(r"[\s,<>\"*]", user) and not re.fullmatch(r"[*#][0-9*#]+", user):
        raise LineSyntaxError("a SIP address names one line (sip:name@host) or all of a host (sip:*@host)")
    if re.fullmatch(r"[0-9]*x[0-9x]*|[0-9]+(\.\.|-)[0-9]+", user) and parse_public(user, country) is None:
        raise LineSyntaxError("ranges and patterns are of numbers: write 2000-2999 or 21xx, without a host")
    return Address(f"{user}@{host}")
