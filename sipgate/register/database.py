"""The database: one engine, reading and writing transactions, what is sealed, and the revision.

SQLite: write-ahead log, foreign keys enforced, every commit on disk before it returns, deleted rows overwritten, up to
10 s of waiting for another process. A writing transaction takes the write lock at its beginning, so that what it read
is still so when it writes, and two processes cannot deadlock.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError

from sqlalchemy import Connection, Engine, create_engine, event, make_url, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session, UOWTransaction
from sqlalchemy.pool import ConnectionPoolEntry

from sipgate.core.lines import Selector, parse_selector
from sipgate.errors import RegisterLostError, StoreError
from sipgate.register.models import Base, RevisionModel
from sipgate.register.sealing import Sealing

BUSY_SECONDS = 10.0

First = Callable[[int], None]
"""What must have happened before an act stands: its journal entry. Called with the number of the act's row, when every
check has passed and nothing is committed yet; if it raises, nothing is done."""


def nothing_first(_row: int) -> None:
    """For whoever has journalled already."""


class Database:
    """What every topic of the register stands on."""

    def __init__(self, url: str, sealing: Sealing, country: str) -> None:
        """``country``: ISO 3166, for national telephone numbers. Raises StoreError when the file cannot be made."""
        self.sealing = sealing
        self.country = country
        # A list of 10,000 exclusions takes 0.5 s to open: a change of it is to be in force within a second.
        self._opened = lru_cache(maxsize=1 << 16)(self._open_selector)
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        if sqlite and parsed.database:
            _private_file(Path(parsed.database))
        # hide_parameters: an SQL error must not repeat a name or a hash in some log.
        self.engine: Engine = create_engine(
            url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS} if sqlite else {}
        )
        if sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self.writing_engine = self.engine.execution_options(writing=True)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees one moment. Raises StoreError."""
        with _named(), Session(self.engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction: committed and durable at the end of the block, or it leaves nothing. Raises StoreError."""
        with _named(), Session(self.writing_engine) as session:
            event.listen(session, "before_flush", _count_revision)
            with session.begin():
                yield session

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A connection with the write lock, on which tables are changed: all of it or nothing. Raises StoreError."""
        with _named(), self.writing_engine.begin() as connection:
            yield connection

    def seal_selectors(self, place: str, selectors: Sequence[Selector]) -> list[bytes]:
        """Lines, ranges, patterns, as they are stored."""
        return [self.sealing.seal(place, str(selector).encode()) for selector in selectors]

    def open_selectors(self, place: str, sealed: Sequence[bytes]) -> tuple[Selector, ...]:
        """The reverse."""
        return tuple(self._opened(place, one) for one in sealed)

    def _open_selector(self, place: str, sealed: bytes) -> Selector:
        return parse_selector(self.sealing.open(place, sealed).decode(), self.country)


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise RegisterLostError(f"the register cannot be used: {error.orig}") from error
    except SQLAlchemyError as error:
        raise RegisterLostError(f"the register cannot be used: {type(error).__name__}") from error


def _count_revision(session: Session, _flush: UOWTransaction, _instances: object) -> None:
    changed = (*session.new, *session.dirty, *session.deleted)
    if any(isinstance(one, Base) and one.shapes_policy for one in changed):
        session.execute(update(RevisionModel).values(number=RevisionModel.number + 1))


def _private_file(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise StoreError(f"{path}: the register's file cannot be made: {error.strerror}") from error


def _prepare_sqlite(connection: SqliteConnection, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions begin when we say so: _begin_sqlite
    _use_wal(connection)
    for pragma in ("foreign_keys=ON", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _use_wal(connection: SqliteConnection) -> None:
    """Of processes that open a new file at once, the later are told "locked" here without the timeout's wait."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
