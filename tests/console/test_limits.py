"""Token buckets: how many tries, and how soon again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipgate.console.limits import RateLimit, address_key

SECOND = 1_000_000_000


def test_the_burst_is_allowed_and_then_one_try_each_refill() -> None:
    limit = RateLimit(burst=3, refill_seconds=10)
    assert [limit.take("a", 0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limit.take("a", 0) == pytest.approx(10)
    assert limit.take("a", 4 * SECOND) == pytest.approx(6)
    assert limit.take("a", 10 * SECOND) == 0.0
    assert limit.take("a", 10 * SECOND) > 0


def test_keys_do_not_share() -> None:
    limit = RateLimit(burst=1, refill_seconds=10)
    assert limit.take("a", 0) == 0.0
    assert limit.take("b", 0) == 0.0


def test_a_rightful_try_does_not_count() -> None:
    limit = RateLimit(burst=1, refill_seconds=10)
    for _ in range(5):
        assert limit.take("a", 0) == 0.0
        limit.give_back("a", 0)


def test_memory_is_bounded_however_many_keys_come() -> None:
    limit = RateLimit(burst=1, refill_seconds=10, most_keys=50)
    for number in range(500):
        limit.take(str(number), number)
    assert len(limit._buckets) <= 50


def test_a_clock_that_stands_or_goes_back_gives_no_tries() -> None:
    limit = RateLimit(burst=1, refill_seconds=10)
    assert limit.take("a", 5 * SECOND) == 0.0
    assert limit.take("a", 0) > 0


@given(st.lists(st.integers(0, 30 * SECOND), min_size=1, max_size=60))
def test_never_more_tries_than_the_burst_and_the_refills(steps: list[int]) -> None:
    limit, now, allowed = RateLimit(burst=4, refill_seconds=7), 0, 0
    for step in steps:
        now += step
        allowed += limit.take("a", now) == 0.0
    assert allowed <= 4 + now / (7 * SECOND) + 1e-6


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::"),
        ("2001:db8:1:2:bbbb::9", "2001:db8:1:2::"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_an_ipv6_client_cannot_escape_by_changing_its_address_within_its_network(host: str, key: str) -> None:
    assert address_key(host) == key
