"""What health says, in words for people; it names no line and no call."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sipgate.config import Configuration
from sipgate.service.health import HealthDesk
from sipgate.vault.journal_file import Journal


class Parts:
    """All is well, until a test says otherwise."""

    def __init__(self, folder: Path, key: str | None) -> None:
        peer = {"name": "pbx", "addresses": ["192.0.2.1"], "begins": "answer", "announcement": "before-answer"}
        store = {"data": str(folder), "keys": str(folder / "keys")}
        connection = {**peer, **({"telephone_key": key} if key else {})}
        self.config = Configuration.model_validate({"store": store, "siprec": {"connection": [connection]}})
        self.connected = True
        self.keeper = SimpleNamespace(file_error=None, register_error=None, policy=SimpleNamespace(gate_open=True))
        self.finishing = SimpleNamespace(unfinished=0, failures=0)
        self.link = SimpleNamespace(connected=lambda: self.connected, states=list)
        self.journal = Journal(folder / "journal", Ed25519PrivateKey.generate())
        self.stage = SimpleNamespace(open_failures=0, erasures_owed=0)
        self.tap = SimpleNamespace(unreadable=0, keys_shown=frozenset(), refused_codecs={})

    def desk(self) -> HealthDesk:
        parts = (self.keeper, self.stage, self.tap, self.link, self.finishing, self.journal)
        desk = HealthDesk(self.config, *(cast("Any", part) for part in parts))
        desk.look()
        return desk


def test_all_is_well(tmp_path: Path) -> None:
    report = Parts(tmp_path, "*9").desk().report()
    assert report.ready
    assert all(item.good for item in report.items)


def test_codecs_that_were_refused_are_named_with_the_connection(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "*9")
    parts.tap.refused_codecs = {("pbx", "EVS"): 3, ("pbx", "AMR"): 1, ("another", "SPEEX"): 1}
    (item,) = (item for item in parts.desk().report().items if not item.good)
    assert item.name == "codecs of pbx"
    assert "AMR (1 times), EVS (3 times)" in item.text


@pytest.mark.parametrize(
    ("part", "name", "value", "words"),
    [
        ("keeper", "file_error", "lines.txt:3: reversed", "lines.txt:3"),
        ("keeper", "register_error", "the register cannot be read", "register"),
    ],
)
def test_what_keeps_calls_from_being_recorded_makes_it_not_ready(
    tmp_path: Path, part: str, name: str, value: str, words: str
) -> None:
    parts = Parts(tmp_path, "*9")
    setattr(getattr(parts, part), name, value)
    (reason,) = parts.desk().report().reasons
    assert words in reason
    assert "nothing is recorded" in reason


def test_a_disk_that_cannot_be_looked_at_counts_as_full(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "*9")
    parts.config = parts.config.model_copy(
        update={"store": parts.config.store.model_copy(update={"data": tmp_path / "not-there"})}
    )
    (reason,) = parts.desk().report().reasons
    assert "make room" in reason


def test_a_lost_broker_keeps_sound_where_a_telephone_key_can_stop_it(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "*9")
    parts.connected = False
    report = parts.desk().report()
    assert report.ready
    assert [(item.name, "telephone key" in item.text) for item in report.items if not item.good] == [
        ("MQTT broker", True)
    ]


def test_a_lost_broker_where_no_key_reaches_the_recorder_is_not_ready(tmp_path: Path) -> None:
    parts = Parts(tmp_path, None)
    parts.connected = False
    (reason,) = parts.desk().report().reasons
    assert "MQTT broker" in reason
    assert "telephone_key" in reason


@pytest.mark.parametrize(
    ("part", "name", "shown"),
    [
        ("finishing", "unfinished", "recordings"),
        ("stage", "open_failures", "disk and ports"),
        ("stage", "erasures_owed", "erasures"),
        ("tap", "unreadable", "recording sessions"),
    ],
)
def test_what_went_wrong_is_counted_and_calls_are_still_recorded(
    tmp_path: Path, part: str, name: str, shown: str
) -> None:
    parts = Parts(tmp_path, "*9")
    setattr(getattr(parts, part), name, 7)
    report = parts.desk().report()
    assert report.ready
    assert [(item.name, "7" in item.text) for item in report.items if not item.good] == [(shown, True)]


def test_a_journal_that_cannot_be_written_makes_it_not_ready_until_it_can(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = Parts(tmp_path, "*9")
    path = parts.journal.path
    parts.journal.append("viewing", 1, recording="a")
    before = path.read_bytes()
    path.rename(path.with_suffix(".aside"))
    path.mkdir()
    desk = parts.desk()
    (reason,) = desk.report().reasons
    assert "journal" in reason
    assert "nothing is recorded" in reason
    desk.look()
    assert capsys.readouterr().out.count("the journal cannot be written") == 1
    path.rmdir()
    path.with_suffix(".aside").rename(path)
    desk.look()
    assert desk.report().ready
    assert path.read_bytes() == before, "looking writes no entry"


def test_a_journal_whose_tail_vanished_makes_it_not_ready(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "*9")
    for at_ns in (1, 2):
        parts.journal.append("viewing", at_ns, recording="a")
    first, _ = parts.journal.path.read_bytes().splitlines(keepends=True)
    parts.journal.path.write_bytes(first)
    (reason,) = parts.desk().report().reasons
    assert "vanished" in reason


def test_srtp_keys_that_anybody_can_read_are_said_with_the_connection_that_shows_them(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "*9")
    parts.tap.keys_shown = frozenset({"sbc-1"})
    report = parts.desk().report()
    assert report.ready
    (item,) = [item for item in report.items if not item.good]
    assert item.name == "SRTP keys"
    assert "sbc-1" in item.text
    assert "TLS" in item.text
