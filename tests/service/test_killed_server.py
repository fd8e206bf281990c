"""kill -9 of the server: what was permitted is finished from what was sealed, what nobody claims is erased."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from deploy.demo.programs import DemoError, wait_until
from sipgate.phones.recording_client import OngoingCall
from tests.peers.recording_client import needs_pjsua2
from tests.peers.speech import Dialogue, compare, read_wav
from tests.service.company import Company, read_sound, recording_company

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def killable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with ExitStack() as stack:
        yield recording_company(tmp_path_factory.mktemp("killed"), stack)


@pytest.fixture
def killed(killable: Company) -> Iterator[Company]:
    """A company whose server each test kills and starts again."""
    yield killable
    assert killable.server is not None
    try:
        killable.server.check()
    except DemoError:
        killable.serve()


def _kill(company: Company) -> None:
    assert company.server is not None
    company.server.kill()


def _sound_of(company: Company, recording: str) -> Path:
    return company.folder / "data" / "media" / recording / "audio.sealed"


def _as_after_any_call(company: Company) -> None:
    company.until_idle()
    company.verify()


@needs_pjsua2
@pytest.mark.parametrize("gently", [False, True], ids=["kill -9", "SIGTERM"])
def test_in_mid_call_the_recording_is_finished_and_lacks_a_second_at_most(
    killed: Company, long_spoken: Dialogue, export: Path, *, gently: bool
) -> None:
    before = killed.kept()
    assert killed.server is not None
    with OngoingCall(killed.call(long_spoken)) as ongoing:
        (recording,) = killed.kept() - before
        wait_until(lambda: _sound_of(killed, recording).stat().st_size > 40_000, "sound on the disk", 15.0)
        assert ongoing.answered_at_ns is not None
        lived = (time.time_ns() - ongoing.answered_at_ns) / 1e9
        if gently:
            killed.server.stop()
        else:
            killed.server.kill()
        assert killed.ledger() == {recording}
        killed.serve()
        row = killed.new_recording(before)
    assert row["recording"] == recording
    assert lived - 1.0 <= row["seconds"] <= lived + (1.0 if gently else 0.3)
    killed.export(recording, export)
    for heard, said in zip(read_sound(export), (long_spoken.caller, long_spoken.callee), strict=True):
        assert compare(heard, read_wav(said)[: heard.size])[1] > 0.8
    _as_after_any_call(killed)


@needs_pjsua2
def test_between_the_hangup_and_the_index_the_recording_is_whole(killed: Company, spoken: Dialogue) -> None:
    before = killed.kept()
    with OngoingCall(killed.call(spoken)) as ongoing:
        (recording,) = killed.kept() - before
        assert killed.server is not None
        with _stopped(_children(killed.server.process_id)):
            report = ongoing.wait()
            wait_until(_sound_of(killed, recording).with_name("metadata.sealed").exists, "the end on the disk", 5.0)
            killed.server.kill()
    assert killed.ledger() == {recording}
    killed.serve()
    row = killed.new_recording(before)
    assert report.answered_at_ns is not None
    assert report.hung_up_at_ns is not None
    assert abs(row["seconds"] - (report.hung_up_at_ns - report.answered_at_ns) / 1e9) < 0.05
    assert sum(entry["fields"].get("recording") == recording for entry in killed.journal()) == 1
    _as_after_any_call(killed)


def test_right_after_the_answer_nothing_remains(killed: Company) -> None:
    before, about_calls = killed.kept(), killed.about_calls()
    opened = killed.open_session()
    assert opened.answer.status == 200
    _kill(killed)
    opened.close()
    killed.serve()
    killed.until_idle()
    assert killed.kept() == before
    assert killed.about_calls() == about_calls


def test_a_key_that_nobody_claims_is_erased(killed: Company) -> None:
    """As a kill between the key and the ledger's entry leaves it."""
    before = killed.kept()
    opened = killed.open_session()
    _kill(killed)
    opened.close()
    (recording,) = killed.kept() - before
    (killed.folder / "data" / "ledger" / f"{recording}.entry").unlink(missing_ok=True)
    killed.serve()
    assert killed.kept() == before


def test_no_process_of_a_killed_server_stays_behind(killed: Company) -> None:
    killed.offer()
    killed.until_idle()
    assert killed.server is not None
    children = _children(killed.server.process_id)
    assert children, "the worker that makes the recordings"
    _kill(killed)
    wait_until(lambda: not any(_lives(child) for child in children), "the end of its children", 5.0)
    killed.serve()


def test_a_second_server_on_the_same_store_is_refused_and_harms_no_call_under_way(killed: Company) -> None:
    before = killed.kept()
    opened = killed.open_session()
    opened.speak(0, 0.1)
    with pytest.raises(DemoError, match="another `sipgate serve`"):
        killed.command("serve")
    opened.hang_up()
    assert len(killed.kept() - before) == 1
    killed.new_recording(before)
    _as_after_any_call(killed)


def _children(parent: int) -> list[int]:
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                status = Path(entry.path, "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            if int(status[1]) == parent:
                found.append(int(entry.name))
    return found


@contextmanager
def _stopped(processes: list[int]) -> Iterator[None]:
    """The worker that makes the recording stands still."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def _lives(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state not in "ZX"
