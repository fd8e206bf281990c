"""One byte range of a Range request (RFC 9110 §14), cut to what one answer holds.

Chromium's player asks ``bytes=N-`` and would take gigabytes; an answer of at most 1 MiB makes it come back for the
rest, each time through the owner's check (LAB.md §11, RULES R6).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAXIMUM_BYTES = 1 << 20
_ONE_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*", re.IGNORECASE)
_MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``first`` to ``last``, both included, of ``size``."""

    first: int
    last: int
    size: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.last - self.first + 1

    @property
    def content_range(self) -> str:
        """The Content-Range header of the 206."""
        return f"bytes {self.first}-{self.last}/{self.size}"


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """No byte of the content lies in the range: 416."""

    size: int

    @property
    def content_range(self) -> str:
        """The Content-Range header of the 416."""
        return f"bytes */{self.size}"


def parse_range(header: str | None, size: int) -> ByteRange | Unsatisfiable | None:
    """What to answer; None: no range, or one that a server may ignore (several, another unit, malformed): 200."""
    match = _ONE_RANGE.fullmatch(header) if header is not None else None
    if match is None:
        return None
    first_text, last_text, suffix_text = match.groups()
    if suffix_text is not None:
        return _suffix(_number(suffix_text), size)
    first = _number(first_text)
    last = _number(last_text) if last_text else None
    if last is not None and last < first:
        return None  # RFC 9110 §14.1.1: such a range is invalid, and ignored
    if first >= size:
        return Unsatisfiable(size)
    wanted = size - 1 if last is None else min(last, size - 1)
    return ByteRange(first, min(wanted, first + MAXIMUM_BYTES - 1), size)


def _suffix(length: int, size: int) -> ByteRange | Unsatisfiable:
    if length == 0 or size == 0:
        return Unsatisfiable(size)
    first = max(0, size - length)
    return ByteRange(first, min(size - 1, first + MAXIMUM_BYTES - 1), size)


def _number(digits: str) -> int:
    # A number of thousands of digits lies beyond any content; int() would refuse it from 4300 digits on.
    return int(digits[:_MOST_DIGITS]) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS
