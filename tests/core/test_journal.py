"""The chain finds every edit, drop and exchange and, against a note kept elsewhere, every cut."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sipgate.core import journal
from sipgate.core.journal import EVERY, START, Checkpoint, Entry, Head
from sipgate.errors import JournalError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))


def chain(entries: int, key: Ed25519PrivateKey = KEY) -> tuple[list[bytes], Head]:
    """A journal of so many entries, as the writer makes it."""
    lines: list[bytes] = []
    head = START
    for number in range(entries):
        line, head = journal.entry_line(head, "played", 1000 + number, {"recording": "ab" * 16, "person": f"p{number}"})
        lines.append(line)
        if head.due:
            line, head, _ = journal.checkpoint_line(head, 5, key)
            lines.append(line)
    return lines, head


SHORT = chain(7)[0]
LONG, LONG_HEAD = chain(2 * EVERY + 50)


def test_a_journal_as_written_verifies_and_tells_its_head() -> None:
    assert journal.verify(LONG, PUBLIC) == LONG_HEAD
    assert LONG_HEAD.entries == 2 * EVERY + 50
    assert journal.verify([], PUBLIC) == START


def test_the_form_is_the_specified_one() -> None:
    first, second = (json.loads(line) for line in SHORT[:2])
    assert first["previous"] == "0" * 64
    assert second["previous"] == hashlib.sha256(SHORT[0].rstrip(b"\n")).hexdigest()
    assert (second["number"], second["at_ns"], second["kind"]) == (2, 1001, "played")
    assert second["fields"] == {"recording": "ab" * 16, "person": "p1"}


def test_a_note_is_a_signed_note_that_a_stranger_can_check() -> None:
    _, head = chain(3)
    line, after, note = journal.checkpoint_line(head, 42, KEY)
    text, signature = note.split("\n\n")
    assert text == f"sipgate.journal\n3\n{base64.b64encode(head.digest).decode()}\nat 42"
    name, encoded = signature.removeprefix("\u2014 ").rstrip("\n").split(" ")
    raw = base64.b64decode(encoded)
    assert name == "sipgate.journal"
    assert raw[:4] == hashlib.sha256(b"sipgate.journal\n\x01" + PUBLIC.public_bytes_raw()).digest()[:4]
    PUBLIC.verify(raw[4:], (text + "\n").encode())
    assert json.loads(line) == {"checkpoint": note, "previous": head.digest.hex()}
    assert after == Head(3, hashlib.sha256(line.rstrip(b"\n")).digest(), signed=True)


def test_lines_are_read_back_as_entries_and_checkpoints() -> None:
    assert journal.read_line(SHORT[0]) == Entry(1, 1000, "played", {"recording": "ab" * 16, "person": "p0"})
    checkpoint = journal.read_line(LONG[EVERY])
    assert isinstance(checkpoint, Checkpoint)
    assert (checkpoint.entries, checkpoint.at_ns) == (EVERY, 5)
    assert checkpoint.digest == hashlib.sha256(LONG[EVERY - 1].rstrip(b"\n")).digest()


def test_the_last_line_is_all_that_is_needed_to_go_on() -> None:
    assert journal.head_after(LONG[-1]) == LONG_HEAD
    for length in (1, EVERY, EVERY + 1):
        assert journal.head_after(LONG[length - 1]) == journal.verify(LONG[:length], PUBLIC)


# --- tampering -------------------------------------------------------------------------------------------------------


def broken(lines: list[bytes], kept: str | None = None) -> str:
    with pytest.raises(JournalError) as found:
        journal.verify(lines, PUBLIC, kept)
    return str(found.value)


@given(at=st.integers(0, len(LONG) - 2))
def test_an_edited_line_is_found_and_the_entry_named(at: int) -> None:
    old = b"played" if b"played" in LONG[at] else b"at 5"
    lines = [*LONG[:at], LONG[at].replace(old, old[:-1] + b"9"), *LONG[at + 1 :]]
    entries = sum(b"checkpoint" not in line for line in LONG[:at])
    assert broken(lines).startswith((f"after entry {entries}:", f"after entry {entries + 1}:"))


@given(at=st.integers(0, len(LONG) - 2))
def test_a_dropped_line_is_found_even_a_checkpoint(at: int) -> None:
    broken([*LONG[:at], *LONG[at + 1 :]])


@given(first=st.integers(0, len(LONG) - 1), second=st.integers(0, len(LONG) - 1))
def test_exchanged_lines_are_found(first: int, second: int) -> None:
    lines = list(LONG)
    lines[first], lines[second] = lines[second], lines[first]
    if first == second:
        journal.verify(lines, PUBLIC)
    else:
        broken(lines)


@given(at=st.integers(0, len(LONG)), again=st.integers(0, len(LONG) - 1))
def test_a_line_put_in_is_found(at: int, again: int) -> None:
    broken([*LONG[:at], LONG[again], *LONG[at:]])


def test_an_edit_with_the_whole_chain_made_anew_is_found_at_the_first_checkpoint() -> None:
    forged = chain(2 * EVERY, OTHER)[0]
    assert broken(forged) == f"after entry {EVERY}: the checkpoint is signed by another key"


def test_without_the_key_checkpoints_cannot_be_left_out() -> None:
    head, lines = START, []
    for number in range(EVERY + 1):
        line, head = journal.entry_line(head, "forged", number, {})
        lines.append(line)
    assert broken(lines) == f"after entry {EVERY}: a checkpoint is missing"
    journal.verify(lines[:-1], PUBLIC)  # a crash between the entry and its checkpoint is no tampering


def kept_at(lines: list[bytes]) -> str:
    return journal.checkpoint_line(journal.verify(lines, PUBLIC), 9, KEY)[2]


@given(length=st.integers(0, len(SHORT)))
def test_a_cut_end_shows_against_a_note_kept_elsewhere_and_only_then(length: int) -> None:
    note = kept_at(SHORT)
    journal.verify(SHORT[:length], PUBLIC)
    if length == len(SHORT):
        assert journal.verify(SHORT, PUBLIC, note).entries == length
    else:
        assert broken(SHORT[:length], note) == f"cut off: {length} entries, where the checkpoint signs {len(SHORT)}"


def test_a_note_of_any_earlier_moment_fits_a_journal_that_has_grown() -> None:
    for length in (0, 1, EVERY, EVERY + 1, EVERY + 2, len(LONG)):
        journal.verify(LONG, PUBLIC, kept_at(LONG[:length]))


def test_another_history_of_the_same_length_does_not_fit_the_note() -> None:
    note = kept_at(SHORT)
    head, lines = START, []
    for number in range(len(SHORT)):
        line, head = journal.entry_line(head, "forged", number, {})
        lines.append(line)
    assert broken(lines, note) == "entry 7: not the one that the checkpoint kept elsewhere signs"


def test_a_note_kept_elsewhere_must_be_this_journals() -> None:
    _, head = chain(3)
    assert broken(SHORT, journal.checkpoint_line(head, 1, OTHER)[2]) == "the checkpoint is signed by another key"
    note = journal.checkpoint_line(head, 1, KEY)[2]
    assert broken(SHORT, note.replace("\n3\n", "\n2\n")) == "the checkpoint was altered"
    assert broken(SHORT, note.replace("at 1", "at 2")) == "the checkpoint was altered"


def test_a_genuine_checkpoint_in_another_place_is_found() -> None:
    head = journal.verify(SHORT, PUBLIC)
    _, _, note = journal.checkpoint_line(START, 1, KEY)
    moved = json.dumps({"checkpoint": note, "previous": head.digest.hex()}).encode() + b"\n"
    assert broken([*SHORT, moved]) == "after entry 7: the checkpoint signs another chain"


def test_an_entry_that_counts_wrongly_is_found_though_it_is_chained() -> None:
    line, _ = journal.entry_line(Head(5, journal.verify(SHORT, PUBLIC).digest, signed=False), "played", 1, {})
    assert broken([*SHORT, line]) == "after entry 7: entry 6 follows"


def test_an_incomplete_last_line_is_said_to_be_a_crash() -> None:
    assert "the last line is incomplete" in broken([*SHORT[:3], SHORT[3][:-1]])


NOTE = journal.checkpoint_line(START, 1, KEY)[2]


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"not json\n",
        b"\xff\n",
        b"[" * 100_000 + b"\n",
        b"7\n",
        b"{}\n",
        b'{"number":"1","at_ns":1,"kind":"a","fields":{},"previous":""}\n',
        b'{"checkpoint":"x","previous":""}\n',
        json.dumps({"checkpoint": NOTE.replace("A=", "AA"), "previous": ""}).encode() + b"\n",
        json.dumps({"checkpoint": NOTE.replace("AA", "=A", 1), "previous": ""}).encode() + b"\n",
    ],
)
def test_what_is_no_line_is_refused_by_name_of_the_entry(line: bytes) -> None:
    assert broken([*SHORT, line]).startswith("after entry 7: not a ")
    for asked in (journal.read_line, journal.head_after):
        with pytest.raises(JournalError):
            asked(line)


# --- what may be written ---------------------------------------------------------------------------------------------


def refused(kind: str = "played", **fields: Any) -> str:
    with pytest.raises(JournalError) as found:
        journal.entry_line(START, kind, 1, fields)
    return str(found.value)


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (lambda: refused("Played"), "lower-case words"),
        (lambda: refused("two words"), "lower-case words"),
        (lambda: refused(Person="x"), "lower-case words"),
        (lambda: refused(person=1.5), "text or whole numbers"),
        (lambda: refused(person=True), "text or whole numbers"),
        (lambda: refused(person=None), "text or whole numbers"),
        (lambda: refused(reason="x" * 16384), "at most 16384 bytes"),
    ],
)
def test_an_entry_that_has_no_place_in_the_journal_is_refused(ask: Callable[[], str], why: str) -> None:
    assert why in ask()


def test_an_error_never_repeats_what_was_to_be_written() -> None:
    for message in (refused("canary kind"), refused(person=b"canary"), refused(reason="canary" * 5000)):
        assert "canary" not in message


@given(st.text(max_size=500))
def test_any_text_stays_on_one_line(text: str) -> None:
    line, head = journal.entry_line(START, "played", 1, {"reason": text})
    assert line.count(b"\n") == 1
    entry = journal.read_line(line)
    assert isinstance(entry, Entry)
    assert entry.fields == {"reason": text}
    assert journal.verify([line], PUBLIC) == head
