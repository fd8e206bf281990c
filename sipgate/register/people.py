"""People: personal accounts with roles, their passwords, their pseudonyms."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from sipgate.errors import ErasedError, RegisterError, RegisterValueError, RuleValueError
from sipgate.register.database import Database, First, nothing_first
from sipgate.register.models import PersonModel, PersonRoleModel, SignInModel
from sipgate.register.rows import Person, Role

SHORTEST_PASSWORD = 12
_LONGEST_PASSWORD = 1024
_LOGIN = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_STAND_ALONE = {
    Role.TELEPHONY_ADMIN: "an administrator cannot view, so holds no other role (R7): use a second account",
    Role.DPO: "the DPO signs off what others operate, so holds no other role (R13): use a second account",
}
_PLACE = "pseudonym"


def person_of(row: PersonModel) -> Person:
    """The value of a row."""
    return Person(row.id, row.login, row.name, frozenset(Role(one.role) for one in row.roles))


def find(session: Session, person_id: int) -> Person:
    """The person of that id, within a transaction. Raises RegisterError."""
    return person_of(_row(session, person_id))


def _row(session: Session, person_id: int) -> PersonModel:
    row = session.get(PersonModel, person_id)
    if row is None:
        raise RegisterError(f"person {person_id} is not in the register")
    return row


class People:
    """The accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hasher = PasswordHasher()

    def add(
        self,
        login: str,
        name: str,
        password: str,
        roles: Iterable[Role],
        *,
        first: Callable[[str], None] = lambda _pseudonym: None,
    ) -> Person:
        """A new account. ``login`` is kept in lower case. ``first``: as ``database.First``, with the new pseudonym.

        Raises RegisterError (login taken or malformed, password too short, no role), RuleError (roles that do not go
        together, see ``Role``).
        """
        login, held = _normal(login), _checked_roles(roles)
        if not _LOGIN.fullmatch(login):
            raise RegisterValueError(
                "a login has 1 to 64 of the characters a-z 0-9 . _ @ - and begins with a letter or digit"
            )
        if not name.strip():
            raise RegisterValueError("a person needs a name")
        secret = secrets.token_bytes(32)
        row = PersonModel(
            login=login,
            name=name.strip(),
            password_hash=self._hash(password),
            pseudonym_secret=self._database.sealing.seal(_PLACE, secret),
            roles=[PersonRoleModel(role=role.value) for role in sorted(held)],
        )
        with self._database.writing() as session:
            if session.scalar(select(PersonModel.id).where(PersonModel.login == login)) is not None:
                raise RegisterError("this login is taken: choose another")
            session.add(row)
            session.flush()
            first(_pseudonym(secret))
            return person_of(row)

    def authenticate(self, login: str, password: str) -> Person | None:
        """The person, when login and password fit. An unknown login costs the same work as a wrong password."""
        with self._database.reading() as session:
            row = session.scalar(select(PersonModel).where(PersonModel.login == _normal(login)))
            person = person_of(row) if row is not None else None
            stored = row.password_hash if row is not None else self._nobody
        fits = self._fits(stored, password)
        return person if fits else None

    def change_password(self, person_id: int, password: str, *, first: First = nothing_first) -> None:
        """Set a new password; whoever is signed in as this person is signed out. Raises RegisterError."""
        hashed = self._hash(password)
        with self._database.writing() as session:
            row = _row(session, person_id)
            first(row.id)
            row.password_hash = hashed
            session.execute(delete(SignInModel).where(SignInModel.person_id == person_id))

    def get(self, person_id: int) -> Person:
        """The person of that id. Raises RegisterError."""
        with self._database.reading() as session:
            return find(session, person_id)

    def by_login(self, login: str) -> Person | None:
        """The person who signs in so."""
        with self._database.reading() as session:
            row = session.scalar(select(PersonModel).where(PersonModel.login == _normal(login)))
            return person_of(row) if row is not None else None

    def all(self) -> tuple[Person, ...]:
        """Everybody, in the order of their accounts."""
        with self._database.reading() as session:
            return tuple(person_of(row) for row in session.scalars(select(PersonModel).order_by(PersonModel.id)))

    def pseudonym(self, person_id: int) -> str:
        """What stands for the person in the journal: 16 hexadecimal digits. Raises ErasedError once destroyed."""
        with self._database.reading() as session:
            sealed = _row(session, person_id).pseudonym_secret
        if sealed is None:
            raise ErasedError(f"the pseudonym of person {person_id} was destroyed")
        return _pseudonym(self._database.sealing.open(_PLACE, sealed))

    def destroy_pseudonym(self, person_id: int) -> None:
        """For good: nothing leads from the journal to this person any more, and its chain stays whole."""
        with self._database.writing() as session:
            _row(session, person_id).pseudonym_secret = None

    def _hash(self, password: str) -> str:
        if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
            raise RegisterValueError(f"a password has at least {SHORTEST_PASSWORD} characters")
        return self._hasher.hash(password)

    def _fits(self, stored: str, password: str) -> bool:
        try:
            return len(password) <= _LONGEST_PASSWORD and self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash(secrets.token_urlsafe())


def _pseudonym(secret: bytes) -> str:
    return hmac.digest(secret, b"sipgate pseudonym v1", hashlib.sha256)[:8].hex()


def _normal(login: str) -> str:
    return login.strip().lower()


def _checked_roles(roles: Iterable[Role]) -> frozenset[Role]:
    held = frozenset(Role(role) for role in roles)
    if not held:
        raise RegisterValueError(f"a person needs a role: {', '.join(Role)}")
    for role, why in _STAND_ALONE.items():
        if role in held and len(held) > 1:
            raise RuleValueError(why)
    return held
