"""`sipgate vault verify`: opens everything that is kept, and says what does not open.

Every recording's key is unwrapped; every file in its folder is opened to its last byte: whole sealed files
(``sealed.py``) by the vault, film segments by the contract with the workstations, files with a format of their own by
the checks handed in. A file that nobody knows is a problem too: it could be plaintext.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from capture_client.protocol import ProtocolViolation, open_segment, segment_name
from sipgate.errors import StoreError
from sipgate.vault import files
from sipgate.vault.keys import RecordingKeys
from sipgate.vault.sealed import SealedReader
from sipgate.vault.vault import Vault

Check = Callable[[Path, bytes], None]
"""Opens all of a file under the recording's data key; raises StoreError when it does not open."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one recording; ``file`` is its path within the recording's folder, or empty."""

    recording: str
    file: str
    text: str

    def __str__(self) -> str:
        return f"recording {self.recording}: {self.file + ': ' if self.file else ''}{self.text}"


def verify(vault: Vault, checks: Mapping[str, Check]) -> list[Problem]:
    """All problems of all recordings, none when everything opens. ``checks``: by file name, e.g. ``audio.sealed``."""
    problems = [Problem(name, "", "media without a key: erased, its removal was cut short") for name in vault.remains()]
    for recording in vault.recordings():
        problems += _of_recording(vault, recording, checks)
    return sorted(problems, key=lambda problem: (problem.recording, problem.file))


def _of_recording(vault: Vault, recording: str, checks: Mapping[str, Check]) -> Iterator[Problem]:
    try:
        keys, folder = vault.keys(recording), vault.folder(recording)
    except StoreError:
        # Erased since it was listed is no problem; anything else is.
        if recording in vault.recordings():
            yield Problem(recording, "", "its key does not open: altered, or wrapped under another site key")
        return
    if not folder.is_dir():
        yield Problem(recording, "", "a key without a folder: the media are missing")
        return
    for path in sorted(path for path in folder.rglob("*") if not path.is_dir()):
        file = str(path.relative_to(folder))
        text = _of_file(path, file, recording, keys, checks)
        if text is not None and path.exists():
            yield Problem(recording, file, text)


def _of_file(path: Path, file: str, recording: str, keys: RecordingKeys, checks: Mapping[str, Check]) -> str | None:
    try:
        if path.is_symlink():
            return "a link: nothing in the vault is one"
        if file in checks:
            checks[file](path, keys.data_key)
        elif files.TEMPORARY in path.name:
            return "left by a write that a crash cut short: holds ciphertext only, may be removed"
        elif path.suffix == ".sealed":
            with SealedReader(path, keys.data_key) as reader:
                for _ in reader.chunks():
                    pass
        elif file.startswith("film/"):
            return _of_film(path, file, recording, keys)
        else:
            return "unknown: nothing here writes such a file"
    except StoreError:
        return "does not open: altered, cut, or another recording's"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def _of_film(path: Path, file: str, recording: str, keys: RecordingKeys) -> str | None:
    raw = path.read_bytes()
    if path.name == "end.json":
        try:
            end: object = json.loads(raw)
        except ValueError:
            end = None
        return None if isinstance(end, dict) and isinstance(end.get("segments"), int) else "not the end of a take"
    try:
        name = segment_name(raw)
        open_segment(raw, X25519PrivateKey.from_private_bytes(keys.film_private))
    except ProtocolViolation:
        return "does not open: altered, cut, or another recording's"
    if file != f"film/{name.take}/{name.index:06d}.seg" or name.recording != recording:
        return "in the place of another segment"
    return None
