"""What is kept, and the keys, apart from each other.

Layout::

    <keys>/site.key                  32 random bytes; wraps every recording's key. Without it nothing opens
    <keys>/recordings/<id>.key       a sealed file (``sealed.py``) under the site key: data key 32 ‖ film private key 32
    <keys>/secrets/<name>            named secrets, random bytes as they are
    <data>/media/<id>/               what was recorded; every file in it is ciphertext
    <data>/ledger/<id>.entry         a sealed file under the recording's *data key*: JSON of ints, strings and nulls

``<id>`` is a recording's name, 32 hexadecimal digits, random, which tells nothing. The ledger entry is sealed under the
recording's own key rather than the site key, so that destroying one key makes all of it unreadable, the entry of a call
that must leave no trace included, whatever remains of the files (old blocks, backups of ``<data>``).

Order on creation: key (durable), then folder. Order on destruction: key, then ledger entry, then folder. So what has no
key is being destroyed, and any process may finish it; and a folder from an old backup whose key is gone does not play.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from sipgate.errors import ErasedError, SealError, StoreError
from sipgate.vault import files
from sipgate.vault.keys import KEY_BYTES, RecordingKeys
from sipgate.vault.sealed import SealedReader, write_sealed_file

LedgerEntry = dict[str, int | str | None]

_RECORDING = re.compile(r"[0-9a-f]{32}")
_ERASED = "recording {} is erased: its key was destroyed"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def new_recording() -> str:
    """A fresh name for a recording: 32 hexadecimal digits that tell nothing."""
    return secrets.token_hex(16)


class Vault:
    """The store of one site. Several processes may use it at once; one recording is written by one of them."""

    def __init__(self, data: Path, keys: Path) -> None:
        """Make the folders (0700) and, at the very first start, the site key (0600). Raises StoreError.

        When there are recordings but no site key, the keys' folder is the wrong one or not mounted: a new key would
        hide that until the first playback, so this raises instead.
        """
        self._media, self._ledger = data / "media", data / "ledger"
        self._wrapped, self._secrets = keys / "recordings", keys / "secrets"
        for folder in (data, keys, self._media, self._ledger, self._wrapped, self._secrets):
            files.private_folder(folder)
        for folder in (self._media, self._ledger, self._wrapped):  # where every call writes as it begins
            files.share_syncs(folder)
        self._site_key = self._site(keys / "site.key")

    def _site(self, path: Path) -> bytes:
        if not path.exists():
            if any(self._media.iterdir()) or any(self._wrapped.iterdir()):
                raise StoreError(f"{path}: missing, though there are recordings: mount or restore the keys' folder")
            files.write_once(path, secrets.token_bytes(KEY_BYTES))
        return _read_exactly(path, KEY_BYTES)

    # --- keys ---------------------------------------------------------------------------------------------------

    def create(self, recording: str) -> RecordingKeys:
        """Make keys and folder for a new recording; durable before return. Raises StoreError, also when it exists."""
        if self._has_key(recording):
            raise StoreError(f"recording {recording} exists already")
        keys = RecordingKeys.new()
        write_sealed_file(self._key_path(recording), self._site_key, (keys.to_bytes(),))
        files.private_folder(self._folder_path(recording))
        with files.named(self._media, "written"):
            files.sync_folder(self._media)
        return keys

    def keys(self, recording: str) -> RecordingKeys:
        """The recording's keys. Raises ErasedError when they were destroyed (or never made), SealError when altered."""
        try:
            with SealedReader(self._key_path(recording), self._site_key) as reader:
                return RecordingKeys.from_bytes(reader.read(0, reader.size))
        except StoreError as error:
            if self._has_key(recording):
                raise
            raise ErasedError(_ERASED.format(recording)) from error

    def destroy(self, recording: str) -> None:
        """Erase for good: the key first, then all that it opened. Idempotent; after a failure, call it again.

        Once the key is gone, ``keys`` raises ErasedError even when removing the rest fails (StoreError).
        """
        try:
            files.destroy_file(self._key_path(recording))
        finally:
            self.ledger_remove(recording)  # without it nobody finishes it at the next start, whatever became of the key
        folder = self._folder_path(recording)
        with files.named(folder, "removed"):
            _remove_tree(folder)
            files.sync_folder(self._media)

    def sweep(self) -> int:
        """Destroy what writes that a kill cut short left behind; returns how many files. Raises StoreError.

        A half-made file may be a whole wrapped key, which would outlive the erasure of its recording. Only for the one
        process that writes recordings, before it writes any: a write under way elsewhere would fail.
        """
        left = [*_temporaries(self._wrapped), *_temporaries(self._ledger)]
        with files.named(self._media, "read"):
            for folder in self._media.iterdir():
                left += _temporaries(folder) if folder.is_dir() else []
        for path in left:
            files.destroy_file(path)
        return len(left)

    def recordings(self) -> frozenset[str]:
        """The names of all recordings that have a key."""
        return frozenset(name for name in _names(self._wrapped, ".key") if self._has_key(name))

    def _has_key(self, recording: str) -> bool:
        # A key that a crash left overwritten but not yet unlinked is destroyed: a sealed file begins otherwise.
        path = self._key_path(recording)
        try:
            with files.named(path, "read"), path.open("rb") as file:
                return file.read(4) != bytes(4)
        except StoreError:
            if path.exists():
                raise
            return False

    def remains(self) -> frozenset[str]:
        """The names of folders without a key: of an interrupted destruction, or from a restored backup."""
        return _names(self._media, "") - self.recordings()

    # --- media --------------------------------------------------------------------------------------------------

    def folder(self, recording: str) -> Path:
        """Where the recording's files are. Raises ErasedError once it is destroyed."""
        if not self._has_key(recording):
            raise ErasedError(_ERASED.format(recording))
        return self._folder_path(recording)

    def write_sealed(self, recording: str, name: str, plain: bytes) -> None:
        """Seal ``plain`` as the file ``name`` of the recording: atomic, durable. Raises StoreError, ErasedError."""
        key = self.keys(recording).data_key
        write_sealed_file(self._folder_path(recording) / _checked(name), key, (plain,))

    def open_sealed(self, recording: str, name: str) -> SealedReader:
        """Open the sealed file ``name`` for random access; close it. Raises ErasedError, SealError, StoreError."""
        key = self.keys(recording).data_key
        return SealedReader(self._folder_path(recording) / _checked(name), key)

    # --- the crash ledger ---------------------------------------------------------------------------------------

    def ledger_put(self, recording: str, entry: Mapping[str, int | str | None]) -> None:
        """Write (or replace) the recording's entry; durable before return. The recording must have been created."""
        raw = json.dumps(dict(entry), separators=(",", ":"), sort_keys=True).encode()
        write_sealed_file(self._entry_path(recording), self.keys(recording).data_key, (raw,))

    def ledger(self) -> dict[str, LedgerEntry]:
        """The entries that a crash left, by recording. Raises SealError when one was altered.

        An entry whose key is gone belongs to a destruction that the crash interrupted: it is finished here.
        """
        found: dict[str, LedgerEntry] = {}
        for recording in sorted(_names(self._ledger, ".entry")):
            try:
                found[recording] = self._entry(recording)
            except ErasedError:
                self.destroy(recording)
            except StoreError:
                if self._entry_path(recording).exists():
                    raise  # else it was removed meanwhile: the call is finished, or erased
        return found

    def _entry(self, recording: str) -> LedgerEntry:
        path = self._entry_path(recording)
        with SealedReader(path, self.keys(recording).data_key) as reader:
            entry: object = json.loads(reader.read(0, reader.size))
        if not isinstance(entry, dict):
            raise SealError(f"{path}: not a ledger entry")
        return entry

    def ledger_remove(self, recording: str) -> None:
        """Overwrite and unlink the entry; none is no error. Raises StoreError."""
        files.destroy_file(self._entry_path(recording))

    # --- secrets ------------------------------------------------------------------------------------------------

    def secret(self, name: str, size: int = 32) -> bytes:
        """A named random secret of ``size`` bytes, made once: every caller, in any process, gets the same."""
        path = self._secrets / _checked(name)
        if not path.exists():
            files.write_once(path, secrets.token_bytes(size))
        return _read_exactly(path, size)

    # --- paths --------------------------------------------------------------------------------------------------

    def _key_path(self, recording: str) -> Path:
        return self._wrapped / f"{_recording(recording)}.key"

    def _entry_path(self, recording: str) -> Path:
        return self._ledger / f"{_recording(recording)}.entry"

    def _folder_path(self, recording: str) -> Path:
        return self._media / _recording(recording)


