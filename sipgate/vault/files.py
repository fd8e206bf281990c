"""Files that are whole or absent, and durable once written: what every other module of the vault stands on.

A file is written under a temporary name in its own folder, fsynced, renamed, and the folder is fsynced: after a
crash there is the old file or the new one, never a half. Folders are 0700, files 0600. Every OSError becomes a
StoreError that names the path.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sipgate.errors import StoreError
from sipgate.vault.together import Together

TEMPORARY = ".tmp-"
"""What a temporary name contains: after a crash such files may lie about, and mean nothing."""

_shared: dict[Path, Together] = {}


@contextmanager
def named(path: Path, doing: str) -> Iterator[None]:
    """Turn an OSError into ``StoreError("<path>: cannot be <doing>: <why>")``."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: cannot be {doing}: {error.strerror or error}") from error


def private_folder(path: Path) -> None:
    """Make ``path`` (and its parents) as a folder 0700; tighten it when it is already there. Raises StoreError."""
    with named(path, "made a private folder"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)


def share_syncs(path: Path) -> None:
    """Have one fsync of this folder serve all who write into it at the same moment."""
    _shared.setdefault(path, Together(lambda: _sync(path)))


def sync_folder(path: Path) -> None:
    """Make the entries of a folder durable: the fsync begins after this call, and is over when it returns."""
    shared = _shared.get(path)
    if shared is None:
        _sync(path)
    else:
        shared.run()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Write ``pieces`` as the file ``path``, replacing what was there: atomic, durable. Raises StoreError."""
    with named(path, "written"):
        temporary = _write_temporary(path, pieces)
        try:
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_once(path: Path, content: bytes) -> None:
    """As ``write_whole``, but a file that is already there stays as it is: the first of several processes wins."""
    with named(path, "written"):
        temporary = _write_temporary(path, (content,))
        try:
            with suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink()
        sync_folder(path.parent)


def _write_temporary(path: Path, pieces: Iterable[bytes]) -> Path:
    temporary = path.with_name(f".{path.name}{TEMPORARY}{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def destroy_file(path: Path) -> None:
    """Overwrite, fsync, unlink, fsync the folder; a file that is not there is no error. Raises StoreError.

    Overwriting is best effort: a full disk under a copy-on-write file system refuses it, and flash keeps old blocks.
    Unlinking is not: when it fails, this raises. What must not survive at all belongs on a medium of its own (keys).
    """
    with named(path, "destroyed"):
        with suppress(OSError):
            _overwrite(path)
        path.unlink(missing_ok=True)
        if path.parent.exists():
            sync_folder(path.parent)


def _overwrite(path: Path) -> None:
    with open(path, "r+b", buffering=0) as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 20)))
        os.fsync(file.fileno())
