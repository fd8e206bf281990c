"""Sealed segments on the disk until the server has them. RULES.md R11, R19."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from capture_client import spool as spool_module
from capture_client.errors import SpoolError
from capture_client.spool import Part, Spool

A, B = "a" * 32, "b" * 32


def names(spool: Spool) -> list[str]:
    """What an uploader takes, in order."""
    found = []
    while (part := spool.next_part()) is not None:
        found.append(part.name)
        spool.acknowledged(part)
    return found


def test_segments_go_in_order_as_they_are_released_and_the_end_goes_last(tmp_path: Path) -> None:
    changes: list[int] = []
    spool = Spool(tmp_path / "s", lambda: changes.append(1))
    take = spool.begin(A)
    for index in range(3):
        take.write(index, b"sealed")
    assert spool.next_part() is None
    take.release(2)
    assert names(spool) == ["0", "1"]
    take.finish(3)
    assert len(changes) == 2
    part = spool.next_part()
    assert part == Part(A, take.name, 2, take.path / "000002.seg")
    spool.acknowledged(part)
    part = spool.next_part()
    assert part is not None
    assert json.loads(part.path.read_bytes()) == {"segments": 3}
    spool.acknowledged(part)
    assert list((tmp_path / "s").iterdir()) == []


def test_everything_is_for_this_user_only(tmp_path: Path) -> None:
    take = Spool(tmp_path / "s").begin(A)
    take.write(0, b"sealed")
    for path in (tmp_path / "s", *(tmp_path / "s").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_take_that_a_crash_cut_off_ends_with_the_segments_that_exist(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    take = spool.begin(A)
    for index in range(4):
        take.write(index, b"sealed")
    take.release(2)
    part = spool.next_part()
    assert part is not None
    spool.acknowledged(part)
    again = Spool(tmp_path / "s")
    assert json.loads((take.path / "end").read_bytes()) == {"segments": 4}
    assert names(again) == ["1", "2", "3", "end"]


def test_its_length_is_known_even_when_all_segments_were_uploaded_before_the_crash(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    take = spool.begin(A)
    take.write(0, b"sealed")
    take.write(1, b"sealed")
    take.release(2)
    assert names(spool) == ["0", "1"]
    Spool(tmp_path / "s")
    assert json.loads((take.path / "end").read_bytes()) == {"segments": 2}


def test_erasing_leaves_nothing_and_makes_the_running_take_do_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    take, other = spool.begin(A), spool.begin(B)
    take.write(0, b"sealed")
    other.write(0, b"sealed")
    spool.erase(A)
    spool.erase(A)
    take.write(1, b"sealed")
    take.release(2)
    take.remove(0)
    take.finish(2)
    assert [p.name for p in (tmp_path / "s").iterdir()] == [B]


def test_an_upload_that_ends_after_the_erasure_is_no_error(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    take = spool.begin(A)
    take.write(0, b"sealed")
    take.release(1)
    part = spool.next_part()
    assert part is not None
    spool.erase(A)
    spool.acknowledged(part)


def test_the_ceiling_refuses_new_takes_and_segments_and_frees_as_uploads_go(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", ceiling=100)
    take = spool.begin(A)
    take.write(0, bytes(100))
    with pytest.raises(SpoolError, match="ceiling"):
        take.write(1, b"x")
    with pytest.raises(SpoolError, match="ceiling"):
        spool.begin(B)
    take.release(1)
    assert names(spool) == ["0"]
    take.write(1, bytes(100))
    with pytest.raises(SpoolError, match="ceiling"):
        Spool(tmp_path / "s", ceiling=100).begin(B)


def test_a_disk_that_is_nearly_full_is_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "s")
    monkeypatch.setattr(spool_module, "FREE_BYTES", shutil.disk_usage(tmp_path).total * 2)
    with pytest.raises(SpoolError, match="nearly full"):
        spool.begin(A)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="file"):
        Spool(tmp_path / "file" / "s")


def test_a_write_that_fails_is_a_spool_error_and_leaves_no_half_segment(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    take = spool.begin(A)
    shutil.rmtree(take.path)  # the disk does not do its part
    with pytest.raises(SpoolError, match="cannot be written"):
        take.write(0, b"sealed")
