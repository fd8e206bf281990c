"""The admins' file of lines that are never recorded (R12).

UTF-8 text, one line of telephony a row; what identifies the line, separated by commas; a comment behind ``#``::

    # works council
    2100, +33 1 42 68 53 00, sip:cse@corp.example     # secretary's office
    21xx                                              # a pattern
    2200-2299                                         # a range

A row whose line has one identity only is read, with a warning: an extension excluded without its public number, or the
other way round, is recorded when a call shows the other one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sipgate.core.lines import Address, Number, Selector, parse_selector
from sipgate.errors import ConfigurationError, LineSyntaxError


@dataclass(frozen=True, slots=True)
class FileLine:
    """One row: ``number`` in the file from 1, the identities as written, the comment, what they select."""

    number: int
    text: str = field(repr=False)
    note: str = field(repr=False)
    selectors: tuple[Selector, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()


def read_exclusions(path: Path, country: str) -> tuple[FileLine, ...]:
    """All rows; ``country`` (ISO 3166) for national numbers.

    Raises ConfigurationError, which names file and line, when any of it cannot be read: half of a list protects half of
    the lines.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: the exclusions cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: the exclusions are not UTF-8 text: save the file as UTF-8") from error
    rows = (_row(path, number, line, country) for number, line in enumerate(text.splitlines(), 1))
    return tuple(row for row in rows if row is not None)


def _row(path: Path, number: int, line: str, country: str) -> FileLine | None:
    text, note = _split(line)
    if not text:
        return None
    selectors = []
    for part in text.split(","):
        try:
            selectors.append(parse_selector(part, country))
        except LineSyntaxError as error:
            raise ConfigurationError(f"{path}:{number}: {error}") from error
    warnings: tuple[str, ...] = ()
    if len(selectors) == 1 and isinstance(selectors[0], Number | Address):
        warnings = (f"{path}:{number}: one identity only: add the line's other numbers and addresses, if it has any",)
    return FileLine(number, text, note, tuple(selectors), warnings)


def _split(line: str) -> tuple[str, str]:
    """The identities and the comment. A ``#`` begins a comment at the start of the row or after a blank.

    Inside a word it belongs to the line: ``#31#`` is a number that some exchanges dial.
    """
    for at, character in enumerate(line):
        if character == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at].strip(), line[at + 1 :].strip()
    return line.strip(), ""
