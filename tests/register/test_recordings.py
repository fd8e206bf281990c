"""Who sees which recording, what is left to review, and how long any of it stays."""

from __future__ import annotations

from typing import Any

import pytest

from sipgate.errors import AccessError, RegisterError, RuleError
from sipgate.register.rows import Consultation, Person, Role
from tests.register.site import DAY, NOW, Site

A, B, C = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture
def kept(site: Site) -> Site:
    """A is the trainee's, B the other trainee's, C the trainee's under the other trainer."""
    mine = site.sound("2000-2999").id
    others = site.sound("3000-3999", reviewer=site.other_trainer).id
    site.recording(A, mine)
    site.recording(B, mine, owner=site.other_trainee, answered_at_ns=NOW + 1)
    site.recording(C, others, reviewer=site.other_trainer, answered_at_ns=NOW + 2)
    return site


def seen_by(site: Site, person: int) -> list[str]:
    return [row.recording for row in site.register.recordings.for_viewer(site.register.people.get(person))]


def test_a_trainee_sees_their_own_a_trainer_what_they_review_newest_first(kept: Site) -> None:
    assert seen_by(kept, kept.trainee) == [C, A]
    assert seen_by(kept, kept.other_trainee) == [B]
    assert seen_by(kept, kept.trainer) == [B, A]
    assert seen_by(kept, kept.other_trainer) == [C]


def test_administrators_and_the_dpo_see_none(kept: Site) -> None:
    assert seen_by(kept, kept.admin) == seen_by(kept, kept.dpo) == []


def test_an_administrator_sees_none_even_with_roles_that_the_register_never_gives(kept: Site) -> None:
    forged = Person(kept.trainee, "x", "X", frozenset({Role.TELEPHONY_ADMIN, Role.TRAINEE, Role.TRAINER}))
    assert kept.register.recordings.for_viewer(forged) == ()
    with pytest.raises(AccessError):
        kept.register.recordings.visible(A, forged)


def test_anothers_recording_and_none_at_all_are_told_alike(kept: Site) -> None:
    trainee = kept.register.people.get(kept.trainee)
    assert kept.register.recordings.visible(A, trainee).recording == A
    messages = set()
    for recording in (B, "f" * 32, ""):
        with pytest.raises(AccessError) as found:
            kept.register.recordings.visible(recording, trainee)
        messages.add(str(found.value))
    assert len(messages) == 1


# --- the index -------------------------------------------------------------------------------------------------------


def test_a_row_comes_back_as_it_was_given(kept: Site) -> None:
    row = kept.recording("d" * 32, 1, film=True, frames=77, state="finishing", audio_seconds=61.25)
    assert kept.register.recordings.get("d" * 32) == row
    assert kept.register.recordings.get("e" * 32) is None
    assert len(kept.register.recordings.all()) == 4
    with pytest.raises(RegisterError, match="already"):
        kept.register.recordings.add(row)


def test_what_is_known_later_is_filled_in_and_whose_it_is_never_changes(kept: Site) -> None:
    kept.register.recordings.update(A, frames=12, film=True, state="failed", audio_seconds=3.5)
    row = kept.register.recordings.get(A)
    assert row is not None
    assert (row.frames, row.film, row.state, row.audio_seconds) == (12, True, "failed", 3.5)
    changes: list[dict[str, Any]] = [
        {"owner": 4},
        {"reviewer": 2},
        {"enrolment": 2},
        {"reviewed_at_ns": 1},
        {"score": 1},
    ]
    for change in changes:
        with pytest.raises(RegisterError, match="only these change"):
            kept.register.recordings.update(A, **change)
    with pytest.raises(RegisterError, match="not in the register"):
        kept.register.recordings.update("e" * 32, frames=1)


