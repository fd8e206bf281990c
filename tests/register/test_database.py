"""The database itself: migrations, several processes, a full disk, and that a copy of it tells no line."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, inspect, text

from sipgate.core.lines import parse_selector
from sipgate.errors import LineSyntaxError, SealError, StoreError
from sipgate.register.database import _use_wal
from sipgate.register.models import Base
from sipgate.register.register import MIGRATIONS, Register
from sipgate.register.sealing import Sealing
from tests.register.site import NOW, SECRET, Site, open_register


def test_from_nothing_the_migrations_make_what_the_models_say(tmp_path: Path) -> None:
    register = open_register(tmp_path / "sub folder" / "100 % new.db")
    register.migrate()
    register.migrate()
    assert register.revision() == 0
    register.close()
    engine = create_engine(f"sqlite:///{tmp_path / 'sub folder' / '100 % new.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    modelled = create_engine("sqlite://")
    Base.metadata.create_all(modelled)
    for table in Base.metadata.tables:  # alembic compares no check constraints
        migrated, made = (
            sorted(str(one) for one in inspect(e).get_check_constraints(table)) for e in (engine, modelled)
        )
        assert migrated == made, table
    engine.dispose()
    modelled.dispose()


def test_a_register_of_before_stories_keeps_its_recordings_and_viewings_each_a_story_of_its_own(site: Site) -> None:
    enrolment = site.film().id
    for name in ("a" * 32, "b" * 32):
        site.recording(name, enrolment)
    site.register.consultations.add("a" * 32, site.trainer, "review", NOW)
    with closing(sqlite3.connect(site.path)) as connection:
        connection.executescript(
            "DROP INDEX ix_recording_story; ALTER TABLE recording DROP COLUMN story;"
            "UPDATE alembic_version SET version_num = '0001';"
        )
    site.register.migrate()
    assert {row.recording: row.story for row in site.register.recordings.all()} == {n: n for n in ("a" * 32, "b" * 32)}
    assert len(site.register.consultations.of("a" * 32)) == 1


def test_there_is_one_line_of_migrations() -> None:
    assert len(ScriptDirectory(str(MIGRATIONS)).get_heads()) == 1


def test_the_migrations_are_in_the_package_that_is_built() -> None:
    # setuptools takes packages (folders with __init__.py) and what package-data names.
    assert (MIGRATIONS / "__init__.py").exists()
    assert (MIGRATIONS / "versions" / "__init__.py").exists()
    assert '"register/migrations/*.mako"' in (MIGRATIONS.parents[2] / "pyproject.toml").read_text()


def test_a_register_of_a_newer_sipgate_is_refused(site: Site) -> None:
    with sqlite3.connect(site.path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError, match="newer sipgate"):
        site.register.migrate()


def test_a_register_that_was_never_migrated_says_so_without_a_traceback_of_sql(tmp_path: Path) -> None:
    with (
        closing(open_register(tmp_path / "new.db")) as register,
        pytest.raises(StoreError, match="cannot be used: no such table"),
    ):
        register.revision()


def test_the_file_and_what_sqlite_puts_beside_it_are_private(tmp_path: Path) -> None:
    (tmp_path / "new.db").touch(0o644)
    with closing(open_register(tmp_path / "new.db")) as register:
        register.migrate()
        register.exclusions.exclude("2100", None, NOW)
        assert {path.name for path in tmp_path.iterdir()} == {"new.db", "new.db-wal", "new.db-shm"}
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_place_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"register\.db: the register's file cannot be made"):
        open_register(tmp_path / "file" / "register.db")


def test_what_is_not_a_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "new.db").write_bytes(b"no database" * 1000)
    with (
        closing(open_register(tmp_path / "new.db")) as register,
        pytest.raises(StoreError, match="cannot be used: file is not a database"),
    ):
        register.migrate()


# --- several processes -----------------------------------------------------------------------------------------------

_WRITER = """
import sys
from sipgate.register.register import Register
register = Register("sqlite:///" + sys.argv[1], secret=bytes(range(32)), country="FR")
print("ready", flush=True)
sys.stdin.readline()
register.migrate()
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 40):
    register.exclusions.exclude(str(number), None, number)
