"""Keys apart from what they open; destroying the key erases; a crash leaves nothing half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sipgate.errors import ErasedError, SealError, StoreError
from sipgate.vault import files
from sipgate.vault.keys import RecordingKeys
from sipgate.vault.sealed import SealedReader
from sipgate.vault.vault import Vault, new_recording

ID = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "data", tmp_path / "keys")


def reopened(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "data", tmp_path / "keys")


def everything_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_new_names_are_32_hexadecimal_digits_and_differ() -> None:
    assert new_recording() != new_recording()
    assert len(bytes.fromhex(new_recording())) == 16


def test_keys_survive_a_restart_and_their_pair_fits(vault: Vault, tmp_path: Path) -> None:
    keys = vault.create(ID)
    assert reopened(tmp_path).keys(ID) == keys
    assert len(keys.data_key) == len(keys.film_private) == len(keys.film_public) == 32
    assert X25519PrivateKey.from_private_bytes(keys.film_private).public_key().public_bytes_raw() == keys.film_public


def test_every_recording_has_keys_of_its_own(vault: Vault) -> None:
    first, second = vault.create(ID), vault.create(OTHER)
    assert not {first.data_key, first.film_private} & {second.data_key, second.film_private}
    assert vault.recordings() == {ID, OTHER}


def test_keys_lie_below_the_keys_folder_wrapped_and_nothing_of_them_below_data(vault: Vault, tmp_path: Path) -> None:
    keys = vault.create(ID)
    vault.write_sealed(ID, "metadata.sealed", b"canary")
    vault.ledger_put(ID, {"canary": "canary"})
    for path in everything_below(tmp_path):
        raw = path.read_bytes()
        assert keys.data_key not in raw
        assert keys.film_private not in raw
        assert b"canary" not in raw
    assert (tmp_path / "keys" / "recordings" / f"{ID}.key").exists()


def test_files_are_0600_and_folders_0700_even_when_they_were_wider(vault: Vault, tmp_path: Path) -> None:
    vault.create(ID)
    vault.write_sealed(ID, "metadata.sealed", b"x")
    vault.ledger_put(ID, {})
    vault.secret("command")
    (tmp_path / "keys").chmod(0o755)
    reopened(tmp_path)
    for path in [*tmp_path.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_the_repr_of_keys_shows_none() -> None:
    keys = RecordingKeys.new()
    assert repr(keys) == "RecordingKeys()"


def test_a_recording_is_created_once(vault: Vault) -> None:
    vault.create(ID)
    with pytest.raises(StoreError, match="exists already"):
        vault.create(ID)


@pytest.mark.parametrize("name", ["", "../etc", "ABCDEF" * 6, "0" * 31, "0" * 33, "../" + "0" * 29, ID + "\n"])
def test_a_name_that_is_no_recordings_reaches_no_file(vault: Vault, name: str) -> None:
    for asked in (vault.create, vault.keys, vault.destroy, vault.folder, vault.ledger_remove):
        with pytest.raises(StoreError, match="32 hexadecimal"):
            asked(name)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "/etc/passwd", "a" * 65])
def test_a_file_name_cannot_leave_the_recordings_folder(vault: Vault, name: str) -> None:
    vault.create(ID)
    with pytest.raises(StoreError, match="file's name"):
        vault.write_sealed(ID, name, b"")
    with pytest.raises(StoreError, match="file's name"):
        vault.open_sealed(ID, name)


def test_what_was_sealed_is_read_back_at_random(vault: Vault) -> None:
    vault.create(ID)
    vault.write_sealed(ID, "recording.webm.sealed", bytes(100) + b"middle" + bytes(100))
    with vault.open_sealed(ID, "recording.webm.sealed") as reader:
        assert (reader.size, reader.read(100, 6)) == (206, b"middle")


def test_a_file_of_another_recording_does_not_open(vault: Vault) -> None:
    for recording in (ID, OTHER):
        vault.create(recording)
        vault.write_sealed(recording, "metadata.sealed", b"x")
    os.replace(vault.folder(OTHER) / "metadata.sealed", vault.folder(ID) / "metadata.sealed")
    with pytest.raises(SealError):
        vault.open_sealed(ID, "metadata.sealed")


def test_another_recordings_wrapped_key_put_in_place_does_not_open(vault: Vault, tmp_path: Path) -> None:
    vault.create(ID)
    vault.create(OTHER)
    wrapped = tmp_path / "keys" / "recordings"
    os.replace(wrapped / f"{OTHER}.key", wrapped / f"{ID}.key")
    with pytest.raises(SealError):
        vault.keys(ID)


# --- erasure ---------------------------------------------------------------------------------------------------------


def test_destroyed_is_erased_everywhere_and_once_more_is_no_error(vault: Vault, tmp_path: Path) -> None:
    vault.create(ID)
    vault.write_sealed(ID, "metadata.sealed", b"x")
    (vault.folder(ID) / "film" / "take").mkdir(parents=True)
    vault.ledger_put(ID, {"owner": 1})
    vault.destroy(ID)
    vault.destroy(ID)
    for asked in (vault.keys, vault.folder):
        with pytest.raises(ErasedError):
            asked(ID)
    with pytest.raises(ErasedError):
        vault.open_sealed(ID, "metadata.sealed")
    with pytest.raises(ErasedError):
        vault.write_sealed(ID, "metadata.sealed", b"x")
    with pytest.raises(ErasedError):
        vault.ledger_put(ID, {})
    assert not [path for path in tmp_path.rglob("*") if ID in path.name]
    assert vault.recordings() == frozenset()


def test_an_erased_recording_restored_from_a_backup_of_data_does_not_play(vault: Vault, tmp_path: Path) -> None:
    vault.create(ID)
    vault.write_sealed(ID, "metadata.sealed", b"x")
    backup = {path: path.read_bytes() for path in everything_below(tmp_path / "data")}
    vault.destroy(ID)
    for path, raw in backup.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    with pytest.raises(ErasedError):
        vault.open_sealed(ID, "metadata.sealed")
    assert vault.remains() == {ID}
    vault.destroy(ID)
    assert vault.remains() == frozenset()


def test_the_key_goes_first_even_when_the_rest_cannot_be_removed(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.create(ID)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", refuse)
        with pytest.raises(StoreError, match="cannot be removed"):
            vault.destroy(ID)
    with pytest.raises(ErasedError):
        vault.keys(ID)
    assert vault.remains() == {ID}
    vault.destroy(ID)
    assert vault.remains() == frozenset()


def test_of_a_key_that_cannot_be_destroyed_the_ledger_knows_nothing_any_more(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its entry the next start would finish, as a call that a crash cut, what was decided to be erased."""
    vault.create(ID)
    vault.ledger_put(ID, {"owner": 1})
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".key":
            raise OSError(30, "Read-only file system")
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(files, "_overwrite", refuse)
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(StoreError, match=r"\.key: cannot be destroyed: Read-only file system"):
            vault.destroy(ID)
    assert list((tmp_path / "data" / "ledger").iterdir()) == []
    assert reopened(tmp_path).ledger() == {}
    assert vault.recordings() == {ID}
    vault.destroy(ID)
    assert vault.recordings() == frozenset()
    assert not [path for path in tmp_path.rglob("*") if ID in path.name]


