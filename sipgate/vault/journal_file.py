"""The journal's file: an entry is durable when ``append`` returns, or it was never written.

``<folder>/journal.jsonl``, 0600, in the form of ``core.journal``. Any process may append: each takes an exclusive flock
on the file, reads where the chain stands from its last line, writes, and fsyncs. So the chain has one order, and two
processes share nothing but the file.

A crash can leave an incomplete last line, without a newline; nobody was told that it was written, so the next append
drops it. Nothing else is ever dropped: a last line that is complete but unreadable stops the journal (JournalError),
and with it whatever must be journalled before it happens (R7).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sipgate.core import journal
from sipgate.core.journal import Head
from sipgate.errors import JournalError
from sipgate.vault import files

_LOCK_SECONDS = 10.0
_TAIL_BYTES = 4 * journal.LONGEST_LINE
"""More than the longest line and the longest torn one behind it."""


class Journal:
    """The journal of one site, open for appending and reading."""

    def __init__(self, folder: Path, signing_key: Ed25519PrivateKey) -> None:
        """``folder`` is made when missing (0700). Raises StoreError."""
        files.private_folder(folder)
        self.path = folder / "journal.jsonl"
        self._key = signing_key
        self._seen = 0

    def append(self, kind: str, at_ns: int, **fields: str | int) -> None:
        """Add one entry; durable before return. Raises JournalError, and then nothing was added.

        ``at_ns``: Unix ns. ``fields``: pseudonyms, recordings' names, words, counts; never who or which number.
        """

        def lines(head: Head) -> tuple[bytes, Head]:
            line, head = journal.entry_line(head, kind, at_ns, fields)
            return (line, head) if not head.due else _join(line, self._checkpoint(head, at_ns))

        self._add(lines, at_ns)

    def checkpoint(self, at_ns: int) -> str:
        """Sign the chain's head, and return the note to keep elsewhere; durable before return. Raises JournalError."""
        note = ""

        def lines(head: Head) -> tuple[bytes, Head]:
            nonlocal note
            line, head, note = journal.checkpoint_line(head, at_ns, self._key)
            return line, head

        self._add(lines, at_ns)
        return note

    def check(self) -> None:
        """Whether an entry could be added now: everything that ``append`` does but the entry. Raises JournalError."""
        with self._locked() as descriptor:
            self._readable(descriptor)
            self._synced(descriptor)

    def lines(self) -> Iterator[bytes]:
        """The file's lines as they are, newlines included. Raises JournalError."""
        try:
            with self.path.open("rb") as file:
                yield from file
        except FileNotFoundError:
            return
        except OSError as error:
            raise JournalError(f"{self.path}: cannot be read: {error.strerror}") from error

    def verify(self, kept: str | None = None) -> Head:
        """Verify all of it, against a note kept elsewhere if given. Raises JournalError naming the entry."""
        return journal.verify(self.lines(), self._key.public_key(), kept)

    # --- one append at a time -----------------------------------------------------------------------------------

    def _checkpoint(self, head: Head, at_ns: int) -> tuple[bytes, Head]:
        line, head, _ = journal.checkpoint_line(head, at_ns, self._key)
        return line, head

    def _add(self, lines: Callable[[Head], tuple[bytes, Head]], at_ns: int) -> None:
        with self._locked() as descriptor:
            size, head = self._readable(descriptor)
            due = b""
            if head.due:  # a crash came between an entry and its checkpoint
                due, head = self._checkpoint(head, at_ns)
            new, head = lines(head)
            self._write(descriptor, size, due + new)
            self._seen = head.entries

    def _readable(self, descriptor: int) -> tuple[int, Head]:
        size, head = self._mended(descriptor)
        if head.entries < self._seen:
            raise JournalError(f"{self.path}: entries vanished while the service ran: run `sipgate journal verify`")
        return size, head

    def _synced(self, descriptor: int) -> None:
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise JournalError(f"{self.path}: cannot be written: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise JournalError(f"{self.path}: cannot be opened: {error.strerror}") from error
        try:
            self._lock(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise JournalError(f"{self.path}: another process has held it for {_LOCK_SECONDS:g} s") from None
                time.sleep(0.002)

    def _mended(self, descriptor: int) -> tuple[int, Head]:
        """Size and head of the file, once an incomplete last line is cut off."""
        try:
            size = os.fstat(descriptor).st_size
            start = max(0, size - _TAIL_BYTES)
            tail = os.pread(descriptor, size - start, start)
            whole, newline, torn = tail.rpartition(b"\n")
            if start and not newline:
                raise JournalError(f"{self.path}: its end is not a journal's: run `sipgate journal verify`")
            if torn:
                os.ftruncate(descriptor, size - len(torn))
        except OSError as error:
            raise JournalError(f"{self.path}: cannot be read or mended: {error.strerror}") from error
        if not newline:
            return 0, journal.START
        return size - len(torn), self._head(whole.rpartition(b"\n")[2])

    def _head(self, last: bytes) -> Head:
        try:
            return journal.head_after(last)
        except JournalError as error:
            raise JournalError(f"{self.path}: its last line is unreadable: run `sipgate journal verify`") from error

    def _write(self, descriptor: int, size: int, new: bytes) -> None:
        try:
            written = 0
            while written < len(new):
                written += os.write(descriptor, new[written:])
            os.fsync(descriptor)
            if size == 0:
                files.sync_folder(self.path.parent)
        except OSError as error:
            # Nobody is told that this entry exists, so it must not. Should this fail too, the next append mends it.
            with suppress(OSError):
                os.ftruncate(descriptor, size)
            raise JournalError(f"{self.path}: cannot be written: {error.strerror}") from error


def _join(line: bytes, more: tuple[bytes, Head]) -> tuple[bytes, Head]:
    return line + more[0], more[1]
