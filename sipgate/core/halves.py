"""What is opened and not kept before more of it is known: halves of a call, and calls whose parties are named later.

CUCM's near and far end are two voices of one call, each in a session of its own: one recording.

The first half is opened, and nothing of it is kept: it has no answer. When the other one comes, is permitted, and both
are known together, its streams are attached to the first one's recording, and its answer is the recording's. Until then
it waits for ``HALF_NS`` at most: a half alone is never kept, and apart neither a telephone key nor a protected party of
one would reach the other. The second half's session is one of the call that is only seen (``join``): its parties are
decided upon with the first one's. When either ends, the call has ended.

Avaya opens a session with participants who have no names, and names them by an UPDATE. Where a connection is declared
to do so, such a session is opened for nobody (``STRANGER``) and waits for ``STRANGER_NS``: once everybody is named, and
the call is permitted, it begins; nothing from before is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from sipgate.core import effects as fx
from sipgate.core.call import UNDER_WAY, Call, keyed_sides
from sipgate.core.events import Offered, Side, StreamOffer
from sipgate.core.policy import Permitted

HALF_NS = 5_000_000_000
"""How long a half waits for the other: CUCM sends both at once, the second perhaps after our answer to the first."""

STRANGER_NS = 10_000_000_000
"""How long a call waits for the names of its parties."""

STRANGER = Permitted(owner=-1, enrolment=-1, side=Side.CALLER, film=None, telephone_key=None)
"""Under which a call waits for names: nobody's recording, under no enrolment, and it never begins."""


class Halves:
    """Which calls wait for their other half, or for names, and which have the half."""

    def __init__(self) -> None:
        self._alone: set[int] = set()  # first halves
        self._until: dict[int, int] = {}  # how long they wait
        self._answered: set[int] = set()  # those of them whose call is answered
        self._first: dict[int, Call] = {}  # by the second half's session
        self._second: dict[int, int] = {}  # the second's session by the first's
        self._streams: dict[int, tuple[tuple[StreamOffer, ...], tuple[StreamOffer, ...]]] = {}  # by the first's session

    def wait(self, call: Call, event: Offered, answered: bool) -> None:
        """This call is the first half, or without names."""
        self._alone.add(call.session)
        self._until[call.session] = event.at_ns + (HALF_NS if event.half else STRANGER_NS)
        if event.half:
            self._streams[call.session] = (event.streams, ())
        if answered:
            self._answered.add(call.session)

    def answered(self, call: Call) -> None:
        """A call that waits is answered."""
        self._answered.add(call.session)

    def complete(self, call: Call) -> None:
        """It waits no more."""
        self._alone.discard(call.session)
        self._until.pop(call.session, None)

    def answer(self, call: Call, at_ns: int) -> int | None:
        """``at_ns``, if the call was answered while it waited."""
        return at_ns if call.session in self._answered else None

    def alone(self, call: Call) -> bool:
        """Whether it still waits: then it does not begin, answered or not."""
        return call.session in self._alone

    def other(self, calls: Iterable[Call], event: Offered) -> Call | None:
        """Which of ``calls`` waits for this half, if any."""
        sides = {stream.side for stream in event.streams}
        for call in calls if event.half else ():
            mine, _ = self._streams.get(call.session, ((), ()))
            if mine and self.alone(call) and sides.isdisjoint(stream.side for stream in mine):
                return call
        return None

    def pair(self, call: Call, event: Offered) -> Iterator[fx.Effect]:
        """This is the other half."""
        self.complete(call)
        self._first[event.session] = call
        self._second[call.session] = event.session
        renamed = _renamed(event.streams)
        self._streams[call.session] = (self._streams[call.session][0], renamed)
        call.keyed = keyed_sides((*self._streams[call.session][0], *renamed))
        yield from self.opened(call)

    def opened(self, call: Call) -> Iterator[fx.Effect]:
        """When the recording is open and the second half has come, its streams are received with the first's."""
        if call.recording is not None and call.session in self._second and call.state in UNDER_WAY:
            mine, others = self._streams[call.session]
            yield fx.Attach(self._second[call.session], call.recording, (*mine, *others), len(mine))

    def second(self, call: Call) -> int | None:
        """The session of the other half of this call, if it has come."""
        return self._second.get(call.session)

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
        self.complete(call)
        self._answered.discard(call.session)
        if self._streams.pop(call.session, None) is not None:
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
