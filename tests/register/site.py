"""A site with its people, for the register's tests: made once, copied for each test (argon2 is slow on purpose)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sipgate.register.days import day_of
from sipgate.register.register import Register
from sipgate.register.rows import Enrolled, RecordingRow, Role

SECRET = bytes(range(32))
NOW = 1_763_804_460_000_000_000
"""22 November 2025, 09:41 UTC."""
TODAY = day_of(NOW)
HOUR = 3_600_000_000_000
DAY = 24 * HOUR
PASSWORD = "correct horse battery"
FORM = "class=Crm,title=Orders*"


def open_register(path: Path, secret: bytes = SECRET) -> Register:
    return Register(f"sqlite:///{path}", secret=secret, country="FR")


def days(count: int) -> date:
    return TODAY + timedelta(days=count)


@dataclass(frozen=True)
class Site:
    """The register, and who is in it."""

    register: Register
    path: Path
    trainer: int = 1
    other_trainer: int = 2
    trainee: int = 3
    other_trainee: int = 4
    admin: int = 5
    other_admin: int = 6
    dpo: int = 7

    @staticmethod
    def make(path: Path) -> None:
        """Write the register that every test begins with."""
        register = open_register(path)
        register.migrate()
        for login, role in (
            ("tina", Role.TRAINER),
            ("theo", Role.TRAINER),
            ("anna", Role.TRAINEE),
            ("alex", Role.TRAINEE),
            ("ada", Role.TELEPHONY_ADMIN),
            ("adam", Role.TELEPHONY_ADMIN),
            ("dora", Role.DPO),
        ):
            register.people.add(login, f"{login.title()} Canary", PASSWORD, {role})
        register.close()

    @classmethod
    def copy(cls, made: Path, path: Path) -> Site:
        """A site of one's own."""
        shutil.copy(made, path)
        return cls(open_register(path), path)

    def line(self, *identities: str, person: int | None = None) -> int:
        """Assign a line, the trainee's unless said otherwise."""
        return self.register.lines.assign(person or self.trainee, identities, NOW).id

    def sound(self, *lines: str, **changes: Any) -> Enrolled:
        """A sound enrolment for thirty days from today."""
        terms: dict[str, Any] = {
            "lines": lines,
            "need": "greeting",
            "starts_on": TODAY,
            "ends_on": days(30),
            "reviewer": self.trainer,
            "capacity": 5,
            "at_ns": NOW,
        }
        return self.register.enrolments.add_sound(**(terms | changes))

    def film(self, **changes: Any) -> Enrolled:
        """A film enrolment of the trainee for thirty days from today; the workstation and the line are there."""
        if not any(one.name == "desk-1" for one in self.register.workstations.all()):
            self.register.workstations.add("desk-1", NOW)
        if not self.register.lines.of(self.trainee):
            self.line("2001", "+33142685301")
        terms: dict[str, Any] = {
            "trainee": self.trainee,
            "workstation": "desk-1",
            "application": FORM,
            "need": "the order form",
            "starts_on": TODAY,
            "ends_on": days(30),
            "reviewer": self.trainer,
            "capacity": 5,
            "at_ns": NOW,
        }
        return self.register.enrolments.add_film(**(terms | changes))

    def open_gate(self) -> None:
        """The DPO signs what is enrolled."""
        self.register.gate.open(days(-10), "3.1", self.dpo, NOW)

    def recording(self, name: str, enrolment: int, **changes: Any) -> RecordingRow:
        """A row of the index, added."""
        values: dict[str, Any] = {
            "recording": name,
            "owner": self.trainee,
            "enrolment": enrolment,
            "reviewer": self.trainer,
            "answered_at_ns": NOW,
            "ended_at_ns": NOW + 60_000_000_000,
            "audio_seconds": 60.0,
            "channels": 2,
            "frames": 0,
            "film": False,
            "state": "ready",
            "reviewed_at_ns": None,
            "expires_at_ns": NOW + 90 * DAY,
            "story": name,
        }
        row = RecordingRow(**(values | changes))
        self.register.recordings.add(row)
        return row
