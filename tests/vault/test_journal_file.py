"""What append returned from is there after anything; what it raised from is not."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sipgate.core.journal import EVERY, Entry, read_line
from sipgate.errors import JournalError
from sipgate.vault import journal_file
from sipgate.vault.journal_file import Journal

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal", KEY)


def entries(journal: Journal) -> list[Entry]:
    return [entry for line in journal.lines() if isinstance(entry := read_line(line), Entry)]


def test_what_was_appended_is_read_back_in_order_and_verifies(journal: Journal) -> None:
    assert list(journal.lines()) == []
    journal.append("kept", 5, recording="ab" * 16, seconds=61)
    journal.append("played", 6, person="0123456789abcdef")
    assert [(e.number, e.kind, e.at_ns, dict(e.fields)) for e in entries(journal)] == [
        (1, "kept", 5, {"recording": "ab" * 16, "seconds": 61}),
        (2, "played", 6, {"person": "0123456789abcdef"}),
    ]
    assert journal.verify().entries == 2


def test_the_file_is_private(journal: Journal) -> None:
    journal.append("kept", 5)
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


def test_an_entry_is_on_the_disk_before_append_returns(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    journal.append("kept", 1)
    assert synced == [str(journal.path), str(journal.path.parent)], "the file, and once the folder that names it"
    journal.append("kept", 2)
    assert synced[2:] == [str(journal.path)]


def test_another_journal_object_goes_on_where_the_first_stopped(journal: Journal, tmp_path: Path) -> None:
    for number in range(EVERY + 5):
        (journal if number % 2 else Journal(tmp_path / "journal", KEY)).append("kept", number)
    assert journal.verify().entries == EVERY + 5
    assert len(list(journal.lines())) == EVERY + 6, "one checkpoint line after entry 100"


def test_a_note_kept_elsewhere_shows_that_the_end_was_cut_off(journal: Journal) -> None:
    journal.append("kept", 1)
    journal.append("played", 2)
    note = journal.checkpoint(3)
    assert journal.verify(note).entries == 2
    journal.append("played", 4)
    assert journal.verify(note).entries == 3
    lines = list(journal.lines())
    journal.path.write_bytes(b"".join(lines[:1]))
    journal.verify()
    with pytest.raises(JournalError, match="cut off: 1 entries, where the checkpoint signs 2"):
        journal.verify(note)


def test_entries_that_vanish_while_the_service_runs_stop_the_journal(journal: Journal) -> None:
    journal.append("kept", 1)
    journal.append("played", 2)
    journal.path.write_bytes(next(journal.lines()))
    with pytest.raises(JournalError, match="entries vanished"):
        journal.append("played", 3)


def test_threads_may_append_at_once(journal: Journal) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: journal.append("kept", number), range(40)))
    assert journal.verify().entries == 40
    assert sorted(e.at_ns for e in entries(journal)) == list(range(40))


_APPENDER = """
import sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sipgate.vault.journal_file import Journal
journal = Journal(Path(sys.argv[1]), Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
print("ready", flush=True)
for line in sys.stdin:
    break
for number in range(int(sys.argv[3])):
    journal.append("kept", number, who=sys.argv[2], filling="x" * 2000)
    print(number, flush=True)
"""


def appender(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _APPENDER, str(folder), name, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_append_at_once_and_each_entry_is_there_once_in_one_chain(journal: Journal) -> None:
    both = [appender(journal.path.parent, name, 80) for name in ("a", "b")]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert journal.verify().entries == 160
    for name in ("a", "b"):
        assert [e.at_ns for e in entries(journal) if e.fields["who"] == name] == list(range(80))


@pytest.mark.parametrize("after", [3, 17])
def test_kill_9_during_append_loses_nothing_that_was_confirmed_and_the_chain_goes_on(
    journal: Journal, after: int
) -> None:
    process = appender(journal.path.parent, "a", 100_000)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    for _ in range(after):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    confirmed = after + sum(line.endswith("\n") for line in process.communicate(timeout=60)[0].splitlines(True))
    journal.append("kept", 1, who="after the crash")
    assert journal.verify().entries in (confirmed + 1, confirmed + 2)
    assert entries(journal)[-1].fields["who"] == "after the crash"


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_an_incomplete_last_line_is_dropped_and_nothing_else(journal: Journal, cut: int) -> None:
    for number in range(3):
        journal.append("kept", number, filling="x" * 300)
    whole = journal.path.read_bytes()
    os.truncate(journal.path, len(whole) - cut)
    with pytest.raises(JournalError, match="after entry 2: the last line is incomplete"):
        journal.verify()
    restarted = Journal(journal.path.parent, KEY)
    restarted.append("played", 9)
    assert [e.at_ns for e in entries(restarted)] == [0, 1, 9]
    assert restarted.verify().entries == 3


def test_a_first_line_that_a_crash_cut_is_dropped_too(journal: Journal) -> None:
    journal.path.write_bytes(b'{"at_ns":1,"fie')
    journal.append("kept", 1)
    assert journal.verify().entries == 1


def test_a_crash_between_an_entry_and_its_checkpoint_is_mended(journal: Journal) -> None:
    for number in range(EVERY):
        journal.append("kept", number)
    lines = list(journal.lines())
    assert len(lines) == EVERY + 1
    journal.path.write_bytes(b"".join(lines[:-1]))
    journal.append("kept", EVERY)
    assert journal.verify().entries == EVERY + 1


@pytest.mark.parametrize("last", [b"{}\n", b"garbage\n", b"\n", b"\x00" * 10 + b"\n"])
def test_a_complete_last_line_that_is_none_of_the_journals_stops_it(journal: Journal, last: bytes) -> None:
    journal.append("kept", 1)
    before = journal.path.read_bytes() + last
    journal.path.write_bytes(before)
    with pytest.raises(JournalError, match="last line is unreadable"):
        journal.append("kept", 2)
    assert journal.path.read_bytes() == before


def test_a_file_that_is_no_journal_at_all_is_left_as_it_is(journal: Journal) -> None:
    journal.path.write_bytes(b"x" * 1_000_000)
    with pytest.raises(JournalError, match="not a journal's"):
        journal.append("kept", 1)
    assert journal.path.stat().st_size == 1_000_000


_FULL = """
import resource, sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sipgate.errors import JournalError
from sipgate.vault.journal_file import Journal
journal = Journal(Path(sys.argv[1]), Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
limit = journal.path.stat().st_size + 100
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    journal.append("kept", 7, filling="canary" * 100)
except JournalError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append("kept", 8)
"""


def test_a_full_disk_is_an_error_that_leaves_no_half_entry_and_room_lets_it_go_on(journal: Journal) -> None:
    # RLIMIT_FSIZE: the kernel writes 100 bytes of the entry and refuses the rest, as a full disk does.
    journal.append("kept", 1)
    ran = subprocess.run(
        [sys.executable, "-c", _FULL, str(journal.path.parent)], capture_output=True, text=True, check=True
    )
    assert "journal.jsonl: cannot be written: File too large" in ran.stdout
    assert "canary" not in ran.stdout
    assert [e.at_ns for e in entries(journal)] == [1, 8]
    assert journal.verify().entries == 2


def test_when_fsync_fails_the_entry_was_never_written(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.append("kept", 1)

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", fail)
        with pytest.raises(JournalError, match="cannot be written: Input/output error"):
            journal.append("kept", 2)
    assert journal.verify().entries == 1


def test_a_process_that_never_lets_go_is_an_error_not_a_wait_for_ever(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append("kept", 1)
    monkeypatch.setattr(journal_file, "_LOCK_SECONDS", 0.05)
    with journal.path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(JournalError, match="another process has held it"):
            journal.append("kept", 2)


def test_an_append_waits_for_another_process_that_is_writing(journal: Journal) -> None:
    journal.append("kept", 1)
    waiting = threading.Thread(target=journal.append, args=("kept", 2))
    with journal.path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
    waiting.join(10)
    assert journal.verify().entries == 2


def test_a_journal_that_cannot_be_opened_is_named(journal: Journal) -> None:
    journal.path.mkdir()
    with pytest.raises(JournalError, match=r"journal\.jsonl: cannot be opened"):
        journal.append("kept", 1)
    with pytest.raises(JournalError, match=r"journal\.jsonl: cannot be read"):
        list(journal.lines())
