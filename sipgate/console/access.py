"""Who may reach what: the one mechanism. Each route declares it; ``create_app`` refuses a route that does not.

First gate, by role: ``May(Role.TRAINER, …)`` as a dependency. Not signed in: 401 (pages: to the sign-in). Signed in,
but without the role: 404, with the same body as an address that does not exist.
Second gate, by recording: ``reachable``. A trainee reaches their own, a trainer those whose enrolment names them as
reviewer, and whoever administers the system none (RULES R6, R7). Both gates journal the try before they refuse, and
take as long for a recording that is somebody else's as for one that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from sipgate.console.console import Console, Here
from sipgate.console.sessions import Token, check_csrf, token_of
from sipgate.errors import AccessError
from sipgate.register.rows import Person, RecordingRow, Role

RECORDING = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody signed in, and the session they are in."""

    person: Person
    session: str = field(repr=False)

    def is_(self, role: Role) -> bool:
        """Whether they hold ``role``."""
        return role in self.person.roles


class May:
    """A route's declaration: who may use it. No role given: whoever is signed in."""

    def __init__(self, *roles: Role) -> None:
        self.roles = frozenset(roles)

    async def __call__(self, request: Request, console: Here) -> Visitor:
        """The visitor, or 401, 403 (CSRF), 404."""
        token = token_of(request)
        visitor = await run_in_threadpool(signed_in, console, token) if token else None
        if token is None or visitor is None:
            raise HTTPException(401, "sign in first", {"WWW-Authenticate": "Bearer"})
        await check_csrf(console, request, token)
        if self.roles and not self.roles & visitor.person.roles:
            recording = str(request.path_params.get("recording", ""))
            raise await run_in_threadpool(_without_role, console, visitor, recording)
        return visitor


class Anyone:
    """A route's declaration: needs no sign-in."""

    async def __call__(self) -> None:
        """Always passes."""


ANYONE = Depends(Anyone())
SignedIn = Annotated[Visitor, Depends(May())]
Listener = Annotated[Visitor, Depends(May(Role.TRAINER, Role.TRAINEE))]
Reviewer = Annotated[Visitor, Depends(May(Role.TRAINER))]
Trainee = Annotated[Visitor, Depends(May(Role.TRAINEE))]
LineKeeper = Annotated[Visitor, Depends(May(Role.TELEPHONY_ADMIN, Role.DPO))]


def signed_in(console: Console, token: Token) -> Visitor | None:
    """Whose session it is; None when it ended or never was."""
    person = console.parts.register.sessions.person(token.value, console.parts.now_ns())
    return Visitor(person, token.value) if person is not None else None


def denied(console: Console, visitor: Visitor, tried: str, recording: str | None = None) -> Exception:
    """Journal a denied try; the error to raise. ``recording`` only when it is in the index: no other name is kept."""
    now = console.parts.now_ns()
    wait = console.denials.take(str(visitor.person.id), now)
    console.counters.denied.inc()
    if wait > 0:  # already journalled sixty times over: no more disk for it
        return HTTPException(429, "too many requests that are not yours to make")
    about = {"recording": recording} if recording is not None else {}
    console.journal_after("denied", visitor.person, tried=tried, **about)
    return AccessError("Not found")


def _without_role(console: Console, visitor: Visitor, recording: str) -> Exception:
    _, exists = find(console, visitor, recording)
    return denied(console, visitor, "role", recording if exists else None)


def may_reach(person: Person, row: RecordingRow, now_ns: int) -> bool:
    """Whether ``person`` may see that ``row`` exists, and open it. What is past its time is gone for everybody."""
    if person.roles & {Role.TELEPHONY_ADMIN, Role.DPO} or now_ns >= row.expires_at_ns:
        return False
    own = Role.TRAINEE in person.roles and row.owner == person.id
    reviews = Role.TRAINER in person.roles and row.reviewer == person.id
    return own or reviews


def find(console: Console, visitor: Visitor, recording: str) -> tuple[RecordingRow | None, bool]:
    """The row that the visitor may reach, or None; and whether there is such a recording at all, for the journal."""
    if not RECORDING.fullmatch(recording):
        return None, False
    row = console.parts.register.recordings.get(recording)
    if row is None or not may_reach(visitor.person, row, console.parts.now_ns()):
        return None, row is not None
    return row, True


def reachable(console: Console, visitor: Visitor, recording: str, tried: str) -> RecordingRow:
    """The row, or the same refusal whether it is somebody else's or nobody's; the try is journalled."""
    row, exists = find(console, visitor, recording)
    if row is None:
        raise denied(console, visitor, tried, recording if exists else None)
    return row


def declarations(route: APIRoute) -> list[May | Anyone]:
    """What ``route`` declares, through all its dependencies."""
    return list(_declared(route.dependant))


def _declared(dependant: Dependant) -> Iterable[May | Anyone]:
    for needed in dependant.dependencies:
        if isinstance(needed.call, May | Anyone):
            yield needed.call
        yield from _declared(needed)


def require_declarations(routes: Iterable[BaseRoute]) -> None:
    """Raise TypeError for a route that does not declare, once, who may use it: it must not be served."""
    for route in routes:
        if not isinstance(route, APIRoute) or len(declarations(route)) != 1:
            raise TypeError(f"route {getattr(route, 'path', route)!r} does not declare who may use it")
