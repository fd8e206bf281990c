"""The register: everything that is known, in SQL, one attribute a topic, and the policy that follows from it.

Any number of processes may use it at once (the server, the command line); every method is synchronous, is one
transaction, and may be called from any thread. What it knows of lines is sealed (``sealing.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import select
from sqlalchemy.orm import Session

from sipgate.core.lines import Selector, SelectorSet
from sipgate.core.policy import Connection, Enrolment, FilmPlan, Holder, Policy
from sipgate.errors import StoreError
from sipgate.register import enrolments, exclusions, gate, lines, notices
from sipgate.register.database import Database
from sipgate.register.days import ends_at_ns, starts_at_ns
from sipgate.register.enrolments import Enrolments
from sipgate.register.exclusions import Exclusions
from sipgate.register.gate import Gate
from sipgate.register.lines import Lines
from sipgate.register.models import EnrolmentModel, RevisionModel
from sipgate.register.notices import Notices
from sipgate.register.people import People
from sipgate.register.recordings import Consultations, Recordings
from sipgate.register.sealing import Sealing
from sipgate.register.sign_ins import SignIns
from sipgate.register.workstations import Workstations

MIGRATIONS = Path(__file__).parent / "migrations"


class Register:
    """The register of one site."""

    def __init__(self, url: str, *, secret: bytes, country: str = "FR") -> None:
        """``url``: an SQLAlchemy URL. ``secret``: 32 bytes that what identifies a line is sealed under; keep it apart.

        ``country``: ISO 3166, for national telephone numbers. Raises StoreError.
        """
        self._database = database = Database(url, Sealing(secret), country)
        self.people = People(database)
        self.sessions = SignIns(database)
        self.notices = Notices(database)
        self.gate = Gate(database)
        self.lines = Lines(database)
        self.enrolments = Enrolments(database)
        self.exclusions = Exclusions(database)
        self.workstations = Workstations(database)
        self.recordings = Recordings(database)
        self.consultations = Consultations(database)

    def migrate(self) -> None:
        """Make the tables, or bring older ones up to date; several processes may do so at once. Raises StoreError."""
        settings = Config()
        settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        settings.set_main_option("path_separator", "os")
        try:
            with self._database.migrating() as connection:
                settings.attributes["connection"] = connection
                command.upgrade(settings, "head")
        except CommandError as error:
            raise StoreError("the register was made by a newer sipgate: install that one") from error

    def close(self) -> None:
        """Close all connections."""
        self._database.engine.dispose()

    def revision(self) -> int:
        """A number that rises with every change, by any process, that could alter the policy."""
        with self._database.reading() as session:
            return session.scalars(select(RevisionModel.number)).one()

    def policy(
        self,
        *,
        now_ns: int,
        connections: Mapping[str, Connection],
        file_exclusions: Sequence[Selector],
        file_readable: bool,
        frames_per_second: int,
        domains: frozenset[str],
    ) -> Policy:
        """The policy that follows from the register at one moment, for ``core.policy.decide``.

        ``file_exclusions`` are the last good ones of the admins' file, which the console's list is added to;
        ``file_readable`` False: nothing is recorded, and they still protect. ``domains`` as in ``Policy``.
        Enrolments that are over at ``now_ns`` are left out; those to come are in it, with their times, for core to
        decide by.
        """
        with self._database.reading() as session:
            listed = exclusions.selectors(session, self._database)
            return Policy(
                exclusions=SelectorSet((*file_exclusions, *listed)),
                exclusions_readable=file_readable,
                gate_open=gate.is_open(session),
                enrolments=self._enrolments(session, now_ns, frames_per_second),
                holders=self._holders(session),
                connections=dict(connections),
                domains=domains,
            )

    def _enrolments(self, session: Session, now_ns: int, frames_per_second: int) -> tuple[Enrolment, ...]:
        counted = enrolments.backlogs(session)
        asked = select(EnrolmentModel).where(EnrolmentModel.ended_at_ns.is_(None)).order_by(EnrolmentModel.id)
        return tuple(
            self._enrolment(row, counted.get(row.id, 0), frames_per_second)
            for row in session.scalars(asked)
            if now_ns < ends_at_ns(row.ends_on)
        )

    def _enrolment(self, row: EnrolmentModel, backlog: int, frames_per_second: int) -> Enrolment:
        film = None
        if row.workstation is not None and row.application is not None:
            film = FilmPlan(row.workstation, row.application, frames_per_second)
        selectors = self._database.open_selectors(gate.ENROLMENT_PLACE, [one.selector for one in row.lines])
        return Enrolment(
            enrolment=row.id,
            lines=SelectorSet(selectors),
            starts_at_ns=starts_at_ns(row.starts_on),
            ends_at_ns=ends_at_ns(row.ends_on),
            capacity=row.capacity,
            backlog=backlog,
            trainee=row.trainee_id,
            film=film,
        )

    def _holders(self, session: Session) -> tuple[Holder, ...]:
        acknowledged = notices.who_acknowledged(session)
        return tuple(
            Holder(row.person_id, SelectorSet(held), row.person_id in acknowledged)
            for row, held in lines.active(session, self._database)
        )
