"""After the call, with a real vault, register and journal; only the making of the WebM waits for the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from sipgate.core.events import Event, Kept
from sipgate.errors import ErasedError, JournalError, StoreError
from sipgate.media.finish import Finished, FinishJob
from sipgate.register.rows import RecordingRow
from sipgate.service.clock import SteadyClock
from sipgate.service.ended import EndedCall
from sipgate.service.finishing import WEBM, Finishing
from sipgate.service.recovery import recover
from sipgate.vault.vault import new_recording
from tests.console.site import SECOND, Site

DESK = "desk-1"


class HeldWorkers(Executor):
    """Jobs that the test finishes."""

    def __init__(self) -> None:
        self.jobs: list[FinishJob] = []
        self._results: list[Future[Any]] = []

    def submit(self, _work: Callable[..., Any], /, *arguments: Any, **_: Any) -> Future[Any]:
        (job,) = arguments
        self.jobs.append(job)
        self._results.append(Future())
        self._results[-1].set_running_or_notify_cancel()
        return self._results[-1]

    def done(self, number: int = -1, frames: int = 0, *, film_refused: bool = False) -> None:
        job = self.jobs[number]
        job.output.write_bytes(b"")
        self._results[number].set_result(self._finished(frames, film_refused))

    @staticmethod
    def _finished(frames: int, film_refused: bool) -> Finished:
        return Finished(3.0, 2, frames, None, None, (0, 0), film_complete=True, film_refused=film_refused)

    def failed(self, error: Exception) -> None:
        self._results[-1].set_exception(error)


class Afterwards:
    """Finishing at work."""

    def __init__(self, site: Site) -> None:
        self.site, self.workers = site, HeldWorkers()
        self.said: list[Event] = []
        self.policies = 0
        self.finishing = Finishing(
            SteadyClock(), site.vault, site.register, site.journal, self.workers, 90, self._policy, self.said.append
        )

    def _policy(self) -> None:
        self.policies += 1

    def call(self, workstation: str | None = None, ended: bool = True) -> EndedCall:
        recording, now = new_recording(), self.site.clock()
        self.site.vault.create(recording)
        owner, enrolment = self.site.people["tom"].id, self.site.enrolments["tom"].id
        answered_at, ended_at, story = now - 3 * SECOND, now if ended else None, new_recording()
        call = EndedCall(recording, owner, enrolment, workstation, answered_at, ended_at, story)
        self.site.vault.ledger_put(recording, call.entry())
        return call

    def part(self, call: EndedCall) -> None:
        """A take that is whole arrives."""
        take = self.site.vault.folder(call.recording) / "film" / new_recording()
        take.mkdir(parents=True)
        (take / "000000.seg").write_bytes(b"sealed")
        (take / "end.json").write_text('{"segments": 1}')
        self.finishing.part_arrived(call.recording)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():
                await asyncio.sleep(0.005)

    async def making(self, jobs: int = 1) -> None:
        await self.until(lambda: len(self.workers.jobs) == jobs)

    def kept(self) -> list[dict[str, Any]]:
        return self.site.journalled("recording-kept")

    def erased(self) -> list[dict[str, Any]]:
        return self.site.journalled("recording-erased")

    async def one_kept(self) -> EndedCall:
        call = self.call()
        self.finishing.finish(call)
        await self.making()
        self.workers.done()
        await self.finishing.settle()
        assert self.site.register.recordings.get(call.recording) is not None
        return call

    def nothing_of(self, call: EndedCall) -> None:
        assert self.site.register.recordings.get(call.recording) is None
        assert self.kept() == []
        assert self.said == []
        assert self.finishing.failures == 0


@pytest.fixture
def after(site: Site) -> Afterwards:
    return Afterwards(site)


async def test_nothing_is_journalled_or_indexed_before_the_webm_stands(after: Afterwards) -> None:
    call = after.call()
    after.finishing.finish(call)
    await after.making()
    after.nothing_of(call)
    after.workers.done()
    await after.finishing.settle()
    assert [entry["recording"] for entry in after.kept()] == [call.recording]
    row = after.site.register.recordings.get(call.recording)
    assert row is not None
    assert (row.state, row.answered_at_ns, row.ended_at_ns) == ("ready", call.answered_at_ns, call.ended_at_ns)
    assert [event.recording for event in after.said if isinstance(event, Kept)] == [call.recording]
    assert after.policies == 1
    assert after.site.vault.ledger() == {}


async def test_recordings_kept_in_one_moment_share_a_policy_that_counts_all_of_them(after: Afterwards) -> None:
    calls = [after.call() for _ in range(6)]
    indexed: list[int] = []
    after.finishing._policy_changed = lambda: indexed.append(
        sum(after.site.register.recordings.get(call.recording) is not None for call in calls)
    )
    for call in calls:
        after.finishing.finish(call)
    await after.making(len(calls))
    for number in range(len(calls)):
        after.workers.done(number)
    await after.finishing.settle()
    assert sum(isinstance(event, Kept) for event in after.said) == len(calls)
    assert indexed[-1] == len(calls)
    assert len(indexed) < len(calls)


async def test_erased_while_it_is_made_leaves_nothing(after: Afterwards) -> None:
    call = after.call()
    after.finishing.finish(call)
    await after.making()
    after.finishing.forget(call.recording)
    after.workers.done()
    after.site.vault.destroy(call.recording)
    await after.finishing.settle()
    after.nothing_of(call)


async def test_erased_while_it_is_being_entered_it_does_not_come_into_the_index(after: Afterwards) -> None:
    call = after.call()
    after.finishing.expect(call)
    after.finishing.forget(call.recording)
    assert call.ended_at_ns is not None
    with pytest.raises(ErasedError):
        after.finishing._keep(call, call.ended_at_ns, Finished(3.0, 2, 0, None, None, (0, 0), film_complete=True))
    after.nothing_of(call)


async def test_what_its_owner_has_erased_while_it_is_made_again_does_not_come_back(after: Afterwards) -> None:
    call = after.call(DESK)
    after.finishing.finish(call)
    after.part(call)
    await after.making()
    after.workers.done(frames=10)
    await after.until(lambda: bool(after.kept()) and not after.finishing._tasks)
    after.part(call)
    await after.making(2)
    after.workers.done(frames=30)
    after.site.vault.destroy(call.recording)
    after.site.register.recordings.remove(call.recording)
    await after.finishing.settle()
    assert after.site.register.recordings.get(call.recording) is None
    assert len(after.kept()) == 1


async def test_erased_just_before_it_is_made_leaves_nothing(after: Afterwards) -> None:
    call = after.call()
    after.site.vault.destroy(call.recording)
    after.finishing.finish(call)
    await after.finishing.settle()
    after.nothing_of(call)
    assert after.workers.jobs == []


async def test_a_worker_that_finds_it_erased_is_no_failure(after: Afterwards) -> None:
    call = after.call()
    after.finishing.finish(call)
    await after.making()
    after.site.vault.destroy(call.recording)
    after.workers.failed(ErasedError("gone"))
    await after.finishing.settle()
    after.nothing_of(call)


async def test_erased_after_it_was_kept_it_leaves_the_index(after: Afterwards) -> None:
    call = after.call()
    after.finishing.finish(call)
    await after.making()
    after.workers.done()
    await after.finishing.settle()
    after.finishing.forget(call.recording)
    await after.until(lambda: bool(after.erased()))
    assert after.site.register.recordings.get(call.recording) is None
    assert [entry["recording"] for entry in after.erased()] == [call.recording]


async def test_while_the_register_is_locked_the_loop_goes_on_and_the_row_leaves_later(
    after: Afterwards, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await after.one_kept()
    recordings, loops_thread = after.site.register.recordings, threading.get_ident()
    tried: list[int] = []

    def remove(recording: str) -> None:
        tried.append(threading.get_ident())
        if len(tried) == 1:
            raise OperationalError("DELETE", {}, Exception("database is locked"))
        type(recordings).remove(recordings, recording)

    monkeypatch.setattr(recordings, "remove", remove)
    after.finishing.forget(call.recording)
    assert tried == [], "nothing waits for SQL in the loop"
    await after.until(lambda: bool(after.erased()))
    assert len(tried) == 2
    assert loops_thread not in tried
    assert recordings.get(call.recording) is None


async def test_a_journal_that_cannot_be_written_keeps_no_row_and_hears_of_it_later(
    after: Afterwards, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await after.one_kept()
    journal = after.site.journal
    failing = [True, True]

    def append(*words: Any, **fields: Any) -> None:
        if failing:
            failing.pop()
            raise JournalError("read-only")
        type(journal).append(journal, *words, **fields)

    monkeypatch.setattr(journal, "append", append)
    after.finishing.forget(call.recording)
    await after.until(lambda: len(failing) == 1)
    assert after.site.register.recordings.get(call.recording) is None
    await after.until(lambda: bool(after.erased()))
    assert len(after.erased()) == 1


async def test_what_was_never_kept_is_never_journalled_as_erased(after: Afterwards) -> None:
    call = after.call()
    after.finishing.finish(call)
    await after.making()
    after.finishing.forget(call.recording)
    after.site.vault.destroy(call.recording)
    await after.finishing.settle()
    after.nothing_of(call)
    assert after.erased() == []


async def test_a_row_whose_erasure_a_crash_cut_off_is_found_at_the_next_start(after: Afterwards) -> None:
    call = await after.one_kept()
    after.site.vault.destroy(call.recording)
    assert recover(after.site.vault, after.site.register).keyless == (call.recording,)


async def test_a_film_is_waited_for(after: Afterwards) -> None:
    call = after.call(DESK)
    after.finishing.finish(call)
    await asyncio.sleep(0)
    assert after.workers.jobs == []
    after.part(call)
    await after.making()
    after.workers.done(frames=30)
    await after.finishing.settle()
    row = after.site.register.recordings.get(call.recording)
    assert row is not None
    assert row.film
    assert list(after.site.vault.ledger()) == [call.recording], "later parts may still come"


async def test_a_part_that_arrives_while_it_is_made_is_made_into_it(after: Afterwards) -> None:
    call = after.call(DESK)
    after.finishing.finish(call)
    after.part(call)
    await after.making()
    after.part(call)
    after.workers.done(frames=10)
    await after.making(2)
    after.workers.done(frames=30)
    await after.finishing.settle()
    row = after.site.register.recordings.get(call.recording)
    assert row is not None
    assert row.frames == 30
    assert len(after.kept()) == 1


async def test_a_part_that_arrives_afterwards_is_made_into_it(after: Afterwards) -> None:
    call = after.call(DESK)
    after.finishing.finish(call)
    after.part(call)
    await after.making()
    after.workers.done(frames=10)
    await after.finishing.settle()
    after.part(call)
    await after.making(2)
    after.workers.done(frames=30)
    await after.finishing.settle()
    row = after.site.register.recordings.get(call.recording)
    assert row is not None
    assert row.frames == 30
    assert len(after.kept()) == 1


async def test_a_film_that_cannot_be_joined_costs_only_the_film_and_is_said(
    after: Afterwards, capsys: pytest.CaptureFixture[str]
) -> None:
    call = after.call(DESK)
    after.finishing.finish(call)
    after.part(call)
    await after.making()
    after.workers.done(film_refused=True)
    await after.finishing.settle()
    row = after.site.register.recordings.get(call.recording)
    assert row is not None
    assert not row.film
    assert "kept without it" in capsys.readouterr().out


@pytest.mark.parametrize("error", [OSError(5, "I/O error"), BrokenProcessPool("died")])
async def test_whatever_fails_a_recording_it_is_tried_again(
    after: Afterwards, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    call = after.call()
    after.finishing.finish(call)
    await after.making()
    after.workers.failed(error)
    await after.finishing.settle()
    assert after.finishing.failures == after.finishing.unfinished == 1
    assert "tried again" in capsys.readouterr().out


async def test_a_locked_register_fails_it_and_it_is_journalled_as_kept_once(
    after: Afterwards, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = after.call()
    with monkeypatch.context() as broken:
        broken.setattr(after.site.register.recordings, "add", _locked)
        after.finishing.finish(call)
        await after.making()
        after.workers.done()
        await after.finishing.settle()
    assert after.finishing.unfinished == 1
    assert call.recording not in capsys.readouterr().out
    after.finishing.retry()
    await after.making(2)
    after.workers.done()
    await after.finishing.settle()
    assert after.finishing.unfinished == 0
    assert len(after.kept()) == 1


def _locked(row: RecordingRow) -> None:
    raise OperationalError("INSERT", {"recording": row.recording}, Exception("database is locked"))


async def test_a_failure_is_counted_and_tried_again(after: Afterwards, capsys: pytest.CaptureFixture[str]) -> None:
    call = after.call()
    after.finishing.finish(call)
    await after.making()
    after.workers.failed(StoreError("disk full"))
    await after.finishing.settle()
    assert after.finishing.failures == 1
    assert "disk full" in capsys.readouterr().out
    assert list(after.site.vault.ledger()) == [call.recording]
    assert after.kept() == []
    assert not (after.site.vault.folder(call.recording) / WEBM).exists()
    assert after.finishing.unfinished == 1
    after.finishing.retry()
    await after.making(2)
    after.workers.done()
    await after.finishing.settle()
    assert after.finishing.unfinished == 0
    assert len(after.kept()) == 1


async def test_when_the_service_stops_what_waits_for_film_is_left_to_the_next_start(after: Afterwards) -> None:
    call = after.call(DESK)
    after.finishing.finish(call)
    await after.until(lambda: bool(after.finishing._waiting))
    async with asyncio.timeout(1):
        await after.finishing.settle()
    after.nothing_of(call)
    assert list(after.site.vault.ledger()) == [call.recording]


async def test_a_story_told_anew_before_and_after_the_recording_is_indexed(after: Afterwards) -> None:
    call = after.call()
    after.finishing.finish(call)
    await after.making()
    after.finishing.retell(call.recording, "b" * 32)
    await after.until(lambda: not after.finishing._retelling)
    after.workers.done()
    await after.finishing.settle()
    row = after.site.register.recordings.get(call.recording)
    assert row is not None
    assert row.story == "b" * 32
    after.finishing.retell(call.recording, "c" * 32)
    await after.finishing.settle()
    row = after.site.register.recordings.get(call.recording)
    assert row is not None
    assert row.story == "c" * 32


async def test_an_erased_recordings_story_is_told_to_nobody(after: Afterwards) -> None:
    call = await after.one_kept()
    after.finishing.forget(call.recording)
    await after.finishing.settle()
    after.finishing.retell(call.recording, "b" * 32)
    await after.finishing.settle()
    assert after.site.register.recordings.get(call.recording) is None
    assert after.finishing._retold == {}


async def test_after_a_crash_the_ledger_tells_the_story(after: Afterwards) -> None:
    call = after.call()
    assert recover(after.site.vault, after.site.register).unfinished == (call,)
    entry = {name: value for name, value in call.entry().items() if name != "story"}
    after.site.vault.ledger_put(call.recording, entry)
    (found,) = recover(after.site.vault, after.site.register).unfinished
    assert found.story == call.recording, "an entry of before there were stories"
