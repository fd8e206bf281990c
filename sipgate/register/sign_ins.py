"""Who is signed in to the console. The register keeps a hash of each token, so a copy of it signs nobody in."""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy import ColumnElement, delete, or_

from sipgate.register import people
from sipgate.register.database import Database
from sipgate.register.models import SignInModel
from sipgate.register.rows import Person

IDLE_NS = 30 * 60 * 1_000_000_000
ABSOLUTE_NS = 10 * 3600 * 1_000_000_000
"""A working day: then everybody signs in again, however busy they were."""
_NOTED_NS = 60 * 1_000_000_000
"""Use is noted once a minute: not every request is worth a write."""


class SignIns:
    """Sessions of the console."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, person_id: int, now_ns: int) -> str:
        """Sign the person in; the token (43 characters) is the proof. Raises RegisterError for an unknown person."""
        token = secrets.token_urlsafe(32)
        with self._database.writing() as session:
            people.find(session, person_id)
            session.execute(delete(SignInModel).where(_over(now_ns)))
            session.add(
                SignInModel(token_hash=_hash(token), person_id=person_id, opened_at_ns=now_ns, used_at_ns=now_ns)
            )
        return token

    def person(self, token: str, now_ns: int) -> Person | None:
        """Who is signed in under the token; None when nobody is, or it was idle or open for too long."""
        with self._database.reading() as session:
            row = session.get(SignInModel, _hash(token))
            if row is None or now_ns - row.used_at_ns >= IDLE_NS or now_ns - row.opened_at_ns >= ABSOLUTE_NS:
                return None
            person, noted = people.find(session, row.person_id), row.used_at_ns
        if now_ns - noted >= _NOTED_NS:
            with self._database.writing() as session:
                if (row := session.get(SignInModel, _hash(token))) is None:
                    return None  # signed out meanwhile
                row.used_at_ns = max(row.used_at_ns, now_ns)
        return person

    def close(self, token: str) -> None:
        """Sign out; an unknown token is no error."""
        with self._database.writing() as session:
            session.execute(delete(SignInModel).where(SignInModel.token_hash == _hash(token)))


def _over(now_ns: int) -> ColumnElement[bool]:
    return or_(SignInModel.used_at_ns <= now_ns - IDLE_NS, SignInModel.opened_at_ns <= now_ns - ABSOLUTE_NS)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
