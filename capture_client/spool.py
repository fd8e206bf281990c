"""Sealed film segments on this workstation's disk, until the server has them. Nothing unencrypted ever comes here.

Layout, all folders 0700, all files 0600::

    <folder>/<recording>/<take>/000000.seg      sealed segment (protocol.SegmentSealer), fsynced
    <folder>/<recording>/<take>/acknowledged    how many segments the server has, in decimal
    <folder>/<recording>/<take>/end             {"segments": n}: the take is over

A segment may be uploaded once it is *released*: its frames are known to lie before any hangup. A take that has no
``end`` when the spool is opened was cut off by a crash: it ends with the segments that exist, and all of them are
released (the server drops what lies after the hangup, which it knows by then).

Safe between threads: the darkroom writes while the uploader reads.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from capture_client.errors import SpoolError

CEILING_BYTES = 2 * 1024**3
FREE_BYTES = 200 * 1024**2
"""Left free on the disk for everybody else."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to upload: a segment, or (``index`` None) the end of a take."""

    recording: str
    take: str
    index: int | None
    path: Path

    @property
    def name(self) -> str:
        """As in the upload's address."""
        return "end" if self.index is None else str(self.index)


class Spool:
    """All takes that are not yet wholly on the server."""

    def __init__(self, folder: Path, changed: Callable[[], None] = lambda: None, ceiling: int = CEILING_BYTES) -> None:
        self._folder, self._changed, self._ceiling = folder, changed, ceiling
        self._lock = threading.Lock()
        self._live: dict[Path, int] = {}  # take -> how many of its segments are released
        self._bytes = 0
        try:
            _make_folder(folder)
            for take in self._takes():
                if not (take / "end").exists():
                    _write(take / "end", _end(_count(take)))
            self._bytes = sum(file.stat().st_size for file in folder.glob("*/*/*.seg"))
        except OSError as error:
            raise SpoolError(f"{folder}: {error.strerror}") from error

    def begin(self, recording: str) -> Take:
        """A new take; raises SpoolError when there is no room."""
        self.check_room()
        path = self._folder / recording / secrets.token_hex(16)
        with self._lock, _translated():
            _make_folder(path.parent)
            _make_folder(path)
            self._live[path] = 0
        return Take(self, path)

    def check_room(self) -> None:
        """Raise SpoolError when the ceiling is reached or the disk is nearly full."""
        if self._bytes >= self._ceiling:
            raise SpoolError("the spool's ceiling is reached; is the server reachable?")
        if shutil.disk_usage(self._folder).free < FREE_BYTES:
            raise SpoolError("the disk is nearly full")

    def erase(self, recording: str) -> None:
        """Remove all of a recording; not being there is fine."""
        with self._lock, _translated():
            folder = self._folder / recording
            self._bytes -= sum(file.stat().st_size for file in folder.glob("*/*.seg"))
            for take in [t for t in self._live if t.parent == folder]:
                del self._live[take]
            if folder.exists():
                shutil.rmtree(folder)
                _sync_folder(self._folder)

    def next_part(self) -> Part | None:
        """The oldest thing to upload; segments of a take in order, its end last."""
        with self._lock:
            for take in self._takes():
                names = sorted(file for file in take.glob("*.seg"))
                if names and int(names[0].stem) < self._live.get(take, 1 << 32):
                    return Part(take.parent.name, take.name, int(names[0].stem), names[0])
                if not names and (take / "end").exists():
                    return Part(take.parent.name, take.name, None, take / "end")
        return None

    def acknowledged(self, part: Part) -> None:
        """The server has it: delete it here. Raises SpoolError."""
        take = part.path.parent
        with self._lock, _translated():
            if not part.path.exists():
                return  # erased meanwhile
            if part.index is None:
                shutil.rmtree(take)
                if not any(take.parent.iterdir()):
                    take.parent.rmdir()
                return
            # Before the segment goes: after a crash the take's length must still be known.
            _write(take / "acknowledged", str(part.index + 1).encode())
            self._bytes -= part.path.stat().st_size
            part.path.unlink()

    def _takes(self) -> list[Path]:
        return sorted((p for p in self._folder.glob("*/*") if p.is_dir()), key=lambda p: (p.stat().st_mtime_ns, p.name))

    # --- for Take ---------------------------------------------------------------------------------------------------

    def _write_segment(self, take: Path, index: int, sealed: bytes) -> None:
        self.check_room()
        with self._lock:
            if take not in self._live:
                return  # erased
            with _translated():
                _write(take / f"{index:06d}.seg", sealed)
                if index == 0:  # not in ``begin``: a first picture waits for that
                    _sync_folder(take.parent)
                    _sync_folder(self._folder)
            self._bytes += len(sealed)

    def _remove_segment(self, take: Path, index: int) -> None:
        with self._lock:
            file = take / f"{index:06d}.seg"
            if file.exists():
                self._bytes -= file.stat().st_size
                file.unlink()

    def _release(self, take: Path, count: int) -> None:
        with self._lock:
            if take not in self._live:
                return
            self._live[take] = count
        self._changed()

    def _finish(self, take: Path, count: int) -> None:
        with self._lock:
            if self._live.pop(take, None) is None:
                return
            with _translated():
                _write(take / "end", _end(count))
        self._changed()


@dataclass(frozen=True, slots=True)
class Take:
    """The take that is being filmed. After its recording was erased, its methods do nothing."""

    spool: Spool
    path: Path

    @property
    def name(self) -> str:
        """32 hexadecimal digits, drawn at random."""
        return self.path.name

    def write(self, index: int, sealed: bytes) -> None:
        """Durable before return; not uploaded before ``release``."""
        self.spool._write_segment(self.path, index, sealed)

    def remove(self, index: int) -> None:
        """Drop a segment that was not released."""
        self.spool._remove_segment(self.path, index)

    def release(self, count: int) -> None:
        """The first ``count`` segments may be uploaded."""
        self.spool._release(self.path, count)

    def finish(self, count: int) -> None:
        """The take is over and has ``count`` segments, all of them released."""
        self.spool._finish(self.path, count)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolError(f"the spool cannot be written: {error.strerror}") from error


def _count(take: Path) -> int:
    try:
        acknowledged = int((take / "acknowledged").read_text())
    except (FileNotFoundError, ValueError):
        acknowledged = 0
    return max([acknowledged, *(int(file.stem) + 1 for file in take.glob("*.seg"))])


def _end(segments: int) -> bytes:
    return json.dumps({"segments": segments}).encode()


def _make_folder(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, durable before return."""
    partial = path.with_suffix(".part")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