print("done", flush=True)
"""


def writer(path: Path, first: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(first)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_migrate_and_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "register.db"
    both = [writer(path, first) for first in (2000, 3000)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        assert process.communicate(timeout=60) == ("done\n", "")
    expected = {str(number) for first in (2000, 3000) for number in range(first, first + 40)}
    with closing(open_register(path)) as register:
        assert {row.text for row in register.exclusions.all()} == expected
        assert register.revision() == 80


def test_a_file_that_another_process_is_setting_up_is_waited_for(tmp_path: Path) -> None:
    """SQLite says "locked" to the later of two that switch a new file's journal, at once and without the timeout."""
    told: list[str] = []

    class Later(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            told.append(sql)
            if len(told) <= 3:
                raise sqlite3.OperationalError("database is locked")
            return super().execute(sql, *arguments)

    with closing(sqlite3.connect(tmp_path / "register.db", factory=Later)) as connection:
        _use_wal(connection)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert told[:4] == ["PRAGMA journal_mode=WAL"] * 4


def test_another_process_sees_a_change_by_the_revision_at_once(site: Site) -> None:
    other = open_register(site.path)
    before = other.revision()
    site.register.exclusions.exclude("2100", None, NOW)
    assert other.revision() == before + 1
    assert other.exclusions.selectors() == (parse_selector("2100", "FR"),)
    other.close()


def test_a_reader_is_not_held_up_by_a_writer(site: Site) -> None:
    with sqlite3.connect(site.path, isolation_level=None) as writer_connection:
        writer_connection.execute("BEGIN IMMEDIATE")
        assert site.register.people.get(site.trainee).login == "anna"
        writer_connection.execute("ROLLBACK")
    writer_connection.close()


def test_a_register_that_stays_locked_is_an_error_not_a_wait_for_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sipgate.register.database.BUSY_SECONDS", 0.05)
    impatient = open_register(site.path)
    with sqlite3.connect(site.path, isolation_level=None) as writer_connection:
        writer_connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="database is locked"):
            impatient.exclusions.exclude("2100", None, NOW)
        writer_connection.execute("ROLLBACK")
    writer_connection.close()
    impatient.close()


_FULL = """
import os, resource, sys
from sipgate.errors import StoreError
from sipgate.register.register import Register
register = Register("sqlite:///" + sys.argv[1], secret=bytes(range(32)), country="FR")
register.notices.publish("short", 1)
limit = os.path.getsize(sys.argv[1] + "-wal") + 5000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    register.notices.publish("canary " * 10000, 2)
except StoreError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(register.notices.publish("after", 3))
"""


def test_a_full_disk_is_an_error_that_changes_nothing_and_repeats_nothing(site: Site) -> None:
    # RLIMIT_FSIZE makes the kernel refuse the write, as a full disk does.
    ran = subprocess.run([sys.executable, "-c", _FULL, str(site.path)], capture_output=True, text=True, check=True)
    message, after = ran.stdout.splitlines()
    assert message.startswith("the register cannot be used: ")
    assert "canary" not in ran.stdout + ran.stderr
    assert after == "2"


def test_a_transaction_that_fails_half_way_leaves_nothing(site: Site) -> None:
    # The schema itself refuses what code forgot to: here a capacity of zero, written past the checks.
    enrolment = site.sound("2001").id
    with sqlite3.connect(site.path) as connection, pytest.raises(sqlite3.IntegrityError, match="capacity"):
        connection.execute("UPDATE enrolment SET capacity = 0")
    connection.close()
    assert site.register.enrolments.get(enrolment).capacity == 5


def test_foreign_keys_are_enforced(site: Site) -> None:
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        site.recording("a" * 32, enrolment=99)


