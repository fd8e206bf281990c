"""The two voices of one call, each in a session of its own (CUCM's near and far end): one recording.

The first half is opened, and nothing of it is kept: it has no answer. When the other one comes, is permitted, and both
are known together, its streams are attached to the first one's recording, and its answer is the recording's. Until then
it waits for ``HALF_NS`` at most: a half alone is never kept, and apart neither a telephone key nor a protected party of
one would reach the other. The second half's session is one of the call that is only seen (``join``): its parties are
decided upon with the first one's. When either ends, the call has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from sipgate.core import effects as fx
from sipgate.core.call import Call, keyed_sides
from sipgate.core.events import Offered, StreamOffer

HALF_NS = 5_000_000_000
"""How long a half waits for the other: CUCM sends both at once, the second perhaps after our answer to the first."""


class Halves:
    """Which calls wait for their other half, and which have it."""

    def __init__(self) -> None:
        self._alone: set[int] = set()  # first halves
        self._until: dict[int, int] = {}  # how long they wait
        self._first: dict[int, Call] = {}  # by the second half's session
        self._second: dict[int, int] = {}  # the second's session by the first's
        self._streams: dict[int, tuple[tuple[StreamOffer, ...], tuple[StreamOffer, ...]]] = {}  # by the first's session

    def wait(self, call: Call, event: Offered) -> None:
        """This call is the first half."""
        self._alone.add(call.session)
        self._until[call.session] = event.at_ns + HALF_NS
        self._streams[call.session] = (event.streams, ())

    def alone(self, call: Call) -> bool:
        """Whether the other half has not come: then there is no answer to be known."""
        return call.session in self._alone

    def other(self, calls: Iterable[Call], event: Offered) -> Call | None:
        """Which of ``calls`` waits for this half, if any."""
        sides = {stream.side for stream in event.streams}
        for call in calls:
            if event.half and self.alone(call) and sides.isdisjoint(s.side for s in self._streams[call.session][0]):
                return call
        return None

    def pair(self, call: Call, event: Offered) -> Iterator[fx.Effect]:
        """This is the other half."""
        self._alone.discard(call.session)
        del self._until[call.session]
        self._first[event.session] = call
        self._second[call.session] = event.session
        renamed = _renamed(event.streams)
        self._streams[call.session] = (self._streams[call.session][0], renamed)
        call.keyed = keyed_sides((*self._streams[call.session][0], *renamed))
        yield from self.opened(call)

    def opened(self, call: Call) -> Iterator[fx.Effect]:
        """When the recording is open and the second half has come, its streams are received with the first's."""
        if call.recording is not None and call.session in self._second:
            mine, others = self._streams[call.session]
            yield fx.Attach(self._second[call.session], call.recording, (*mine, *others), len(mine))

    def first(self, session: int) -> Call | None:
        """The call whose other half this session is."""
        return self._first.get(session)

    def restream(self, call: Call, session: int, streams: tuple[StreamOffer, ...]) -> Iterator[fx.Effect]:
        """The streams of one of the call's sessions have changed: receive them with those of the other."""
        first, last, every = 0, None, streams
        if call.session in self._streams:
            mine, others = self._streams[call.session]
            mine, others = (streams, others) if session == call.session else (mine, _renamed(streams))
            self._streams[call.session] = mine, others
            every = (*mine, *others)
            first, last = (0, len(mine)) if session == call.session else (len(mine), None)
        if not self.alone(call):
            call.keyed = keyed_sides(every)
        if call.recording is not None:
            yield fx.Restream(call.recording, every, session if session != call.session else None, first, last)

    def gone(self, call: Call) -> None:
        """The call is over."""
        if self._streams.pop(call.session, None) is not None:
            self._alone.discard(call.session)
            self._until.pop(call.session, None)
            self._first.pop(self._second.pop(call.session, -1), None)

    def deadline(self) -> int | None:
        """When the first of those that wait has waited long enough."""
        return min(self._until.values(), default=None)

    def given_up(self, now_ns: int) -> list[int]:
        """Sessions of those that have waited long enough: nothing of them is kept."""
        late = [session for session, until in self._until.items() if until <= now_ns]
        for session in late:
            del self._until[session]
        return late


def _renamed(streams: tuple[StreamOffer, ...]) -> tuple[StreamOffer, ...]:
    # Each session's labels are its own: both halves may call their stream the same.
    return tuple(replace(stream, label=f"other {stream.label}") for stream in streams)
