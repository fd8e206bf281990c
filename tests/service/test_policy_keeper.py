"""What the keeper gives core: what stands in the files and the register, never an older state after a newer one."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from sipgate.config import Configuration
from sipgate.core.events import Event, PolicyChanged
from sipgate.core.lines import identities_of
from sipgate.core.policy import Policy
from sipgate.register.register import Register
from sipgate.service.clock import SteadyClock
from sipgate.service.policy import PolicyKeeper
from tests.console.site import Site

CSE, UNION = "2100", "2150"


class Given:
    """A keeper over the site's register and a file, and every policy that core was given."""

    def __init__(self, site: Site, register: Register | None = None) -> None:
        self.file = site.folder / "excluded-lines.txt"
        self.file.write_text(f"{CSE}, +33142682100\n")
        config = Configuration.model_validate({"lines": {"exclusions_file": str(self.file)}})
        self.policies: list[Policy] = []
        self.keeper = PolicyKeeper(config, SteadyClock(), register or site.register, self._post)

    def _post(self, event: Event) -> None:
        assert isinstance(event, PolicyChanged)
        self.policies.append(event.policy)

    def last(self) -> Policy:
        return self.policies[-1]

    def protects(self, line: str) -> bool:
        return self.last().exclusions.might_match(identities_of(line, "FR"))


@pytest.fixture
def given(site: Site) -> Given:
    found = Given(site)
    found.keeper.refresh()
    return found


def test_nothing_changed_nothing_is_given(given: Given) -> None:
    before = len(given.policies)
    for _ in range(3):
        given.keeper.check()
    assert len(given.policies) == before


def _append(file: Path) -> None:
    file.write_text(file.read_text() + f"{UNION}, +33142682150\n")


def _move_in_its_place(file: Path) -> None:
    stamp, beside = file.stat(), file.with_suffix(".new")
    beside.write_text(file.read_text().replace(CSE, UNION))
    os.utime(beside, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert beside.stat().st_size == stamp.st_size
    beside.replace(file)


def _relink(file: Path) -> None:
    target = file.with_suffix(".other")
    target.write_text(f"{UNION}, +33142682150\n")
    file.unlink()
    file.symlink_to(target)


@pytest.mark.parametrize("change", [_append, _move_in_its_place, _relink])
def test_a_changed_file_is_in_the_next_policy(given: Given, change: Callable[[Path], None]) -> None:
    assert given.protects(CSE)
    assert not given.protects(UNION)
    change(given.file)
    given.keeper.check()
    assert given.protects(UNION)
    assert given.keeper.file_error is None


@pytest.mark.parametrize("content", [b"2100, 2200-2100\n", b"\xff\n", None])
def test_an_unreadable_file_keeps_the_last_good_list_and_says_so(given: Given, content: bytes | None) -> None:
    given.file.unlink()
    if content is not None:
        given.file.write_bytes(content)
    given.keeper.check()
    assert given.protects(CSE)
    assert not given.last().exclusions_readable
    assert str(given.file) in (given.keeper.file_error or "")
    assert given.keeper.file_lines
    given.file.write_text(f"{UNION}\n")
    given.keeper.check()
    assert given.last().exclusions_readable
    assert given.protects(UNION)
    assert not given.protects(CSE)


def test_a_file_that_was_never_readable_lets_nothing_be_recorded(site: Site) -> None:
    found = Given(site)
    found.file.unlink()
    found.keeper.refresh()
    assert not found.last().exclusions_readable


def test_what_another_process_excludes_is_in_the_next_policy(given: Given, site: Site) -> None:
    site.register.exclusions.exclude(UNION, None, site.clock())
    given.keeper.check()
    assert given.protects(UNION)


def test_a_register_that_cannot_be_read_closes_everything_but_the_exclusions(given: Given, site: Site) -> None:
    site.register.exclusions.exclude(UNION, None, site.clock())
    given.keeper.check()
    database = site.folder / "register.db"
    _sql(database, "ALTER TABLE revision RENAME TO hidden")
    given.keeper.check()
    assert given.keeper.register_error is not None
    assert not given.last().exclusions_readable
    assert not given.last().gate_open
    assert not given.last().enrolments
    assert given.protects(CSE)
    assert given.protects(UNION)
    _sql(database, "ALTER TABLE hidden RENAME TO revision")
    given.keeper.check()
    assert given.last().exclusions_readable
    assert given.last().enrolments


def test_a_policy_that_was_read_before_an_exclusion_is_never_given_after_the_one_with_it(site: Site) -> None:
    """Two threads bring policies: the watch, and whoever just changed something."""
    slow = _SlowRegister(site.register)
    found = Given(site, cast("Register", slow))
    first = threading.Thread(target=found.keeper.refresh)
    first.start()
    assert slow.has_read.wait(5)
    site.register.exclusions.exclude(UNION, None, site.clock())
    second = threading.Thread(target=found.keeper.refresh)
    second.start()
    second.join(0.3)  # it may end (then it was first), or wait for the other
    slow.may_answer.set()
    for thread in (first, second):
        thread.join(5)
    assert len(found.policies) == 2
    assert found.protects(UNION)


class _SlowRegister:
    """A register whose first policy is read, and then takes its time to arrive."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self.has_read, self.may_answer = threading.Event(), threading.Event()

    def policy(self, **words: Any) -> Policy:
        policy = self._register.policy(**words)
        if not self.has_read.is_set():
            self.has_read.set()
            assert self.may_answer.wait(5)
        return policy

    def revision(self) -> int:
        return self._register.revision()


def _sql(database: Path, statement: str) -> None:
    connection = sqlite3.connect(database)
    connection.execute(statement)
    connection.commit()
    connection.close()
