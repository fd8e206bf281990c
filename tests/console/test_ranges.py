"""One byte range, by RFC 9110 §14."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipgate.console.ranges import MAXIMUM_BYTES, ByteRange, Unsatisfiable, parse_range

MIB = 1 << 20


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        (None, 10, None),
        ("bytes=0-", 10, ByteRange(0, 9, 10)),
        ("bytes=0-0", 10, ByteRange(0, 0, 10)),
        ("bytes=9-", 10, ByteRange(9, 9, 10)),
        ("bytes=3-100", 10, ByteRange(3, 9, 10)),
        ("bytes=-4", 10, ByteRange(6, 9, 10)),
        ("bytes=-100", 10, ByteRange(0, 9, 10)),
        ("BYTES = 2-3 ", 10, ByteRange(2, 3, 10)),
        ("bytes=0-", 3 * MIB, ByteRange(0, MIB - 1, 3 * MIB)),
        (f"bytes=5-{3 * MIB}", 3 * MIB, ByteRange(5, MIB + 4, 3 * MIB)),
        (f"bytes=-{2 * MIB}", 3 * MIB, ByteRange(MIB, 2 * MIB - 1, 3 * MIB)),
        ("bytes=10-", 10, Unsatisfiable(10)),
        ("bytes=0-", 0, Unsatisfiable(0)),
        ("bytes=-0", 10, Unsatisfiable(10)),
        ("bytes=-5", 0, Unsatisfiable(0)),
        ("bytes=" + "9" * 5000 + "-", 10, Unsatisfiable(10)),
        ("bytes=0-" + "9" * 5000, 10, ByteRange(0, 9, 10)),
        ("bytes=5-3", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("bytes=-", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes=\u0661-", 10, None),
        ("items=0-1", 10, None),
        ("bytes=1--2", 10, None),
        ("", 10, None),
    ],
)
def test_a_range_is_read_as_the_rfc_says(header: str | None, size: int, expected: object) -> None:
    assert parse_range(header, size) == expected


@given(st.text(alphabet="bytes=0123456789-, \t", max_size=40) | st.text(max_size=30), st.integers(0, 1 << 40))
def test_whatever_is_asked_the_answer_lies_within_the_content_and_one_mebibyte(header: str, size: int) -> None:
    found = parse_range(header, size)
    if isinstance(found, ByteRange):
        assert 0 <= found.first <= found.last < size
        assert 1 <= found.length <= MAXIMUM_BYTES
        assert found.content_range == f"bytes {found.first}-{found.last}/{size}"
    elif found is not None:
        assert found.content_range == f"bytes */{size}"