def test_a_key_overwritten_by_a_destruction_that_a_crash_cut_short_is_gone(vault: Vault, tmp_path: Path) -> None:
    vault.create(ID)
    vault.ledger_put(ID, {"owner": 1})
    wrapped = tmp_path / "keys" / "recordings" / f"{ID}.key"
    wrapped.write_bytes(bytes(wrapped.stat().st_size))
    with pytest.raises(ErasedError):
        vault.keys(ID)
    assert vault.recordings() == frozenset()
    assert vault.remains() == {ID}


def test_a_destroyed_file_is_overwritten_before_it_is_unlinked(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"canary" * 400_000)
    os.link(path, tmp_path / "witness")
    files.destroy_file(path)
    assert not path.exists()
    assert (tmp_path / "witness").read_bytes() == bytes(2_400_000)


# --- the crash ledger ------------------------------------------------------------------------------------------------


def test_the_ledger_is_there_after_a_crash_and_gone_once_removed(vault: Vault, tmp_path: Path) -> None:
    vault.create(ID)
    entry: dict[str, int | str | None] = {"owner": 7, "state": "begun", "ended_at_ns": None}
    vault.ledger_put(ID, {"owner": 7})
    vault.ledger_put(ID, entry)
    assert reopened(tmp_path).ledger() == {ID: entry}
    vault.ledger_remove(ID)
    vault.ledger_remove(ID)
    assert reopened(tmp_path).ledger() == {}


def test_a_ledger_entry_whose_key_is_gone_is_an_interrupted_destruction_and_is_finished(
    vault: Vault, tmp_path: Path
) -> None:
    vault.create(ID)
    vault.ledger_put(ID, {"owner": 7})
    (tmp_path / "keys" / "recordings" / f"{ID}.key").unlink()
    assert reopened(tmp_path).ledger() == {}
    assert not [path for path in tmp_path.rglob("*") if ID in path.name]


def test_an_altered_ledger_entry_is_said_not_passed_over(vault: Vault, tmp_path: Path) -> None:
    vault.create(ID)
    vault.ledger_put(ID, {"owner": 7})
    path = tmp_path / "data" / "ledger" / f"{ID}.entry"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(SealError):
        vault.ledger()


_WRITER = """
import sys
from pathlib import Path
from sipgate.vault.vault import Vault
vault = Vault(Path(sys.argv[1]) / "data", Path(sys.argv[1]) / "keys")
vault.create("0123456789abcdef0123456789abcdef")
print("created", flush=True)
number = 0
while True:
    vault.ledger_put("0123456789abcdef0123456789abcdef", {"number": number, "filling": "x" * 5000})
    print(number, flush=True)
    number += 1
"""


