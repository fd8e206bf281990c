"""What goes in and out of the API. Times are Unix seconds with microseconds. There is no score and no ranking (R8)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sipgate.console.viewings import Kind

_NS = 1_000_000_000


def seconds(at_ns: int) -> float:
    """Unix nanoseconds as seconds with microseconds."""
    return round(at_ns / _NS, 6)


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _Answered(BaseModel):
    model_config = ConfigDict(frozen=True)


class Credentials(_Asked):
    """A sign-in."""

    login: str = Field(max_length=200)
    password: str = Field(max_length=1000, repr=False)


class Session(_Answered):
    """Send the token as ``Authorization: Bearer <token>``."""

    token: str
    login: str
    name: str
    roles: list[str]


class Me(_Answered):
    """Who is signed in. ``csrf``: for unsafe methods under the cookie, as the header ``X-CSRF-Token``."""

    login: str
    name: str
    roles: list[str]
    csrf: str


class Recording(_Answered):
    """One recording in the index. ``owner`` is the name of the person recorded; ``own``: that is who asks.

    Recordings of one ``story`` belong together: a call that was transferred, or parked and taken back.
    """

    recording: str
    story: str
    owner: str
    answered_at: float
    ended_at: float
    seconds: float
    channels: int
    film: bool
    frames: int
    state: Literal["finishing", "ready", "failed"]
    reviewed_at: float | None
    expires_at: float
    may_review: bool
    own: bool


class Recordings(_Answered):
    """A list, newest first."""

    recordings: list[Recording]


class Ask(_Asked):
    """Why a recording is opened. ``purpose`` may be left out: training is the only one there is."""

    reason: str = Field(max_length=2000)
    kind: Kind = Kind.PLAY
    purpose: str = Field("training", max_length=100)


class Viewing(_Answered):
    """A viewing: ``media`` is the address of the bytes until ``expires_at``, in this session alone."""

    viewing: str
    kind: Kind
    expires_at: int
    media: str


class ExcludedLine(_Answered):
    """One row of the console's list."""

    id: int
    line: str
    added_at: float
    added_by: str
    removal_requested_by: str | None
    may_confirm: bool


class FileRow(_Answered):
    """One row of the exclusions file."""

    line: str
    note: str


class ExcludedLines(_Answered):
    """All that is excluded: the console's list and the file. ``file_error``: the file cannot be read now."""

    console: list[ExcludedLine]
    file: list[FileRow]
    file_error: str | None
    warnings: list[str]


class Exclude(_Asked):
    """A line to exclude, by all its identities, separated by commas."""

    line: str = Field(max_length=500)


class Excluded(_Answered):
    """Done, and what deserves a second look."""

    warnings: list[str]


class Notice(_Answered):
    """The notice in force."""

    version: int
    text: str
    published_at: float
    acknowledged: bool


class Acknowledgement(_Asked):
    """Which version was read."""

    version: int


class HealthItemOut(_Answered):
    """One part's state."""

    name: str
    good: bool
    text: str


class HealthOut(_Answered):
    """Whether recording is possible, and why not."""

    ready: bool
    reasons: list[str]
    items: list[HealthItemOut]


class Problem(_Answered):
    """Every error: ``detail`` says what to do; ``field`` names the field concerned, if one is."""

    detail: str
    field: str | None = None
