"""After a predecessor was killed: what it was recording is finished, what nobody claims is erased.

ledger entry, no row in the index     the call was being recorded: finish it, to its last sealed frame
ledger entry and a row                its film was still incomplete: wait for the rest of it
key or folder, neither entry nor row  it was opened, and never began, or its erasure was cut off: erase it
a row, but no key                     its erasure was cut off before it left the index: take it out
a file under a temporary name         a write was cut off, of a key perhaps: destroy it
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sipgate.errors import StoreError
from sipgate.register.register import Register
from sipgate.service.ended import EndedCall
from sipgate.vault.vault import LedgerEntry, Vault


@dataclass(frozen=True, slots=True)
class Left:
    """What was found: ``unfinished`` to finish, ``awaiting_film`` in the index already, ``erased`` how many,
    ``keyless`` in the index though erased."""

    unfinished: tuple[EndedCall, ...]
    awaiting_film: tuple[EndedCall, ...]
    erased: int
    keyless: tuple[str, ...]


@contextmanager
def sole_service(data: Path) -> Iterator[None]:
    """Be the only service on this store, or raise StoreError: a second one would take the first one's calls for a
    dead predecessor's. The lock goes with the process, however it ends."""
    path = data / "service.lock"
    try:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise StoreError(f"{path}: another `sipgate serve` runs on this store: stop it first") from error


def recover(vault: Vault, register: Register) -> Left:
    """Look, and erase what nobody claims. Raises StoreError when the disk fails. Only within ``sole_service``."""
    vault.sweep()
    entries = vault.ledger()
    known = {row.recording for row in register.recordings.all()}
    orphans = (vault.recordings() | vault.remains()) - set(entries) - known
    for recording in orphans:
        vault.destroy(recording)
    calls = list(_calls(entries))
    return Left(
        unfinished=tuple(c for c in calls if c.recording not in known),
        awaiting_film=tuple(c for c in calls if c.recording in known),
        erased=len(orphans),
        keyless=tuple(sorted(known - vault.recordings())),
    )


def _calls(entries: dict[str, LedgerEntry]) -> Iterator[EndedCall]:
    for recording, entry in entries.items():
        workstation = entry["workstation"]
        yield EndedCall(
            recording=recording,
            owner=_whole(entry["owner"]),
            enrolment=_whole(entry["enrolment"]),
            workstation=str(workstation) if workstation is not None else None,
            answered_at_ns=_whole(entry["answered_at_ns"]),
            ended_at_ns=_whole(entry["ended_at_ns"]) if entry["ended_at_ns"] is not None else None,
            story=str(entry.get("story") or recording),  # what an older sipgate wrote names none
        )


def _whole(value: int | str | None) -> int:
    if not isinstance(value, int):
        raise StoreError("a ledger entry lacks a number")
    return value
