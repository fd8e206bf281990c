"""Six months at most, whatever any row, setting or enrolment says."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipgate.core.retention import CAP_DAYS, CAP_NS, DAY_NS, Kept, due, expires_at_ns
from sipgate.errors import RuleError

ANSWERED = 1_763_804_460_000_000_000


def test_the_cap_is_183_days() -> None:
    assert CAP_DAYS == 183
    assert CAP_NS == 183 * 24 * 3600 * 10**9


@pytest.mark.parametrize("days", [1, 90, 183])
def test_a_recording_expires_after_the_configured_days(days: int) -> None:
    assert expires_at_ns(ANSWERED, days) == ANSWERED + days * DAY_NS


@pytest.mark.parametrize("days", [-1, 0, 184, 5 * 365])
def test_longer_than_the_cap_or_never_is_refused(days: int) -> None:
    with pytest.raises(RuleError, match="R14"):
        expires_at_ns(ANSWERED, days)


def test_it_is_due_at_its_last_moment_and_not_before() -> None:
    kept = Kept("a", ANSWERED, ANSWERED + 10 * DAY_NS)
    assert list(due([kept], ANSWERED + 10 * DAY_NS - 1)) == []
    assert list(due([kept], ANSWERED + 10 * DAY_NS)) == ["a"]


def test_those_that_are_due_are_named_in_order() -> None:
    rows = [Kept(name, ANSWERED, ANSWERED + days * DAY_NS) for name, days in (("a", 1), ("b", 9), ("c", 2))]
    assert list(due(rows, ANSWERED + 2 * DAY_NS)) == ["a", "c"]


@example(claimed=2**63, later=0)
@example(claimed=ANSWERED + CAP_NS + 1, later=0)
@given(claimed=st.integers(0, 2**63), later=st.integers(0, 10**18))
def test_no_row_however_it_was_tampered_with_outlives_the_cap(claimed: int, later: int) -> None:
    assert list(due([Kept("a", ANSWERED, claimed)], ANSWERED + CAP_NS + later)) == ["a"]
