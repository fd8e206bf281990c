"""One running console: its parts, and the little that it keeps in memory. Hangs on ``app.state.console``."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry, Counter

from sipgate.console.limits import RateLimit
from sipgate.console.parts import ConsoleParts
from sipgate.console.viewings import Viewings
from sipgate.errors import JournalError
from sipgate.register.rows import Person


class Counters:
    """Aggregates, without labels that could name anybody."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sign_ins = Counter("sipgate_console_sign_ins", "Sign-ins, by outcome", ("outcome",), registry=registry)
        self.viewings = Counter("sipgate_console_viewings", "Viewings opened, by kind", ("kind",), registry=registry)
        self.denied = Counter("sipgate_console_denied", "Requests by somebody not entitled", registry=registry)


@dataclass(frozen=True)
class Console:
    """What every request stands on."""

    parts: ConsoleParts
    viewings: Viewings
    csrf_secret: bytes = field(repr=False)
    counters: Counters
    by_login: RateLimit = field(default_factory=lambda: RateLimit(burst=8, refill_seconds=30))
    by_address: RateLimit = field(default_factory=lambda: RateLimit(burst=40, refill_seconds=3))
    denials: RateLimit = field(default_factory=lambda: RateLimit(burst=60, refill_seconds=2))

    @classmethod
    def of(cls, parts: ConsoleParts) -> Console:
        """Secrets come from the vault, so tokens outlive a restart. Raises StoreError."""
        return cls(
            parts=parts,
            viewings=Viewings(parts.vault.secret("console-viewings")),
            csrf_secret=parts.vault.secret("console-csrf"),
            counters=Counters(parts.metrics),
        )

    def csrf(self, session: str) -> str:
        """The token that a form of this session carries."""
        digest = hmac.digest(self.csrf_secret, b"sipgate csrf v1\n" + session.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def journal(self, kind: str, person: Person, **fields: str | int) -> None:
        """Durable before return; by pseudonym. Raises JournalError: then what it announces must not happen."""
        pseudonym = self.parts.register.people.pseudonym(person.id)
        self.parts.journal.append(kind, self.parts.now_ns(), person=pseudonym, **fields)

    def journal_after(self, kind: str, person: Person, **fields: str | int) -> bool:
        """For what happens in any case (a refusal, an exclusion): False when the journal could not be written."""
        try:
            self.journal(kind, person, **fields)
        except JournalError:
            return False  # health shows the journal's state; the refusal or the exclusion stands
        return True


async def _console(request: Request) -> Console:
    found = request.app.state.console
    assert isinstance(found, Console)  # noqa: S101 - narrows for mypy; create_app put it there
    return found


Here = Annotated[Console, Depends(_console)]
