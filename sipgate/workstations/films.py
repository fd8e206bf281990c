"""Film segments on disk, as uploaded: ``<the recording's folder>/film/<take>/<index %06d>.seg``, then ``end.json``.

What is kept is ciphertext already (``capture_client.protocol``). A segment is durable, its folder's entry included,
before ``keep`` returns; the same one again is the same; another one under its name is refused. Nothing here makes
the folder of a recording: what is erased stays erased.
"""

from __future__ import annotations

import json
import shutil
from enum import Enum
from pathlib import Path
from typing import Protocol

from sipgate.errors import ErasedError, StoreError
from sipgate.vault import files

RESERVE_BYTES = 512 * 1024 * 1024
"""Films are refused, to be sent again later, before they take the last room from the sound of calls."""
MAXIMUM_TAKES = 64
MAXIMUM_SEGMENTS = 100_000


class FilmStore(Protocol):
    """What is needed of the vault."""

    def folder(self, recording: str) -> Path:
        """The recording's folder; ErasedError when its key is destroyed."""


class Outcome(Enum):
    """What became of an upload."""

    KEPT = "kept"
    OTHER_CONTENT = "other content under this name"
    TOO_MANY = "more takes than a recording can have"


class Films:
    """Where uploads go. Every method blocks on the disk, and raises ErasedError or StoreError."""

    def __init__(self, store: FilmStore, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._store = store
        self._reserve = reserve_bytes

    def keep_segment(self, recording: str, take: str, index: int, sealed: bytes) -> Outcome:
        """Keep one sealed segment."""
        return self._keep(recording, take, f"{index:06d}.seg", sealed)

    def keep_end(self, recording: str, take: str, segments: int) -> Outcome:
        """Keep the take's length: it is over."""
        return self._keep(recording, take, "end.json", json.dumps({"segments": segments}).encode())

    def _keep(self, recording: str, take: str, name: str, content: bytes) -> Outcome:
        folder = self._store.folder(recording)
        film = folder / "film"
        if shutil.disk_usage(folder if folder.is_dir() else folder.parent).free < self._reserve + len(content):
            raise StoreError(f"{folder.parent}: less than {self._reserve} bytes are free: no film is accepted")
        path = film / take / name
        if not path.parent.is_dir():
            _make_folder(film)
            if len(list(film.iterdir())) >= MAXIMUM_TAKES:
                return Outcome.TOO_MANY
            _make_folder(path.parent)
        try:
            files.write_once(path, content)
            kept = path.read_bytes() == content
        except (StoreError, FileNotFoundError):
            self._store.folder(recording)  # raises ErasedError when that is why
            raise
        self._unless_erased_meanwhile(recording, path)
        return Outcome.KEPT if kept else Outcome.OTHER_CONTENT

    def _unless_erased_meanwhile(self, recording: str, path: Path) -> None:
        try:
            self._store.folder(recording)
        except ErasedError:
            path.unlink(missing_ok=True)
            for parent in list(path.parents)[:3]:
                try:
                    parent.rmdir()
                except OSError:
                    break
            raise


def _make_folder(path: Path) -> None:
    """Like ``mkdir``, durable; a missing parent is an erased recording."""
    try:
        path.mkdir(mode=0o700)
        files.sync_folder(path.parent)
    except FileExistsError:
        pass
    except FileNotFoundError as error:
        raise ErasedError("the recording's folder is gone: it is being erased") from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be made: {error.strerror}") from error
