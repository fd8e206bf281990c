"""A whole console in a folder: a real register (SQLite), vault and journal, people of every role, sealed recordings."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from sipgate import config
from sipgate.console.app import create_app
from sipgate.console.media import SEALED_NAME
from sipgate.console.parts import ConsoleParts, FileLines, Health
from sipgate.console.sessions import COOKIE, CSRF_HEADER
from sipgate.register.register import Register
from sipgate.register.rows import RecordingRow, Role
from sipgate.vault.journal_file import Journal
from sipgate.vault.vault import Vault, new_recording
from tests.peers.webm import small_webm

PASSWORD = "a long enough password"
BASE = "https://console.example"
SECOND = 1_000_000_000
DAY = 86400 * SECOND


@cache
def webm() -> bytes:
    """Three seconds of film and sound."""
    return small_webm(3.0)


@dataclass
class Clock:
    """The server's clock, moved by tests."""

    ns: int = field(default_factory=time.time_ns)

    def __call__(self) -> int:
        return self.ns


@dataclass
class Outside:
    """What the service would tell the console, and what the console told it."""

    health: Health = field(default_factory=Health)
    file: FileLines = field(default_factory=FileLines)
    policy_changes: int = 0

    def policy_changed(self) -> None:
        self.policy_changes += 1


PEOPLE = (
    ("ann", "Ann Trainer", Role.TRAINER),
    ("otto", "Otto Trainer", Role.TRAINER),
    ("tom", "Tom Trainee", Role.TRAINEE),
    ("tina", "Tina Trainee", Role.TRAINEE),
    ("ada", "Ada Admin", Role.TELEPHONY_ADMIN),
    ("alan", "Alan Admin", Role.TELEPHONY_ADMIN),
    ("dora", "Dora Officer", Role.DPO),
)


def _open(folder: Path) -> tuple[Vault, Register]:
    vault = Vault(folder / "data", folder / "keys")
    url = f"sqlite:///{folder / 'register.db'}"
    return vault, Register(url, secret=vault.secret("register"), country="FR")


def furnish(folder: Path) -> None:
    """People and enrolments, made once and copied for each test: hashing seven passwords takes a second."""
    _, register = _open(folder)
    register.migrate()
    people = {login: register.people.add(login, name, PASSWORD, {role}) for login, name, role in PEOPLE}
    for trainee, line, reviewer in (("tom", "2001", "ann"), ("tina", "2002", "otto")):
        register.lines.assign(people[trainee].id, [line], time.time_ns())
        today = date.today()  # noqa: DTZ011 - enrolments count the server's local days
        register.enrolments.add_sound(
            lines=[line],
            need="orders by telephone",
            starts_on=today,
            ends_on=today + timedelta(days=30),
            reviewer=people[reviewer].id,
            capacity=20,
            at_ns=time.time_ns(),
        )
    register.close()


class Site:
    """``tom`` and ``tina`` are trainees, reviewed by ``ann`` and ``otto``; ``ada`` and ``alan`` administer."""

    def __init__(self, folder: Path) -> None:
        """``folder``: furnished."""
        self.folder = folder
        self.clock, self.outside = Clock(), Outside()
        self.vault, self.register = _open(folder)
        self.journal = Journal(folder / "journal", Ed25519PrivateKey.generate())
        self.people = {person.login: person for person in self.register.people.all()}
        owners = {person.id: login for login, person in self.people.items()}
        holders = {line.identities[0]: owners[line.person] for line in self.register.lines.all()}
        self.enrolments = {holders[row.lines[0]]: row for row in self.register.enrolments.all()}
        self.app = self.new_app()

    def new_app(self) -> FastAPI:
        """The console, freshly started."""
        return create_app(
            ConsoleParts(
                register=self.register,
                vault=self.vault,
                journal=self.journal,
                now_ns=self.clock,
                health=lambda: self.outside.health,
                site=config.Site(name="Maison Lefèvre", country="FR"),
                file_lines=lambda: self.outside.file,
                policy_changed=self.outside.policy_changed,
                metrics=CollectorRegistry(),
            )
        )

    def record(self, owner: str, content: bytes | None = None, **columns: Any) -> str:
        """A finished call of ``owner``, sealed and in the index; its name."""
        recording = new_recording()
        self.vault.create(recording)
        self.vault.write_sealed(recording, SEALED_NAME, webm() if content is None else content)
        row: dict[str, Any] = {
            "recording": recording,
            "owner": self.people[owner].id,
            "enrolment": self.enrolments[owner].id,
            "reviewer": self.enrolments[owner].reviewer,
            "answered_at_ns": self.clock() - 60 * SECOND,
            "ended_at_ns": self.clock() - 57 * SECOND,
            "audio_seconds": 3.0,
            "channels": 2,
            "frames": 30,
            "film": True,
            "state": "ready",
            "reviewed_at_ns": None,
            "expires_at_ns": self.clock() + 30 * DAY,
            "story": recording,
        }
        self.register.recordings.add(RecordingRow(**(row | columns)))
        return recording

    def erase(self, recording: str) -> None:
        """As retention does: the key, then the row."""
        self.vault.destroy(recording)
        self.register.recordings.remove(recording)

    def client(self, login: str | None = None, *, bearer: bool = True) -> httpx.AsyncClient:
        """A client, in a session of ``login`` if given: by bearer token, or as a browser by cookie and CSRF header."""
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app, raise_app_exceptions=False), base_url=BASE
        )
        if login is not None:
            token = self.register.sessions.open(self.people[login].id, self.clock())
            if bearer:
                client.headers["Authorization"] = f"Bearer {token}"
            else:
                client.cookies.set(COOKIE, token, domain="console.example", path="/")
                client.headers[CSRF_HEADER] = self.app.state.console.csrf(token)
        return client

    def journalled(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The fields of the journal's entries (checkpoints left out), of one kind if given."""
        entries = [json.loads(line) for line in self.journal.lines()]
        return [e["fields"] for e in entries if "kind" in e and (kind is None or e["kind"] == kind)]

    def pseudonym(self, login: str) -> str:
        """As the journal names ``login``."""
        return self.register.people.pseudonym(self.people[login].id)

    def lose_journal(self) -> None:
        """The journal can no longer be written, not even by root: a folder stands where the file was."""
        self.journal.path.unlink(missing_ok=True)
        self.journal.path.mkdir()
