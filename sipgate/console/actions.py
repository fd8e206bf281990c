"""What people do, once, for the API and the pages alike. Synchronous: call from worker threads.

Each takes a visitor who has passed the first gate (``access.May``).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable

from sipgate.console import models
from sipgate.console.access import Visitor, denied, may_reach, reachable
from sipgate.console.console import Console
from sipgate.console.models import seconds
from sipgate.console.parts import FileLines
from sipgate.console.viewings import Claim, Kind
from sipgate.core.lines import Address, Number, parse_selector
from sipgate.errors import AccessError, LineSyntaxError, RegisterError, RuleError
from sipgate.register.rows import ExclusionRow, RecordingRow, Role

SHORTEST_REASON, LONGEST_REASON = 3, 500
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")


class FieldError(RuleError):
    """What a person wrote in ``field`` cannot stand; the message says what to write. ``key``: its text in ``texts``."""

    def __init__(self, field: str, message: str, key: str) -> None:
        super().__init__(message)
        self.field, self.key = field, key


class NotReadyError(RegisterError):
    """The recording is still being put together, or could not be."""


# --- recordings ---------------------------------------------------------------------------------------------------


def recordings(console: Console, visitor: Visitor) -> list[models.Recording]:
    """Those that the visitor may reach, newest first."""
    now = console.parts.now_ns()
    rows = console.parts.register.recordings.for_viewer(visitor.person)
    name = _names(console)
    return [_recording(row, visitor, name) for row in rows if may_reach(visitor.person, row, now)]


def recording(console: Console, visitor: Visitor, recording_id: str) -> models.Recording:
    """One of them. Raises AccessError (journalled)."""
    return _recording(reachable(console, visitor, recording_id, "recording"), visitor, _names(console))


def others_of_story(console: Console, visitor: Visitor, recording: models.Recording) -> list[models.Recording]:
    """The others of its story that the visitor may reach too, oldest first."""
    rows = console.parts.register.recordings.for_viewer(visitor.person, story=recording.story)
    now, name = console.parts.now_ns(), _names(console)
    others = [row for row in rows if row.recording != recording.recording and may_reach(visitor.person, row, now)]
    return [_recording(row, visitor, name) for row in reversed(others)]


def _names(console: Console) -> Callable[[int], str]:
    known: dict[int, str] = {}

    def name(person: int) -> str:
        if person not in known:
            known[person] = console.parts.register.people.get(person).name
        return known[person]

    return name


def _recording(row: RecordingRow, visitor: Visitor, name: Callable[[int], str]) -> models.Recording:
    return models.Recording(
        recording=row.recording,
        story=row.story,
        owner=name(row.owner),
        answered_at=seconds(row.answered_at_ns),
        ended_at=seconds(row.ended_at_ns),
        seconds=row.audio_seconds or (row.ended_at_ns - row.answered_at_ns) / 1e9,
        channels=row.channels,
        film=row.film,
        frames=row.frames,
        state=row.state,
        reviewed_at=seconds(row.reviewed_at_ns) if row.reviewed_at_ns is not None else None,
        expires_at=seconds(row.expires_at_ns),
        may_review=visitor.is_(Role.TRAINER) and row.reviewer == visitor.person.id,
        own=row.owner == visitor.person.id,
    )


def mark_reviewed(console: Console, visitor: Visitor, recording_id: str) -> None:
    """Frees a slot of the enrolment's backlog (R5). Raises AccessError, JournalError, NotReadyError."""
    row = reachable(console, visitor, recording_id, "review")
    if row.reviewer != visitor.person.id:
        raise denied(console, visitor, "review", recording_id)
    if row.state == "finishing":
        raise NotReadyError("the recording is not ready yet")
    if row.reviewed_at_ns is not None:
        return
    console.journal("reviewed", visitor.person, recording=recording_id)
    console.parts.register.recordings.mark_reviewed(recording_id, visitor.person.id, console.parts.now_ns())
    console.parts.policy_changed()


def erase(console: Console, visitor: Visitor, recording_id: str) -> None:
    """Destroy its key and all that it opened, for good (R15, GDPR 17); nobody is asked why. Frees a slot as well.

    Journalled first. Raises AccessError, JournalError, NotReadyError; StoreError when the disk refuses: ask again.
    """
    row = reachable(console, visitor, recording_id, "erase")
    if row.state == "finishing":
        raise NotReadyError("the recording is not ready yet")
    console.journal("recording-erased", visitor.person, recording=recording_id)
    console.parts.vault.destroy(recording_id)
    console.parts.register.recordings.remove(recording_id)
    console.parts.policy_changed()


# --- viewings -----------------------------------------------------------------------------------------------------


def open_viewing(console: Console, visitor: Visitor, recording_id: str, ask: models.Ask) -> models.Viewing:
    """Journal first, durably; then the consultation; only then a token (R7).

    Raises AccessError, FieldError, RuleError (another purpose: R8, journalled), NotReadyError, ErasedError,
    JournalError: nothing plays.
    """
    row = reachable(console, visitor, recording_id, ask.kind.value)
    if ask.purpose != "training":
        console.journal_after("denied", visitor.person, tried="purpose", recording=recording_id)
        console.counters.denied.inc()
        raise RuleError("training is the only purpose for which a recording can be opened (R8)")
    reason = _CONTROL.sub(" ", ask.reason).strip()
    if not SHORTEST_REASON <= len(reason) <= LONGEST_REASON:
        raise FieldError("reason", "write in 3 to 500 characters why you open this recording", "reason.short")
    if row.state != "ready":
        raise NotReadyError("the recording is not ready yet")
    digest = _reason_digest(console, recording_id, reason)
    console.journal("viewing", visitor.person, recording=recording_id, means=ask.kind.value, reason=digest)
    now = console.parts.now_ns()
    console.parts.register.consultations.add(recording_id, visitor.person.id, reason, now)
    console.counters.viewings.labels(ask.kind.value).inc()
    token, expires = console.viewings.issue(Claim(recording_id, ask.kind, visitor.session), now)
    route = "export" if ask.kind is Kind.EXPORT else "media"
    return models.Viewing(
        viewing=token,
        kind=ask.kind,
        expires_at=expires,
        media=f"/api/v1/recordings/{recording_id}/{route}?viewing={token}",
    )


