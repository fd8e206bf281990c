"""Telephone numbers: one normal form for the many ways in which people and equipment write the same number.

* What ``phonenumbers`` takes for a possible number of the site's country, or an international one (``+`` or ``00``),
  is E.164 with ``+``. Anything else (an extension, a short number, a dialled prefix) stays as dialled.
* The *significant* digits of a number are what is left without country code, trunk prefix and outside-line prefix.
  Two numbers that share them are taken for one where a miss would be the worse mistake (``lines``, exclusions).
"""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass

import phonenumbers

SIGNIFICANT = 6
"""As many last digits tell a public line from another: fewer are an extension, which only equals itself."""

_NUMBER = re.compile(r"\+?[0-9*#]{1,20}")
_DIGITS = re.compile(r"\+?[0-9]+")
_DIALLED_MINIMUM = 7
_SEPARATORS = re.compile(r"[\s.\-()/]")
_DASHES = str.maketrans({"\u2212": "-", "\u00ad": None})


@dataclass(frozen=True, slots=True, repr=False)
class Number:
    """A telephone number in its normal form: ``+33142685300`` or an extension, ``2001``.

    ``extension`` is what a URI adds behind a switchboard's number (RFC 3966 §5.3, ``;ext=``): another line than the
    switchboard's, known by it.
    """

    digits: str
    extension: str = ""

    @property
    def public(self) -> bool:
        """Whether it is E.164: the same line wherever it is dialled. An extension is a line of its own PBX alone."""
        return self.digits.startswith("+")

    def __str__(self) -> str:
        return f"{self.digits};ext={self.extension}" if self.extension else self.digits


def plain_text(text: str) -> str:
    """``text`` in ASCII digits, spaces and dashes, without invisible characters.

    Numbers are pasted out of spreadsheets and contact lists with direction marks, hard spaces and long dashes.
    """
    if text.isascii():  # nothing to change there, and all that signalling ever brings
        return text
    return "".join(map(_plain_character, unicodedata.normalize("NFKC", text.translate(_DASHES))))


def _plain_character(character: str) -> str:
    match unicodedata.category(character):
        case "Cf":
            return ""
        case "Pd":
            return "-"
        case "Zs":
            return " "
        case "Nd":
            return str(unicodedata.digit(character))
    return character


def compact(text: str) -> str:
    """``text`` without visual separators (RFC 3966 §5.1.1, and spaces and slashes)."""
    return _SEPARATORS.sub("", plain_text(text))


def parse_number(text: str, country: str) -> Number | None:
    """The normal form of a dialled or displayed number, or None when ``text`` is none.

    ``country`` is the site's ISO 3166 code, needed for national numbers (``01 42 68 53 00``).
    """
    dialled = compact(text)
    if not _NUMBER.fullmatch(dialled) or not any(c.isdigit() for c in dialled):
        return None
    return parse_public(dialled, country) or Number(dialled)


def parse_public(text: str, country: str) -> Number | None:
    """The E.164 form of a number that is possible in the public network, or None."""
    dialled = compact(text)
    if dialled.startswith("00"):
        international = _possible("+" + dialled[2:], country)
        if international is not None:
            return international
    return _possible(dialled, country)


def _possible(dialled: str, country: str) -> Number | None:
    if len(dialled) < _DIALLED_MINIMUM or not _DIGITS.fullmatch(dialled):
        return None
    try:
        parsed = phonenumbers.parse(dialled, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return Number(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def digits_of(text: str) -> str:
    """The digits alone."""
    return "".join(re.findall("[0-9]", text))


def national_digits(dialled: str) -> str:
    """What is left of a normal form, or of the beginning of one, without country code and leading zeros."""
    digits = digits_of(dialled)
    if dialled.startswith("+"):
        # Some gateways put a + before what is no international number.
        with suppress(phonenumbers.NumberParseException):
            digits = phonenumbers.national_significant_number(phonenumbers.parse(dialled))
    return digits.lstrip("0")


def significant_digits(dialled: str) -> str:
    """``national_digits`` of what is long enough to be a public number; all digits of anything else."""
    national = national_digits(dialled)
    return national if len(national) >= SIGNIFICANT else digits_of(dialled)
