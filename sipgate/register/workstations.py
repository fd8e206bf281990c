"""Workstations: the code that enrols one, and its key from then on."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from sipgate.errors import RegisterError, RegisterValueError, WorkstationError
from sipgate.register.database import Database
from sipgate.register.models import WorkstationModel
from sipgate.register.rows import Workstation

CODE_LIFETIME_NS = 24 * 3600 * 1_000_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ED25519_BYTES = 32


class Workstations:
    """The workstations of the site."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, at_ns: int) -> str:
        """The secret of an enrolment code for this workstation: 20 characters a-z2-7, good once within 24 h.

        Only its hash is kept. A workstation that exists gets a new secret, which voids the one before. Raises
        RegisterError.
        """
        if not _NAME.fullmatch(name):
            raise RegisterValueError("a workstation's name has 1 to 63 letters, digits, dots, dashes or underscores")
        secret = base64.b32encode(secrets.token_bytes(13)).decode().lower()[:20]
        with self._database.writing() as session:
            row = session.get(WorkstationModel, name)
            if row is None:
                row = WorkstationModel(name=name, added_at_ns=at_ns)
                session.add(row)
            row.code_hash, row.code_expires_at_ns = _hash(secret), at_ns + CODE_LIFETIME_NS
        return secret

    def redeem(self, secret: str, now_ns: int) -> str:
        """The workstation that the secret enrols; the secret is used up. Raises WorkstationError."""
        with self._database.writing() as session:
            row = session.scalar(select(WorkstationModel).where(WorkstationModel.code_hash == _hash(secret)))
            if row is None or row.code_expires_at_ns is None or now_ns >= row.code_expires_at_ns:
                raise WorkstationError("this enrolment code is wrong, used or expired: ask for a new one")
            row.code_hash = row.code_expires_at_ns = None
            return row.name

    def set_certificate(self, name: str, public_key: bytes, certificate_pem: str) -> None:
        """The workstation is enrolled: ``public_key`` is its raw Ed25519 key, 32 bytes. Raises RegisterError."""
        if len(public_key) != _ED25519_BYTES:
            raise RegisterError("a workstation's key is an Ed25519 public key of 32 bytes")
        with self._database.writing() as session:
            row = _row(session, name)
            row.public_key, row.certificate_pem = public_key, certificate_pem

    def key(self, name: str) -> bytes | None:
        """The workstation's raw Ed25519 public key; None: unknown, not enrolled, or revoked."""
        with self._database.reading() as session:
            row = session.get(WorkstationModel, name)
            return row.public_key if row is not None else None

    def revoke(self, name: str) -> None:
        """Trust it no more; a pending code is void too. Raises RegisterError."""
        with self._database.writing() as session:
            row = _row(session, name)
            row.public_key = row.certificate_pem = row.code_hash = row.code_expires_at_ns = None

    def all(self) -> tuple[Workstation, ...]:
        """Every workstation, by name."""
        with self._database.reading() as session:
            rows = session.scalars(select(WorkstationModel).order_by(WorkstationModel.name))
            return tuple(Workstation(row.name, row.added_at_ns, row.public_key is not None) for row in rows)


def _row(session: Session, name: str) -> WorkstationModel:
    row = session.get(WorkstationModel, name)
    if row is None:
        raise RegisterError("this workstation is not in the register: add it first")
    return row


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.strip().lower().encode()).digest()
