"""SRTP (RFC 3711, RFC 6188, RFC 7714): which packets are authentic, and what they say, in place, a batch at a time.

A packet of a secured stream is opened, or it is as if it had never come: nothing looks at it before it is authentic.

*Index.* A packet's index is its rollover counter and its sequence number. The counter is not sent: it is guessed from
the highest index that was authentic (§3.3.1), and the packet's tag proves the guess or not. For a batch this is done at
once, by the highest index before it; what fails is guessed again when that index has moved meanwhile. Some of what
still fails is tried with the counters that follow, since equipment counts on through a hold that lasts longer than half
a round of sequence numbers (11 minutes at 20 ms), and with those from 0 on where this SSRC was not yet heard: a new
SSRC begins at 0 (RFC 4568 §6.4), but its first packets may be lost.

*Lanes.* What is known of one SSRC under one key is a lane: its highest index, and which of the last ``WINDOW`` indices
came, so that no packet is opened twice (§3.3.2). Only an authentic packet makes a lane, and a key has at most
``MOST_LANES``: who sprays SSRCs without the key makes none.

*Keys.* A new offer brings new keys; those before them open what is still on its way, until ``FORMER_NS`` after the
first packet under a new one. A stream has several keys where packets name theirs (MKI).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from sipgate.core.events import MediaKey
from sipgate.media.recvmmsg import PAD
from sipgate.media.srtp_keys import SessionKeys
from sipgate.media.srtp_packets import (
    Bytes,
    Flags,
    Group,
    Ints,
    Key,
    One,
    Packets,
    decrypt,
    headers,
    named_right,
    proven,
)

WINDOW: Final = 512
"""Packets: 10 s of a stream that come late, or twice, are told apart. At least 64 (§3.3.2)."""
MOST_LANES: Final = 8
FORMER_NS: Final = 10_000_000_000
_MOST_KEYS: Final = 8
_ROLLOVERS: Final = 8
"""Counters that are tried where the guess fails."""
_TRIALS: Final = 2
"""Packets of a stream, each pass, for which that is done: an attacker's cost no more."""
_UNHEARD: Final = 0x7FFF
"""As the highest index: the guess for any sequence number has rollover counter 0."""
_NEVER: Final = -1


class Opened(NamedTuple):
    """Rows of a batch that are authentic and now hold their payload in the clear; how many came a second time."""

    rows: Ints
    replayed: int


@dataclass
class _Keys:
    """Of one stream. The first ``current`` are those of the last offer."""

    keys: list[Key]
    current: int
    former_until_ns: int | None = None


