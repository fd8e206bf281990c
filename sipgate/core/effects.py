"""What goes out: data that ``service`` carries out, in order. Core never touches a port, a key or a file."""

from __future__ import annotations

from dataclasses import dataclass, field

from sipgate.core.events import StreamOffer
from sipgate.core.policy import FilmPlan


@dataclass(frozen=True, slots=True)
class Open:
    """Open a key, a ledger entry and ports, let the tap accept, answer with Opened or OpenFailed."""

    session: int
    streams: tuple[StreamOffer, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Let the tap refuse. One response for every refusal by policy; no reason, no log line (R12)."""

    session: int


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Let the tap refuse because nothing can be written at all: the peer should fail over (503)."""

    session: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Keep sound from ``answered_at_ns`` on. ``owner`` is the person whose recording it is (register id);
    ``workstation`` the one that may film it; ``story`` names what it belongs to (32 hexadecimal digits)."""

    recording: str
    session: int
    connection: str
    owner: int
    enrolment: int
    answered_at_ns: int
    workstation: str | None
    story: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Retell:
    """This recording, under way or kept, turns out to belong to another story."""

    recording: str
    story: str


@dataclass(frozen=True, slots=True)
class Restream:
    """The peer's streams changed: receive these from now on.

    Those from ``first`` to ``last`` are of the session that changed: ``session``, or None for the recording's own.
    """

    recording: str
    streams: tuple[StreamOffer, ...]
    session: int | None = None
    first: int = 0
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Attach:
    """Let the tap accept this session too: from ``first`` on, the streams are its own; all are received together."""

    session: int
    recording: str
    streams: tuple[StreamOffer, ...]
    first: int


@dataclass(frozen=True, slots=True)
class StartFilm:
    """Arm and start the workstation: film from ``answered_at_ns``, under a lease that RenewFilm prolongs."""

    recording: str
    plan: FilmPlan
    answered_at_ns: int


@dataclass(frozen=True, slots=True)
class RenewFilm:
    """The call still lives: prolong the lease."""

    recording: str
    workstation: str


@dataclass(frozen=True, slots=True)
class StopFilm:
    """The film ends at ``ended_at_ns``; later frames are dropped."""

    recording: str
    workstation: str
    ended_at_ns: int


@dataclass(frozen=True, slots=True)
class DiscardFilm:
    """Destroy what the workstation filmed of this recording."""

    recording: str
    workstation: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Stop listening; keep the sound of [answered, ``ended_at_ns``]; journal, index, and make the WebM."""

    recording: str
    ended_at_ns: int


@dataclass(frozen=True, slots=True)
class Discard:
    """Stop listening; destroy key, media and ledger entry: nothing remains, not even that there was a call."""

    recording: str


@dataclass(frozen=True, slots=True)
class Release:
    """The session is over: its ports may drain and be used again."""

    session: int


Effect = (
    Open
    | Refuse
    | Unavailable
    | Begin
    | Retell
    | Restream
    | Attach
    | StartFilm
    | RenewFilm
    | StopFilm
    | DiscardFilm
    | Finish
    | Discard
    | Release
)