def _recording(text: str) -> str:
    if not _RECORDING.fullmatch(text):
        raise StoreError("a recording's name is 32 hexadecimal digits in lower case")
    return text


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise StoreError("a file's name in the vault holds letters, digits, dots, dashes and underscores")
    return name


def _names(folder: Path, suffix: str) -> frozenset[str]:
    with files.named(folder, "read"):
        return frozenset(_recording_names(folder, suffix))


def _recording_names(folder: Path, suffix: str) -> Iterator[str]:
    for path in folder.iterdir():
        name = path.name.removesuffix(suffix)
        if path.name.endswith(suffix) and _RECORDING.fullmatch(name):
            yield name


def _temporaries(folder: Path) -> list[Path]:
    with files.named(folder, "read"):
        return [path for path in folder.iterdir() if files.TEMPORARY in path.name and not path.is_dir()]


def _read_exactly(path: Path, size: int) -> bytes:
    with files.named(path, "read"):
        content = path.read_bytes()
    if len(content) != size:
        raise StoreError(f"{path}: holds {len(content)} bytes instead of {size}: restore it from a backup")
    return content


def _remove_tree(folder: Path) -> None:
    # An upload that began before the key was destroyed may still put a file into the folder: then it is removed again.
    for attempt in range(5):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError:
            if attempt == 4:
                raise
