"""Rate limits as token buckets: time is an argument, memory is bounded.

A bucket holds ``burst`` tries and gains one every ``refill_seconds``. A try is taken before it is made and given back
when it was rightful, so that many at once cannot pass together.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from threading import Lock

_NS = 1_000_000_000


@dataclass(slots=True)
class _Bucket:
    tries: float
    at_ns: int


class RateLimit:
    """Tries by key (a login, an address). Safe between threads."""

    def __init__(self, burst: int, refill_seconds: float, most_keys: int = 10_000) -> None:
        self._burst, self._refill_ns, self._most = burst, refill_seconds * _NS, most_keys
        self._buckets: dict[str, _Bucket] = {}
        self._lock = Lock()

    def take(self, key: str, now_ns: int) -> float:
        """Take one try: 0 when there was one, otherwise the seconds to wait for the next."""
        with self._lock:
            bucket = self._filled(key, now_ns)
            if bucket.tries < 1:
                return (1 - bucket.tries) * self._refill_ns / _NS
            bucket.tries -= 1
            return 0.0

    def give_back(self, key: str, now_ns: int) -> None:
        """The try was rightful: it does not count."""
        with self._lock:
            bucket = self._filled(key, now_ns)
            bucket.tries = min(self._burst, bucket.tries + 1)

    def _filled(self, key: str, now_ns: int) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            self._make_room(now_ns)
            bucket = self._buckets[key] = _Bucket(self._burst, now_ns)
        bucket.tries = min(self._burst, bucket.tries + max(0, now_ns - bucket.at_ns) / self._refill_ns)
        bucket.at_ns = max(bucket.at_ns, now_ns)
        return bucket

    def _make_room(self, now_ns: int) -> None:
        if len(self._buckets) < self._most:
            return
        full_after = self._burst * self._refill_ns
        self._buckets = {k: b for k, b in self._buckets.items() if now_ns - b.at_ns < full_after}
        while len(self._buckets) >= self._most:
            # Whoever floods us with new keys pushes out the oldest: memory stays bounded, and the limit by address,
            # of which an attacker has few, still holds.
            del self._buckets[next(iter(self._buckets))]


def address_key(host: str) -> str:
    """The part of a client's address that one client cannot change at will: IPv4 whole, IPv6 by its /64."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return (address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64)).compressed
    return address.compressed
