"""After the call: wait for the film, make the WebM in a worker process, journal, index.

    ended ──▶ film whole, or FILM_WAIT_SECONDS ──▶ finish_recording (worker process) ──▶ journal ──▶ index ──▶ Kept
                 ▲                                                                                      │
                 └── more of the film comes (a workstation was cut off): made again ◀── parts stay PARTS_HOURS

Nothing is journalled or indexed before the WebM stands: until then a call exists in the crash ledger alone, and an
erasure (private call, protected line) leaves no line anywhere. Where a film is expected, the sealed parts and the
ledger's entry stay for three days, so that what a workstation could not upload in time is not lost; then they go.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from sipgate.core import events as ev
from sipgate.core.retention import expires_at_ns
from sipgate.errors import ErasedError, SipgateError, StoreError
from sipgate.media.finish import Finished, FinishJob, finish_recording
from sipgate.media.frames import FILE_NAME as SOUND
from sipgate.media.frames import sealed_length_ns
from sipgate.register.register import Register
from sipgate.register.rows import RecordingRow
from sipgate.service.clock import SteadyClock
from sipgate.service.ended import EndedCall
from sipgate.vault.journal_file import Journal
from sipgate.vault.vault import Vault

log = structlog.get_logger("sipgate")

WEBM = "recording.webm.sealed"
FILM_WAIT_SECONDS = 15.0
"""How long a call's end waits for the workstation to finish its upload; later parts are added when they come."""
_ERASED, _EXPIRED = "recording-erased", "recording-expired"
PARTS_HOURS = 72
_MOMENT_SECONDS = 0.1
_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS, _LAST_DELAY_SECONDS = 0.5, 60.0, 5.0
_PARTS_NS = PARTS_HOURS * 3_600_000_000_000


def film_is_whole(folder: Path) -> bool:
    """Whether every take that has begun to arrive has its end, and every segment that the end counts."""
    takes = [take for take in (folder / "film").glob("*") if take.is_dir()]
    return bool(takes) and all(_take_is_whole(take) for take in takes)


def _take_is_whole(take: Path) -> bool:
    end = take / "end.json"
    if not end.exists():
        return False
    count = json.loads(end.read_bytes())["segments"]
    return all((take / f"{index:06d}.seg").exists() for index in range(count))


def _reason(error: Exception) -> str:
    # SQL's own words hold what stands in the row; an OSError's, whose file it was.
    return str(error) if isinstance(error, SipgateError | BrokenProcessPool) else type(error).__name__