class Unprotector:
    """The keys and lanes of all secured streams. Not thread-safe: the drain's."""

    def __init__(self) -> None:
        self._streams: dict[int, _Keys] = {}
        self._high: Ints = np.full(64, _NEVER, dtype=np.int64)
        self._seen: Ints = np.full((64, WINDOW), _NEVER, dtype=np.int64)
        self._high[0] = _UNHEARD
        self._free = list(range(63, 0, -1))
        self._grown: list[Key] = []

    def secure(self, stream: int, offered: Sequence[MediaKey]) -> None:
        """From now on packets under these keys are opened. Raises MediaError when one cannot be used."""
        known = self._streams.get(stream)
        before = known.keys if known is not None else []
        if known is not None and tuple(key.offered for key in before[: known.current]) == tuple(offered):
            return
        of_before = {key.offered: key for key in before}
        current = [of_before.get(key) or Key(key, SessionKeys.of(key)) for key in offered]
        former = [key for key in before if key.offered not in set(offered)]
        kept = [*current, *former][:_MOST_KEYS]
        self._give_back(key for key in before if key not in kept)
        self._streams[stream] = _Keys(kept, len(current))

    def forget(self, stream: int) -> None:
        """Its packets are plain from now on, or it is gone."""
        keys = self._streams.pop(stream, None)
        if keys is not None:
            self._give_back(keys.keys)

    def unprotect(self, slots: Bytes, lengths: Ints, rows: Ints, streams: Ints, now_ns: int) -> Opened:
        """Open what can be opened of ``rows`` (RTP, of the streams beside them); shortens its ``lengths``."""
        begin, sequence, ssrc = headers(slots, lengths, rows)
        left = np.flatnonzero(begin <= PAD + lengths[rows])
        names = streams.astype(np.int64) << 32 | ssrc
        opened: list[Ints] = []
        twice = np.zeros(len(rows), dtype=np.bool_)
        for number in range(_MOST_KEYS):
            if left.size == 0:
                break
            groups, group, chosen = self._groups(names[left], number, now_ns)
            chosen = left[chosen]
            if chosen.size == 0:
                break
            trailers = np.array([g.key.session.tag + len(g.key.session.mki) for g in groups], dtype=np.int64)
            packets = Packets(
                rows[chosen], group, sequence[chosen], begin[chosen], PAD + lengths[rows[chosen]] - trailers[group]
            )
            good, again = self._attempt(slots, packets, groups, now_ns)
            twice[chosen[again]] = True
            lengths[packets.row[good]] -= trailers[group[good]]
            opened.append(packets.row[good])
            left = left[np.isin(left, chosen[good], invert=True)]
        self._limit_lanes()
        return Opened(np.concatenate([np.zeros(0, dtype=np.int64), *opened]), int(np.count_nonzero(twice[left])))

    def recognises(self, slots: Bytes, lengths: Ints, row: int, stream: int) -> bool:
        """Whether this packet would be opened; it stays closed, and nothing is remembered of it."""
        begin, sequence, ssrc = headers(slots, lengths, np.array([row]))
        keys = self._streams.get(stream)
        for key in keys.keys if keys is not None else ():
            end = PAD + lengths[[row]] - key.session.tag - len(key.session.mki)
            group = Group(stream, int(ssrc[0]), key, key.lanes.get(int(ssrc[0]), 0))
            packet = Packets(np.array([row]), np.array([0]), sequence, begin, end)
            if end[0] >= begin[0] and named_right(slots, packet, [group])[0]:
                one = One(slots, packet, 0, group)
                if any(one.proves(index) for index in self._candidates(group, int(sequence[0]))):
                    return True
        return False

    # --- one key for each packet ------------------------------------------------------------------------------------

    def _groups(self, names: Ints, number: int, now_ns: int) -> tuple[list[Group], Ints, Ints]:
        """The groups of packets whose stream has a ``number``-th key; their group, and which packets those are."""
        unique, inverse = np.unique(names, return_inverse=True)
        groups: list[Group] = []
        numbers = np.full(len(unique), -1, dtype=np.int64)
        for at, name in enumerate(unique.tolist()):
            keys = self._streams.get(name >> 32)
            if keys is not None and number == 0 and (keys.former_until_ns or now_ns) < now_ns:
                self._give_back(keys.keys[keys.current :])
                keys.keys, keys.former_until_ns = keys.keys[: keys.current], None
            if keys is not None and number < len(keys.keys):
                key, ssrc = keys.keys[number], name & 0xFFFFFFFF
                numbers[at] = len(groups)
                groups.append(Group(name >> 32, ssrc, key, key.lanes.get(ssrc, 0)))
        group = numbers[inverse]
        chosen = np.flatnonzero(group >= 0)
        return groups, group[chosen], chosen

    def _attempt(self, slots: Bytes, packets: Packets, groups: list[Group], now_ns: int) -> tuple[Ints, Ints]:
        """Which packets are opened now, and which came before."""
        lanes = np.array([group.lane for group in groups], dtype=np.int64)
        possible = (packets.end >= packets.begin) & named_right(slots, packets, groups)
        left = np.flatnonzero(possible)
        tried: Ints = np.full(len(packets.row), _NEVER, dtype=np.int64)
        index: Ints = np.zeros(len(packets.row), dtype=np.int64)
        good: list[Ints] = []
        again: list[Ints] = []
        trials: dict[int, int] = {}
        while True:  # each round opens a packet, or finds one of few counters
            lane = lanes[packets.group[left]]
            high = self._high[lane]
            guess = high + ((packets.sequence[left] - high + 0x7FFF) & 0xFFFF) - 0x7FFF
            index[left] = guess = guess + (guess < 0) * 0x10000  # nothing is before the first round
            seen = self._seen[lane, guess % WINDOW] == guess
            again.append(left[seen])
            unseen = left[~seen]
            timely = (guess > high - WINDOW) | (lane == 0)
            asked = left[timely & ~seen & (guess != tried[left])]
            tried[asked] = index[asked]
            authentic = asked[proven(slots, packets.only(asked), index[asked], groups)]
            first = self._accept(packets.group[authentic], index[authentic], groups, lanes, now_ns)
            good.append(authentic[first])
            again.append(authentic[~first])
            left = left[np.isin(left, authentic, invert=True)]
            if left.size == 0 or not (authentic.size or self._learn(slots, packets, unseen, groups, lanes, trials)):
                break
        opened = np.concatenate(good)
        decrypt(slots, packets.only(opened), index[opened], groups)
        return opened, np.concatenate(again)

    def _accept(self, group: Ints, index: Ints, groups: list[Group], lanes: Ints, now_ns: int) -> Flags:
        """Enter authentic packets in their lanes; which of them are not there twice."""
        for number in np.unique(group).tolist():
            one = groups[number]
            lanes[number] = self._lane(one)
            keys = self._streams[one.stream]
            former = len(keys.keys) > keys.current and keys.former_until_ns is None
            if former and one.key in keys.keys[: keys.current]:
                keys.former_until_ns = now_ns + FORMER_NS
        lane = lanes[group]
        first = np.zeros(len(index), dtype=np.bool_)
        first[np.unique(lane << 32 | index & 0xFFFFFFFF, return_index=True)[1]] = True
        order = np.argsort(index)  # where two packets have one place, what is written last is the higher
        lane, index = lane[order], index[order]
        self._high[lane] = np.maximum(self._high[lane], index)
        self._seen[lane, index % WINDOW] = index
        return first

    def _learn(
        self, slots: Bytes, packets: Packets, left: Ints, groups: list[Group], lanes: Ints, trials: dict[int, int]
    ) -> bool:
        """Try other rollover counters on a few packets; whether one was found."""
        found = False
        for at in left.tolist():
            number = int(packets.group[at])
            group = groups[number]
            if trials.get(group.stream, 0) >= _TRIALS:
                continue
            trials[group.stream] = trials.get(group.stream, 0) + 1
            one = One(slots, packets, at, group)
            for index in self._candidates(group, int(packets.sequence[at])):
                if one.proves(index):
                    lanes[number] = lane = self._lane(group)
                    self._high[lane] = max(int(self._high[lane]), index - 1)
                    found = True
                    break
        return found

    def _candidates(self, group: Group, sequence: int) -> list[int]:
        """Indices that a packet may have, beyond all that came."""
        if group.lane:
            high = int(self._high[group.lane])
            indices = ((high >> 16) + more << 16 | sequence for more in range(_ROLLOVERS))
            return [index for index in indices if index > high]
        # Under a new key some go on counting (RFC 3711 §3.3.1), some begin anew, as a new session does.
        others = (key.lanes.get(group.ssrc) for key in self._streams[group.stream].keys)
        known = [int(self._high[lane]) >> 16 for lane in others if lane is not None]
        counters = dict.fromkeys([*(count + more for count in known for more in (0, 1)), *range(_ROLLOVERS)])
        return [count << 16 | sequence for count in counters]

    def _lane(self, group: Group) -> int:
        """The group's lane, made where there is none; of its key's now the last one used."""
        lanes = group.key.lanes
        if group.lane == 0:
            if not self._free:
                size = len(self._high)
                self._high = np.concatenate([self._high, np.full(size, _NEVER)])
                self._seen = np.concatenate([self._seen, np.full((size, WINDOW), _NEVER)])
                self._free = list(range(2 * size - 1, size - 1, -1))
            group.lane = self._free.pop()
            self._grown.append(group.key)
        elif len(lanes) > 1:
            del lanes[group.ssrc]
        lanes[group.ssrc] = group.lane
        return group.lane

    def _limit_lanes(self) -> None:
        for key in self._grown:
            while len(key.lanes) > MOST_LANES:
                self._empty(key.lanes.pop(next(iter(key.lanes))))
        self._grown.clear()

    def _give_back(self, keys: Iterable[Key]) -> None:
        for key in keys:
            for lane in key.lanes.values():
                self._empty(lane)
            key.lanes.clear()

    def _empty(self, lane: int) -> None:
        self._high[lane] = _NEVER
        self._seen[lane] = _NEVER
        self._free.append(lane)
