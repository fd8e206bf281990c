"""One fsync of a folder serves all who wrote into it before it began, and nobody who came later."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sipgate.errors import StoreError
from sipgate.vault.together import Together
from sipgate.vault.vault import Vault, new_recording

SLOW = 0.02
"""Seconds that a disk takes for an fsync here."""


class Disk:
    """What the system is told, in order: ("renamed", path), ("began" or "ended", the folder that is made durable)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[tuple[str, str]] = []
        self._fsync, self._replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.replace)

    def fsync(self, descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        self.said.append(("began", name))
        time.sleep(SLOW)
        self._fsync(descriptor)
        self.said.append(("ended", name))

    def replace(self, source: Any, target: Any) -> None:
        self._replace(source, target)
        self.said.append(("renamed", str(target)))

    def syncs_of(self, folder: Path) -> int:
        """How many times a folder was made durable."""
        return self.said.count(("ended", str(folder)))


def is_durable(said: list[tuple[str, str]], path: Path) -> bool:
    """Whether an fsync of its folder began after the file had its name, and is over."""
    after = said[said.index(("renamed", str(path))) :]
    if ("began", str(path.parent)) not in after:
        return False
    return ("ended", str(path.parent)) in after[after.index(("began", str(path.parent))) :]


def test_calls_that_begin_together_share_syncs_and_each_is_durable_before_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault, disk = Vault(tmp_path / "data", tmp_path / "keys"), Disk(monkeypatch)
    names = [new_recording() for _ in range(48)]
    wrapped, media = tmp_path / "keys" / "recordings", tmp_path / "data" / "media"

    def create(name: str) -> bool:
        vault.create(name)
        said = list(disk.said)  # what had happened when its ports may be told
        return is_durable(said, wrapped / f"{name}.key") and ("ended", str(media)) in said

    with ThreadPoolExecutor(8) as lanes:
        assert all(lanes.map(create, names))
    assert disk.syncs_of(wrapped) <= len(names) // 2
    assert disk.syncs_of(media) <= len(names) // 2
    assert vault.recordings() == set(names)


def test_one_after_the_other_each_has_a_sync_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault, disk = Vault(tmp_path / "data", tmp_path / "keys"), Disk(monkeypatch)
    for _ in range(3):
        vault.create(new_recording())
    assert disk.syncs_of(tmp_path / "keys" / "recordings") == 3


def test_who_asks_while_a_run_is_under_way_is_served_by_the_next() -> None:
    began, go_on = threading.Semaphore(0), threading.Semaphore(0)
    runs: list[int] = []

    def work() -> None:
        runs.append(len(runs))
        began.release()
        assert go_on.acquire(timeout=5)

    together = Together(work)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(together.run)
        assert began.acquire(timeout=5)
        later = [threads.submit(together.run) for _ in range(3)]
        go_on.release()
        first.result(timeout=5)
        assert began.acquire(timeout=5)
        assert not any(asked.done() for asked in later)
        go_on.release(3)
        for asked in later:
            asked.result(timeout=5)
    assert len(runs) in {2, 3}  # one of the three may have asked only after the second began


def test_an_fsync_that_fails_fails_everybody_whom_it_should_have_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(tmp_path / "data", tmp_path / "keys")
    fsync, wrapped = os.fsync, str(tmp_path / "keys" / "recordings")

    def broken(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") == wrapped:
            time.sleep(SLOW)
            raise OSError(5, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", broken)

    def refused(_: int) -> bool:
        try:
            vault.create(new_recording())
        except StoreError:
            return True
        return False

    with ThreadPoolExecutor(8) as lanes:
        assert all(lanes.map(refused, range(16)))
    monkeypatch.setattr(os, "fsync", fsync)
    assert len(vault.create(new_recording()).data_key) == 32