# --- sealed ----------------------------------------------------------------------------------------------------------


def test_no_number_address_or_secret_is_in_any_byte_of_the_database(site: Site) -> None:
    site.line("200123", "+33142685301", "sip:canary@pbx.example")
    site.film()
    site.sound("240000-249999", "25xxxx", "sip:*@canary.example")
    site.open_gate()
    row = site.register.exclusions.exclude("+33142685399", None, NOW)
    site.register.exclusions.exclude("sip:canary@council.example", None, NOW)
    site.register.exclusions.request_removal(row.id, site.admin, NOW)
    site.register.exclusions.confirm_removal(row.id, site.dpo, NOW)
    live = b"".join(path.read_bytes() for path in site.path.parent.iterdir())
    site.register.close()
    closed = b"".join(path.read_bytes() for path in site.path.parent.iterdir())
    for stored in (live, closed):
        for word in (
            b"200123",
            b"142685301",
            b"142685399",
            b"canary@",
            b"canary.example",
            b"240000",
            b"25xxxx",
            SECRET,
        ):
            assert word not in stored


def test_another_sites_secret_opens_no_line(site: Site) -> None:
    site.register.exclusions.exclude("2100", None, NOW)
    stranger = open_register(site.path, bytes(32))
    with pytest.raises(SealError, match="does not open"):
        stranger.exclusions.selectors()
    with pytest.raises(SealError):
        stranger.people.pseudonym(site.trainee)
    with pytest.raises(ValueError, match="32 bytes"):
        open_register(site.path, b"short")
    stranger.close()


def test_a_sealed_value_opens_in_its_place_only_and_whole() -> None:
    sealing = Sealing(SECRET)
    sealed = sealing.seal("exclusion", b"2100")
    assert sealing.open("exclusion", sealed) == b"2100"
    assert sealed != sealing.seal("exclusion", b"2100")
    altered = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for place, value in (("line", sealed), ("exclusion", altered), ("exclusion", sealed[:20]), ("exclusion", b"")):
        with pytest.raises(SealError):
            sealing.open(place, value)


@given(
    st.one_of(
        st.from_regex(r"\+?[0-9*#]{1,14}", fullmatch=True),
        st.from_regex(r"\+?[0-9]{1,9}[x]{0,3}\*?", fullmatch=True),
        st.tuples(st.integers(0, 10**10), st.integers(0, 10**10)).map(lambda pair: f"{min(pair)}-{max(pair)}"),
        st.from_regex(r"sips?:(\*|[a-z0-9._+-]{1,10})@[a-z0-9.-]{1,20}", fullmatch=True),
    )
)
def test_what_is_stored_of_a_line_reads_back_as_the_same_line(written: str) -> None:
    try:
        selector = parse_selector(written, "FR")
    except LineSyntaxError:
        return
    assert parse_selector(str(selector), "FR") == selector


def test_sql_errors_never_repeat_values(site: Site) -> None:
    with site.register._database.writing() as session:
        session.execute(text("DROP TABLE acknowledgement"))
        session.execute(text("DROP TABLE notice"))
        session.execute(text("DROP TABLE exclusion"))
    asked: list[tuple[Callable[[], object], str]] = [
        (lambda: site.register.notices.publish("canary", NOW), "notice"),
        (lambda: site.register.exclusions.exclude("+33142685399", None, NOW), "exclusion"),
    ]
    for ask, table in asked:
        with pytest.raises(StoreError, match=f"no such table: {table}") as found:
            ask()
        chain = "".join(traceback.format_exception(found.value))
        for word in ("canary", "142685399", SECRET.hex()):
            assert word not in chain.replace('publish("canary"', "").replace('exclude("+33142685399"', "")


def test_the_register_opens_on_a_url_of_any_kind_and_names_a_bad_one(tmp_path: Path) -> None:
    memory = Register("sqlite://", secret=SECRET)
    memory.close()
    assert os.listdir(tmp_path) == []