class Finishing:
    """Runs in the event loop; the heavy work goes to ``workers``, a pool of processes."""

    def __init__(
        self,
        clock: SteadyClock,
        vault: Vault,
        register: Register,
        journal: Journal,
        workers: Executor,
        retention_days: int,
        policy_changed: Callable[[], None],
        post: Callable[[ev.Event], None],
    ) -> None:
        self._clock, self._vault, self._register, self._journal = clock, vault, register, journal
        self._workers, self._retention_days = workers, retention_days
        self._policy_changed, self._post = policy_changed, post
        self._calls: dict[str, EndedCall] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._arrived: dict[str, asyncio.Event] = {}
        self._waiting: set[str] = set()
        self._again: set[str] = set()
        self._failed: dict[str, EndedCall] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._said_kept: set[str] = set()  # in the journal, and not yet, or no longer, in the index
        self._retold: dict[str, str] = {}  # stories of what is not in the index yet
        self._retelling: set[asyncio.Task[None]] = set()
        self._index = threading.Lock()  # an erasure and the line that says "kept" exclude each other
        self._counting: asyncio.Task[None] | None = None
        self.failures = 0

    def expect(self, call: EndedCall) -> None:
        """The call has ended: its film may still be uploaded. ``finish`` follows when its sound is on the disk."""
        self._calls[call.recording] = call

    def finish(self, call: EndedCall) -> None:
        """Keep this call's recording; again when more of its film has come."""
        if call.recording in self._tasks or call.recording in self._leaving:
            return
        self._calls[call.recording] = call
        self._arrived[call.recording] = asyncio.Event()
        self._tasks[call.recording] = asyncio.create_task(self._finish(call), name="finishing")

    def part_arrived(self, recording: str) -> None:
        """The end of a take was uploaded (loop's thread)."""
        call = self._calls.get(recording)
        if recording in self._arrived:
            self._arrived[recording].set()
        elif recording in self._tasks:
            self._again.add(recording)
        elif call is not None and self._register.recordings.get(recording) is not None:
            self.finish(call)

    def filmed_by(self, recording: str) -> str | None:
        """The workstation whose film of this ended call may still arrive. Any thread."""
        call = self._calls.get(recording)
        return call.workstation if call is not None else None

    def retell(self, recording: str, story: str) -> None:
        """It belongs to another story. The loop's thread; does not block."""
        task = asyncio.create_task(asyncio.to_thread(self._retell, recording, story), name="retelling")
        self._retelling.add(task)
        task.add_done_callback(self._retelling.discard)

    def _retell(self, recording: str, story: str) -> None:
        try:
            with self._index:
                if self._register.recordings.get(recording) is not None:
                    self._register.recordings.update(recording, story=story)
                elif recording in self._calls:
                    self._retold[recording] = story
        except (SipgateError, SQLAlchemyError) as error:
            log.error("a recording could not be linked with the others of its story", reason=_reason(error))

    def forget(self, recording: str, *, expired: bool = False) -> None:
        """It is being erased: stop finishing it, here and now; take it out of the index, in a thread, until it is out.

        The journal says so, or that it has ``expired``, if it said that it was kept. The loop's thread; does not block.
        """
        task = self._tasks.pop(recording, None)
        if task is not None:
            task.cancel()
        self._failed.pop(recording, None)
        self._retold.pop(recording, None)
        self._again.discard(recording)
        self._calls.pop(recording, None)  # from here on ``_keep`` enters it no more
        if recording not in self._leaving:
            why = _EXPIRED if expired else _ERASED
            self._leaving[recording] = asyncio.create_task(self._leave(recording, why), name="erasing")

    async def _leave(self, recording: str, why: str) -> None:
        delay = _FIRST_DELAY_SECONDS
        try:
            while not await asyncio.to_thread(self._taken_out, recording, why, say=delay == _FIRST_DELAY_SECONDS):
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY_SECONDS)
        finally:
            self._leaving.pop(recording, None)

    def _taken_out(self, recording: str, why: str, *, say: bool) -> bool:
        try:
            with self._index:
                if self._register.recordings.get(recording) is not None:
                    self._register.recordings.remove(recording)
                    self._said_kept.add(recording)
                if recording in self._said_kept:
                    self._journal.append(why, self._clock(), recording=recording)
                    self._said_kept.discard(recording)
        except (SipgateError, SQLAlchemyError) as error:
            if say:
                text = "what was erased is still in the index or the journal; it is tried again"
                log.error(text, reason=_reason(error))
            return False
        return True

    @property
    def unfinished(self) -> int:
        """How many recordings could not be finished so far."""
        return len(self._failed)

    def retry(self) -> None:
        """Try again what could not be finished (the loop's thread)."""
        for call in self._failed.values():
            self.finish(call)

    def retire(self) -> None:
        """Drop the parts of films that had their time; what fails waits for the next time. Blocks on the disk."""
        for call in list(self._calls.values()):
            ended_at_ns = call.ended_at_ns or call.answered_at_ns
            kept = call.recording not in self._tasks and call.recording not in self._failed
            if kept and self._clock() > ended_at_ns + _PARTS_NS:
                self._retire(call)

    def _retire(self, call: EndedCall) -> None:
        try:
            self._drop_parts(call.recording)
        except ErasedError:
            pass
        except (StoreError, OSError) as error:
            log.error("what a recording no longer needs cannot be removed yet", reason=type(error).__name__)
            return
        self._calls.pop(call.recording, None)

    async def settle(self) -> None:
        """The service stops: what is being made is made; what waits for film is finished at the next start."""
        for recording in self._waiting:
            self._tasks[recording].cancel()
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        if self._retelling:
            await asyncio.wait(list(self._retelling), timeout=_LAST_DELAY_SECONDS)
        if self._leaving:  # a row without a key is taken out at the next start, too
            _, late = await asyncio.wait(list(self._leaving.values()), timeout=_LAST_DELAY_SECONDS)
            for task in late:
                task.cancel()

    async def _finish(self, call: EndedCall) -> None:
        try:
            if call.workstation is not None:
                await self._film(call.recording)
            await self._make(call)
        except ErasedError:
            self._calls.pop(call.recording, None)  # it was erased meanwhile: nothing to keep, nothing to tell
            self._failed.pop(call.recording, None)
        except (SipgateError, SQLAlchemyError, OSError, BrokenProcessPool) as error:
            self.failures += 1
            self._failed[call.recording] = call
            log.error("a recording could not be finished; it is tried again", reason=_reason(error))
        else:
            self._failed.pop(call.recording, None)
        finally:
            self._arrived.pop(call.recording, None)
            self._tasks.pop(call.recording, None)
        if call.recording in self._again:
            self._again.discard(call.recording)
            self.finish(call)

    async def _film(self, recording: str) -> None:
        folder, arrived = self._vault.folder(recording), self._arrived[recording]
        self._waiting.add(recording)
        try:
            async with asyncio.timeout(FILM_WAIT_SECONDS):
                while not film_is_whole(folder):
                    arrived.clear()
                    await arrived.wait()
        except TimeoutError:
            return
        finally:
            self._waiting.discard(recording)

    async def _make(self, call: EndedCall) -> None:
        job = await asyncio.to_thread(self._job, call)
        self._arrived.pop(call.recording, None)  # what comes from now on is not in this one: made again
        loop = asyncio.get_running_loop()
        done = await loop.run_in_executor(self._workers, finish_recording, job)
        if done.film_refused:
            log.error("a film could not be joined to its sound: the recording is kept without it")
        await asyncio.to_thread(self._keep, call, job.ended_at_ns, done)
        await self._counted()
        self._post(ev.Kept(call.recording, self._clock()))
        if call.workstation is None:
            await asyncio.to_thread(self._retire, call)

    async def _counted(self) -> None:
        """Wait until the policy in force counts what is in the index now; one serves all that are kept in a moment.

        Until ``Kept``, core counts the recording itself. Raises what ``policy_changed`` raises.
        """
        if self._counting is None:
            self._counting = asyncio.create_task(self._count(), name="counting")
        await asyncio.shield(self._counting)

    async def _count(self) -> None:
        try:
            await asyncio.sleep(_MOMENT_SECONDS)
        finally:
            self._counting = None  # what is kept from here on may come too late for this one
        await asyncio.to_thread(self._policy_changed)

    def _job(self, call: EndedCall) -> FinishJob:
        keys, folder = self._vault.keys(call.recording), self._vault.folder(call.recording)
        ended_at_ns = call.ended_at_ns
        if ended_at_ns is None:  # the server was killed during the call: it lasted as far as was sealed
            ended_at_ns = call.answered_at_ns + sealed_length_ns(folder / SOUND, keys.data_key)
            if ended_at_ns == call.answered_at_ns:
                self._vault.destroy(call.recording)
                raise ErasedError("nothing of it was recorded")
        return FinishJob(
            recording=call.recording,
            folder=folder,
            data_key=keys.data_key,
            film_private_key=keys.film_private,
            answered_at_ns=call.answered_at_ns,
            ended_at_ns=ended_at_ns,
            output=folder / WEBM,
        )

    def _keep(self, call: EndedCall, ended_at_ns: int, done: Finished) -> None:
        row = self._row(call, ended_at_ns, done)
        with self._index:
            row = replace(row, story=self._retold.pop(call.recording, row.story))
            if call.recording not in self._calls:
                raise ErasedError("erased while it was made")
            self._vault.folder(call.recording)  # ErasedError: its owner had it erased, perhaps in another process
            self._enter(row)

    def _enter(self, row: RecordingRow) -> None:
        if self._register.recordings.get(row.recording) is not None:
            self._register.recordings.update(row.recording, frames=row.frames, film=row.film)
            return
        if row.recording not in self._said_kept:
            owner = self._register.people.pseudonym(row.owner)
            self._journal.append("recording-kept", self._clock(), recording=row.recording, owner=owner)
            self._said_kept.add(row.recording)
        self._register.recordings.add(row)
        self._said_kept.discard(row.recording)

    def _drop_parts(self, recording: str) -> None:
        folder = self._vault.folder(recording)
        shutil.rmtree(folder / "film", ignore_errors=True)
        (folder / SOUND).unlink(missing_ok=True)
        self._vault.ledger_remove(recording)

    def _row(self, call: EndedCall, ended_at_ns: int, done: Finished) -> RecordingRow:
        enrolment = self._register.enrolments.get(call.enrolment)
        return RecordingRow(
            recording=call.recording,
            owner=call.owner,
            enrolment=call.enrolment,
            reviewer=enrolment.reviewer,
            answered_at_ns=call.answered_at_ns,
            ended_at_ns=ended_at_ns,
            audio_seconds=done.audio_seconds,
            channels=done.channels,
            frames=done.frames,
            film=done.frames > 0,
            state="ready",
            reviewed_at_ns=None,
            expires_at_ns=expires_at_ns(call.answered_at_ns, self._retention_days),
            story=call.story,
        )