def _reason_digest(console: Console, recording_id: str, reason: str) -> str:
    """What stands in the journal for the reason: comparable with the text while the recording lives, and keyed with
    the recording's own key, so that erasing the recording leaves digits without a meaning."""
    key = hmac.digest(console.parts.vault.keys(recording_id).data_key, b"sipgate reason v1", hashlib.sha256)
    return hmac.digest(key, reason.encode(), hashlib.sha256).hex()[:32]


# --- excluded lines -----------------------------------------------------------------------------------------------


def excluded_lines(console: Console, visitor: Visitor, file: FileLines) -> models.ExcludedLines:
    """The console's list and the file's; ``warnings`` are the file's."""
    rows = console.parts.register.exclusions.all()
    name = _names(console)
    warnings = [warning for row in file.lines for warning in row.warnings]
    return models.ExcludedLines(
        console=[_excluded(row, visitor, name) for row in rows],
        file=[models.FileRow(line=row.text, note=row.note) for row in file.lines],
        file_error=file.error,
        warnings=warnings,
    )


def _excluded(row: ExclusionRow, visitor: Visitor, name: Callable[[int], str]) -> models.ExcludedLine:
    asked = row.removal_requested_by
    return models.ExcludedLine(
        id=row.id,
        line=row.text,
        added_at=seconds(row.added_at_ns),
        added_by=name(row.added_by) if row.added_by is not None else "sipgate",
        removal_requested_by=name(asked) if asked is not None else None,
        may_confirm=asked is not None and asked != visitor.person.id,
    )


def exclude(console: Console, visitor: Visitor, line: str) -> bool:
    """Exclude every identity of one line, separated by commas: all of them or none; in force when this returns, on
    calls under way too. True when the line is known by one identity alone, which deserves a second look (R12).

    Raises FieldError. A journal that cannot be written does not hinder it.
    """
    identities = [part.strip() for part in line.split(",") if part.strip()]
    if not identities:
        raise FieldError("line", "write the line's numbers or SIP addresses, separated by commas", "lines.empty")
    try:
        selectors = [parse_selector(text, console.parts.site.country) for text in identities]
    except LineSyntaxError as error:
        raise FieldError("line", str(error), "lines.syntax") from error
    for text in identities:
        row = console.parts.register.exclusions.exclude(text, visitor.person.id, console.parts.now_ns())
        console.journal_after("exclusion-added", visitor.person, exclusion=row.id)
    console.parts.policy_changed()
    return len(selectors) == 1 and isinstance(selectors[0], Number | Address)


def request_removal(console: Console, visitor: Visitor, exclusion: int) -> None:
    """The line stays excluded until a second person confirms. Raises AccessError, RuleError, JournalError."""
    _exclusion(console, exclusion)
    console.journal("exclusion-removal-requested", visitor.person, exclusion=exclusion)
    console.parts.register.exclusions.request_removal(exclusion, visitor.person.id, console.parts.now_ns())


def confirm_removal(console: Console, visitor: Visitor, exclusion: int) -> None:
    """Removes. Raises AccessError, RuleError (the same person), JournalError: the line stays excluded."""
    row = _exclusion(console, exclusion)
    if row.removal_requested_by is None:
        raise RuleError("nobody has requested the removal of this line: request it first (R12)")
    if row.removal_requested_by == visitor.person.id:
        raise RuleError("another person than the one who asked for it has to confirm the removal (R12)")
    console.journal("exclusion-removed", visitor.person, exclusion=exclusion)
    console.parts.register.exclusions.confirm_removal(exclusion, visitor.person.id, console.parts.now_ns())
    console.parts.policy_changed()


def _exclusion(console: Console, exclusion: int) -> ExclusionRow:
    for row in console.parts.register.exclusions.all():
        if row.id == exclusion:
            return row
    raise AccessError("Not found")


# --- notice -------------------------------------------------------------------------------------------------------


def notice(console: Console, visitor: Visitor) -> models.Notice | None:
    """The notice in force, and whether the visitor has acknowledged it."""
    current = console.parts.register.notices.current()
    if current is None:
        return None
    return models.Notice(
        version=current.version,
        text=current.text,
        published_at=seconds(current.published_at_ns),
        acknowledged=console.parts.register.notices.acknowledged(visitor.person.id),
    )


def acknowledge(console: Console, visitor: Visitor, version: int) -> None:
    """A condition of recording (R9). Raises RuleError for any but the current version, JournalError."""
    current = console.parts.register.notices.current()
    if current is None or current.version != version:
        raise RuleError("this is not the version in force: read the current notice (R9)")
    console.journal("notice-acknowledged", visitor.person, version=version)
    console.parts.register.notices.acknowledge(visitor.person.id, version, console.parts.now_ns())
    console.parts.policy_changed()
