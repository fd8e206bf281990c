"""One call seen by several sessions is one call; calls that belong together are one story. Pure.

**Keys.** A session says by its ``keys`` which call it shows (Call-ID, the pair of a Session-ID, CUCM's x-refci) and by
its ``story_keys`` what it belongs to (the communication-session group of RFC 7865 §6.2, one end's Session-ID, the
dialog that it replaces). Sessions that share a key are of one call; calls of which one names a key of another are of
one story. Both relations are transitive and may become known late: a session that shows two of them joins what had been
apart.

**One call: one recording for one owner.** Two recorders, both parties' sessions, the legs of a B2BUA: the first session
whose owner is permitted is recorded; another of the same call for the same owner is refused while the first is under
way, with the response of every refusal. What it shows counts all the same: its parties are decided upon together with
the first one's, its evidence of the answer is the first one's. If the first ends before the call does, the rest is not
recorded: the client of the second has had its refusal and comes no more. That loses sound, and can never keep too much.
Another owner (a transfer under the same Call-ID) is another recording of the same story.

**Deny wins.** A protected party, or one that nobody can identify, in any session of a call: nothing of that call is
kept, in whatever order its sessions come, and nothing that was already finished. Of the other calls of its story those
go of which a session is still seen at that moment, since a telephone that mixes its calls sends the one's voice into
the other and no signalling shows it; what had ended before is another call, and stays. "Not this call" (R11) denies
the call in all its sessions, and no other call of its story.

**Memory.** A refused session's end is never seen. So that a second one cannot bring back what the first one denied, the
keys of a denied call are remembered for ``DENIED_NS``; of a call of which something was kept, for ``LINGER_NS`` after
its end, so that what follows is linked with it. Never in plain: only as digests under a pepper that this process draws
at its start, which are written nowhere and dropped by ``forget``. Nothing else is known of a denied call, and of one
that was refused for any other reason nothing at all. Without this memory R12 would depend on which of two recorders is
quicker; with it, only who holds the process's memory *and* the call's own key can tell that there was a call.

**Names.** A story's name is drawn from the pepper and a counter, so it says nothing about any call; it is the only
thing of all this that is stored, with each recording of the story.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b
from heapq import heappop, heappush

from sipgate.core.events import Party

LINGER_NS = 600_000_000_000
"""How long after its end a call's keys are known: a parked call comes back, a transfer's new session comes late."""

DENIED_NS = 4 * 3_600_000_000_000
"""How long a denied call is taken to last."""

RACE_NS = 2_000_000_000
"""How much sooner another tap may have seen the answer of a call than this session was offered."""

LONGEST_STORY = 32
"""Calls in a story. Clients that give all their calls one group (some do) must not make one story of a day."""

_SHOWN = 16

_SOONER_NS = 60_000_000_000
"""By how much less than ``DENIED_NS`` a call that is offered again and again may be remembered after its last offer."""

_REMEMBERED = 50_000
"""Calls that are over and still known, at most: the oldest are forgotten first."""


class Denial(IntEnum):
    """What of a call is denied: nothing; the call; and whatever of its story goes on at the same time."""

    NONE = 0
    CALL = 1
    STORY = 2


@dataclass(slots=True, eq=False)
class Story:
    """Calls that belong together. ``keys``: digests of all that names one of them; ``number``: older ones first."""

    number: int
    name: str
    calls: list[Joined] = field(default_factory=list, repr=False)
    keys: set[bytes] = field(default_factory=set, repr=False)


@dataclass(slots=True, eq=False)
class Joined:
    """One call. ``sessions`` are recorded or were permitted to be, ``watched`` are seen only; both still go on.

    ``shown``: parties that sessions of this call showed which are not recorded. ``recordings``: what there is of it, by
    the session it was made from. ``unseen``: a session was refused that denies, so nobody will say when it ends.
    """

    story: Story
    sessions: set[int] = field(default_factory=set)
    watched: dict[int, tuple[Party, ...]] = field(default_factory=dict, repr=False)
    shown: dict[Party, None] = field(default_factory=dict, repr=False)
    recordings: dict[str, int] = field(default_factory=dict)
    keys: set[bytes] = field(default_factory=set, repr=False)
    named: set[bytes] = field(default_factory=set, repr=False)
    denial: Denial = Denial.NONE
    unseen: bool = False
    answered_at_ns: int | None = None
    until_ns: int | None = None

    @property
    def others(self) -> tuple[Party, ...]:
        """Who takes part by what was shown beside the recorded sessions."""
        return (*self.shown, *(party for parties in self.watched.values() for party in parties))

    @property
    def denied(self) -> Denial:
        """What holds for a session of this call, by its own denial or that of a call of its story."""
        return Denial.STORY if any(c.denial is Denial.STORY for c in self.story.calls) else self.denial


class Joins:
    """All calls under way, and those over that are still remembered. ``pepper``: for digests and names."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper[:64]
        self._stories = 0
        self._calls: dict[bytes, Joined] = {}  # by digest of a key
        self._named: dict[bytes, Story] = {}  # by digest of any key of one of its calls
        self._of: dict[int, Joined] = {}  # by session
        self._recorded: dict[str, Joined] = {}  # by recording
        self._over: list[tuple[int, int, Joined]] = []  # a heap: until when, in which order, which
        self._count = 0
        self._renamed: dict[str, str] = {}

    def meet(self, keys: Iterable[str], story_keys: Iterable[str], session: int | None = None) -> Joined:
        """The call that has these keys (and is ``session``'s): an old one, several made one, or a new one."""
        own = {self._digest(key) for key in keys}
        named = own | {self._digest(key) for key in story_keys}
        found = dict.fromkeys(self._calls[d] for d in sorted(own) if d in self._calls)
        if session is not None and session in self._of:
            found = {self._of[session]: None} | found
        stories = dict.fromkeys([c.story for c in found])
        stories |= dict.fromkeys(s for d in sorted(named) if (s := self._named.get(d)) and len(s.calls) < LONGEST_STORY)
        story = self._one_story(sorted(stories, key=lambda s: s.number)) if stories else self._new_story()
        call = self._one_call(list(found), story)
        call.keys |= own
        call.named |= named
        story.keys |= named
        self._calls |= dict.fromkeys(own, call)
        for digest in named:
            self._named.setdefault(digest, story)
        return call

    def renamed(self) -> Iterator[tuple[str, str]]:
        """Recordings that since the last question have come into another story: their names, and its."""
        while self._renamed:
            yield self._renamed.popitem()

    def knows(self, session: int) -> bool:
        """Whether this session is recorded, was permitted to be, or is watched."""
        return session in self._of

    def of(self, session: int) -> Joined:
        """The call that such a session shows."""
        return self._of[session]

    def of_recording(self, recording: str) -> Joined | None:
        """The call of a recording, while it is remembered."""
        return self._recorded.get(recording)

    def add(self, call: Joined, session: int) -> None:
        """This session of the call is to be recorded."""
        call.sessions.add(session)
        call.until_ns = None
        self._of[session] = call

    def watch(self, call: Joined, session: int, parties: tuple[Party, ...]) -> None:
        """This session of the call is seen and not recorded; again, when its parties change."""
        call.watched[session] = parties
        call.until_ns = None
        self._of[session] = call

    def show(self, call: Joined, parties: tuple[Party, ...]) -> None:
        """A session that was refused showed these parties: they count for those that are recorded.

        Beyond ``_SHOWN`` they are not remembered: they were decided upon when they were shown, and only an exclusion
        added later would miss them. A client that gives all its calls one Call-ID must not slow every decision.
        """
        if call.sessions and len(call.shown) < _SHOWN:
            call.shown |= dict.fromkeys(parties)

    def recorded(self, session: int, recording: str) -> str:
        """There is now something of this call; the name of its story."""
        call = self._of[session]
        call.recordings[recording] = session
        self._recorded[recording] = call
        return call.story.name

    def erased(self, recording: str) -> None:
        """There is not any more."""
        self._renamed.pop(recording, None)
        call = self._recorded.pop(recording, None)
        if call is not None:
            call.recordings.pop(recording, None)

    def deny(self, call: Joined, denial: Denial, *, unseen: bool = False) -> None:
        """Nothing of this call may be kept: ``strike`` says what that means. Who takes part is forgotten."""
        call.denial = max(call.denial, denial)
        call.unseen |= unseen
        call.watched = dict.fromkeys(call.watched, ())
        call.shown = {}

    def strike(self, call: Joined) -> tuple[list[int], list[str]]:
        """What goes by the denials in this call's story: sessions under way, and recordings of sessions that ended."""
        calls = call.story.calls
        for fellow in calls:
            if call.denied is Denial.STORY and fellow.sessions and not fellow.denial:
                self.deny(fellow, Denial.CALL)
        sessions = [session for c in calls if c.denial for session in sorted(c.sessions)]
        over = [name for c in calls if c.denial for name, session in c.recordings.items() if session not in c.sessions]
        return sessions, over

    def ended(self, session: int, at_ns: int) -> None:
        """No tap sees this session any more."""
        call = self._of.pop(session, None)
        if call is not None:
            call.sessions.discard(session)
            call.watched.pop(session, None)
            self.settle(call, at_ns)

    def settle(self, call: Joined, at_ns: int) -> None:
        """Forget a call of which nothing goes on: at once if nothing is kept of it, else after a time."""
        if not call.sessions:
            call.shown = {}
        if call.sessions or call.watched:
            return
        if call.denial is Denial.STORY and not call.unseen:
            call.denial = Denial.CALL
        if call.denial:
            self._remember(call, at_ns + DENIED_NS)
        elif call.recordings:
            self._remember(call, at_ns + LINGER_NS)
        else:
            self._drop(call)

    def forget(self, now_ns: int) -> None:
        """Drop what may no longer be remembered."""
        while self._over and (self._over[0][0] <= now_ns or len(self._over) > _REMEMBERED):
            until_ns, _, call = heappop(self._over)
            if call.until_ns == until_ns:
                self._drop(call)

    # --- how ----------------------------------------------------------------------------------------------------------

    def _digest(self, key: str) -> bytes:
        return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16, key=self._pepper, person=b"key").digest()

    def _new_story(self) -> Story:
        self._stories += 1
        number = self._stories.to_bytes(8, "big")
        return Story(self._stories, blake2b(number, digest_size=16, key=self._pepper, person=b"story").hexdigest())

    def _one_story(self, stories: list[Story]) -> Story:
        story, *others = stories
        for other in others:
            for call in other.calls:
                call.story = story
                self._renamed |= dict.fromkeys(call.recordings, story.name)
            story.calls += other.calls
            story.keys |= other.keys
            self._named |= dict.fromkeys(other.keys, story)
        return story

    def _one_call(self, calls: list[Joined], story: Story) -> Joined:
        if not calls:
            call = Joined(story)
            story.calls.append(call)
            return call
        call, *others = calls
        for other in others:
            story.calls.remove(other)
            call.sessions |= other.sessions
            call.watched |= other.watched
            call.shown |= other.shown
            call.recordings |= other.recordings
            call.keys |= other.keys
            call.named |= other.named
            call.denial, call.unseen = max(call.denial, other.denial), call.unseen or other.unseen
            call.answered_at_ns = max((t for c in (call, other) if (t := c.answered_at_ns)), default=None)
            self._calls |= dict.fromkeys(other.keys, call)
            self._of |= dict.fromkeys([*other.sessions, *other.watched], call)
            self._recorded |= dict.fromkeys(other.recordings, call)
            other.until_ns = None
        if call.sessions or call.watched:
            call.until_ns = None  # what had ended goes on with what has not
        return call

    def _remember(self, call: Joined, until_ns: int) -> None:
        if call.until_ns is not None and until_ns - call.until_ns < _SOONER_NS:
            return  # a client that asks again and again must not push other calls out
        self._count += 1
        call.until_ns = until_ns
        heappush(self._over, (until_ns, self._count, call))

    def _drop(self, call: Joined) -> None:
        call.until_ns = None
        for recording in call.recordings:
            del self._recorded[recording]
        for digest in call.keys:
            del self._calls[digest]
        story = call.story
        story.calls.remove(call)
        gone = call.named.difference(*(c.named for c in story.calls)) if story.calls else story.keys
        for digest in gone:
            if self._named.get(digest) is story:
                del self._named[digest]
        story.keys -= gone
