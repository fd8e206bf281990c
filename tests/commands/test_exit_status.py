"""2: what was written is wrong, whatever the register holds. 1: it is well written, and not so."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tests.commands.office import Desk

TODAY = date.today()  # noqa: DTZ011 - enrolments count the server's local days
HUGE = str(2**70)
ADD = ("people", "add", "eve", "--name", "Eve")
GATE = ("gate", "open", "--as", "dora")


def sound(starts: str = str(TODAY), ends: str = str(TODAY), **others: str) -> tuple[str, ...]:
    words = {"line": "2001", "need": "greeting", "reviewer": "tom", "capacity": "5"} | others
    return ("enrol", "sound", "--from", starts, "--until", ends, *(w for k, v in words.items() for w in (f"--{k}", v)))


@pytest.mark.parametrize(
    "words",
    [
        ("enrol", "end", HUGE),
        ("enrol", "end", "0"),
        ("enrol", "end", "one"),
        ("lines", "unexclude", HUGE, "--as", "ada"),
        ("lines", "confirm", HUGE, "--as", "ada"),
        ("lines", "exclude", "not a line"),
        ("lines", "assign", "nobody", "2001"),
        ("people", "add", "Eve Smith", "--name", "Eve", "--role", "trainee"),
        ("people", "add", "eve", "--name", " ", "--role", "trainee"),
        (*ADD, "--role", "boss"),
        (*ADD, "--role", "trainee", "--role", "dpo", "--as", "dora"),
        ("enrol", "workstation", "desk one"),
        ("enrol", "workstation", "x" * 64),
        sound(ends=str(TODAY + timedelta(days=183))),
        sound(starts=str(TODAY + timedelta(days=1))),
        sound(starts="2020-01-01", ends="2020-01-02"),
        sound(ends="31/12/2026"),
        sound(ends="2026-02-30"),
        sound(capacity="0"),
        sound(capacity=HUGE),
        sound(need=" "),
        sound(line="the call centre"),
        (*GATE, "--opinion-on", str(TODAY + timedelta(days=2)), "--dpia-version", "1"),
        (*GATE, "--opinion-on", "soon", "--dpia-version", "1"),
        (*GATE, "--opinion-on", str(TODAY), "--dpia-version", " "),
    ],
    ids=" ".join,
)
def test_a_value_that_is_wrong(desk: Desk, words: tuple[str, ...]) -> None:
    assert desk(*words).status == 2


def test_a_password_that_is_too_short(desk: Desk) -> None:
    assert desk(*ADD, "--role", "trainee", SIPGATE_NEW_PASSWORD="short").status == 2


@pytest.mark.parametrize(
    "words",
    [
        ("enrol", "end", "7"),
        ("lines", "unexclude", "7", "--as", "ada"),
        ("lines", "confirm", "7", "--as", "tom"),
        ("lines", "assign", "tom", "2001"),
        ("people", "add", "tom", "--name", "Tom", "--role", "trainee"),
        sound(reviewer="ada"),
        (*GATE[:-1], "ada", "--opinion-on", str(TODAY), "--dpia-version", "1"),
        ("notice", "acknowledge", "--as", "tess"),
    ],
    ids=" ".join,
)
def test_what_is_well_written_and_not_so(desk: Desk, words: tuple[str, ...]) -> None:
    assert desk(*words).status == 1