def test_no_row_outlives_six_months_and_none_can_be_prolonged_beyond(kept: Site) -> None:
    with pytest.raises(RuleError, match="R14"):
        kept.recording("d" * 32, 1, expires_at_ns=NOW + 183 * DAY + 1)
    kept.recording("d" * 32, 1, expires_at_ns=NOW + 183 * DAY)
    with pytest.raises(RuleError, match="R14"):
        kept.register.recordings.update(A, expires_at_ns=NOW + 5 * 365 * DAY)
    row = kept.register.recordings.get(A)
    assert row is not None
    assert row.expires_at_ns == NOW + 90 * DAY


def test_a_removed_recording_leaves_no_row_of_it(kept: Site) -> None:
    kept.register.consultations.add(A, kept.trainee, "training", NOW)
    kept.register.recordings.remove(A)
    kept.register.recordings.remove(A)
    assert kept.register.recordings.get(A) is None
    assert kept.register.consultations.of(A) == ()


# --- R5: the backlog -------------------------------------------------------------------------------------------------


def backlog(site: Site, enrolment: int = 1) -> int:
    return site.register.enrolments.get(enrolment).backlog


def test_a_recording_waits_until_its_reviewer_has_analysed_it(kept: Site) -> None:
    assert backlog(kept) == 2
    kept.register.recordings.mark_reviewed(A, kept.trainer, NOW + 5)
    kept.register.recordings.mark_reviewed(A, kept.trainer, NOW + 9)
    row = kept.register.recordings.get(A)
    assert row is not None
    assert row.reviewed_at_ns == NOW + 5
    assert backlog(kept) == 1
    kept.register.recordings.remove(B)
    assert backlog(kept) == 0


def test_one_still_being_finished_counts_and_one_that_failed_does_not(kept: Site) -> None:
    kept.register.recordings.update(A, state="finishing")
    assert backlog(kept) == 2
    kept.register.recordings.update(A, state="failed")
    assert backlog(kept) == 1


def test_nobody_else_marks_it_reviewed(kept: Site) -> None:
    for person in (kept.other_trainer, kept.trainee, kept.admin, kept.dpo):
        with pytest.raises(AccessError):
            kept.register.recordings.mark_reviewed(A, person, NOW)
    with pytest.raises(AccessError):
        kept.register.recordings.mark_reviewed("e" * 32, kept.trainer, NOW)
    assert backlog(kept) == 2


def test_of_one_story_everybody_sees_what_they_may_see_anyway(kept: Site) -> None:
    for name in (A, B):
        kept.register.recordings.update(name, story="f" * 32)
    recordings = kept.register.recordings
    for person in map(kept.register.people.get, (kept.trainee, kept.trainer, kept.other_trainee, kept.admin, kept.dpo)):
        expected = [row for row in recordings.for_viewer(person) if row.story == "f" * 32]
        assert list(recordings.for_viewer(person, story="f" * 32)) == expected
        assert recordings.for_viewer(person, story="e" * 32) == ()
    assert recordings.for_viewer(kept.register.people.get(kept.trainee), story="f" * 32)


# --- R7: consultations -----------------------------------------------------------------------------------------------


def test_a_viewing_is_noted_with_its_reason(kept: Site) -> None:
    kept.register.consultations.add(A, kept.trainer, " review of the greeting ", NOW)
    kept.register.consultations.add(A, kept.trainee, "my own training", NOW + 1)
    assert kept.register.consultations.of(A) == (
        Consultation(kept.trainer, "review of the greeting", NOW),
        Consultation(kept.trainee, "my own training", NOW + 1),
    )
    assert kept.register.consultations.of(B) == ()


def test_a_viewing_without_a_reason_or_without_the_right_is_refused(kept: Site) -> None:
    with pytest.raises(RuleError, match="R7"):
        kept.register.consultations.add(A, kept.trainer, " ", NOW)
    for person in (kept.other_trainee, kept.other_trainer, kept.admin, kept.dpo):
        with pytest.raises(AccessError):
            kept.register.consultations.add(A, person, "curiosity", NOW)
    with pytest.raises(AccessError):
        kept.register.consultations.add("e" * 32, kept.trainer, "review", NOW)