def test_kill_9_while_writing_the_ledger_leaves_a_whole_entry_at_least_as_new_as_the_last_confirmed(
    tmp_path: Path,
) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    with writer.stdout as output:
        confirmed = 0
        for line in output:
            confirmed = int(line) if line.strip().isdigit() else 0
            if confirmed >= 20:
                break
        writer.send_signal(signal.SIGKILL)
        confirmed = max([confirmed, *(int(line) for line in output if line.endswith("\n"))])
    writer.wait(10)
    (entry,) = reopened(tmp_path).ledger().values()
    number = entry["number"]
    assert isinstance(number, int)
    assert number in (confirmed, confirmed + 1)


def test_a_written_file_is_synced_before_it_gets_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        sync(descriptor)

    def replace(source: Path, target: Path) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr("os.replace", replace)
    files.write_whole(tmp_path / "a", (b"x",))
    assert done == ["file", "rename", "folder"]
    done.clear()
    files.write_once(tmp_path / "b", b"x")
    assert done == ["file", "folder"]
    done.clear()
    files.destroy_file(tmp_path / "a")
    assert done == ["file", "folder"]


def test_what_a_killed_write_left_is_destroyed_a_copy_of_a_key_above_all(vault: Vault, tmp_path: Path) -> None:
    vault.create(ID)
    vault.ledger_put(ID, {"owner": 1})
    key, entry = tmp_path / "keys" / "recordings" / f"{ID}.key", tmp_path / "data" / "ledger" / f"{ID}.entry"
    sealed = tmp_path / "data" / "media" / ID / "metadata.sealed"
    vault.write_sealed(ID, sealed.name, b"who called")
    for path in (key, entry, sealed):
        path.with_name(f".{path.name}{files.TEMPORARY}0011223344556677").write_bytes(path.read_bytes())
    assert reopened(tmp_path).sweep() == 3
    assert not [path for path in tmp_path.rglob("*") if files.TEMPORARY in path.name]
    assert key.exists()
    assert vault.ledger() == {ID: {"owner": 1}}
    with vault.open_sealed(ID, sealed.name) as reader:
        assert reader.read(0, reader.size) == b"who called"


# --- the site key and secrets ----------------------------------------------------------------------------------------


def test_a_missing_site_key_beside_recordings_is_never_replaced(vault: Vault, tmp_path: Path) -> None:
    vault.create(ID)
    with pytest.raises(StoreError, match=r"site\.key: missing, though there are recordings"):
        Vault(tmp_path / "data", tmp_path / "elsewhere")
    (tmp_path / "keys" / "site.key").unlink()
    with pytest.raises(StoreError, match=r"site\.key: missing"):
        reopened(tmp_path)


def test_a_site_key_cut_short_is_refused(vault: Vault, tmp_path: Path) -> None:
    assert vault.recordings() == frozenset()
    os.truncate(tmp_path / "keys" / "site.key", 31)
    with pytest.raises(StoreError, match=r"site\.key: holds 31 bytes"):
        reopened(tmp_path)


def test_secrets_are_made_once_and_differ(vault: Vault, tmp_path: Path) -> None:
    assert vault.secret("command") == reopened(tmp_path).secret("command") != vault.secret("journal")
    assert len(vault.secret("long", 64)) == 64
    with pytest.raises(StoreError, match="instead of 16"):
        vault.secret("long", 16)


def _secret_of(folder: str, start: object) -> bytes:
    return Vault(Path(folder) / "data", Path(folder) / "keys").secret("shared")


def test_processes_that_start_at_once_agree_on_the_secrets(tmp_path: Path) -> None:
    with get_context("spawn").Pool(3) as pool:
        found = pool.starmap(_secret_of, [(str(tmp_path), i) for i in range(9)])
    assert len(set(found)) == 1
    assert not [path for path in tmp_path.rglob("*") if files.TEMPORARY in path.name]


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="data: cannot be made a private folder"):
        Vault(tmp_path / "data", tmp_path / "keys")


def test_a_wrapped_key_of_another_length_is_refused() -> None:
    with pytest.raises(SealError, match="64 bytes"):
        RecordingKeys.from_bytes(bytes(63))
    keys = RecordingKeys.new()
    assert RecordingKeys.from_bytes(keys.to_bytes()) == keys


def test_a_reader_that_is_open_stays_readable_and_a_new_one_is_refused_after_erasure(vault: Vault) -> None:
    vault.create(ID)
    vault.write_sealed(ID, "metadata.sealed", b"x")
    reader: SealedReader
    with vault.open_sealed(ID, "metadata.sealed") as reader:
        vault.destroy(ID)
        assert reader.read(0, 1) == b"x"
    with pytest.raises(ErasedError):
        vault.open_sealed(ID, "metadata.sealed")
