"""JSON under /api/v1: what the pages do, for programs; described by /openapi.json."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from sipgate.console import actions, models
from sipgate.console.access import ANYONE, LineKeeper, Listener, Reviewer, SignedIn, Trainee
from sipgate.console.console import Here
from sipgate.console.sessions import drop_cookie
from sipgate.errors import AccessError

MAXIMUM_BODY = 64 * 1024
router = APIRouter(
    prefix="/api/v1",
    max_body_size=MAXIMUM_BODY,
    responses={
        401: {"model": models.Problem, "description": "not signed in"},
        403: {"model": models.Problem, "description": "no CSRF token, or no live viewing"},
        404: {"model": models.Problem, "description": "not there, or not yours"},
        422: {"model": models.Problem, "description": "a field cannot stand"},
        503: {"model": models.Problem, "description": "the journal cannot be written: nothing is opened"},
    },
)
_SINGLE = (
    "the line is known by one identity only: if it also has a public number or a SIP address, exclude them too, "
    "or calls that show only those are not recognised"
)
ExclusionId = Annotated[int, Path(ge=1, le=2**53)]


@router.post("/sign-in", tags=["session"], dependencies=[ANYONE])
async def sign_in(credentials: models.Credentials, request: Request, console: Here) -> models.Session:
    """A session for a program. At most a few wrong tries a minute."""
    person, token = await request.app.state.sign_in(console, request, credentials.login, credentials.password)
    return models.Session(token=token, login=person.login, name=person.name, roles=sorted(person.roles))


@router.post("/sign-out", tags=["session"], status_code=204)
def sign_out(visitor: SignedIn, console: Here) -> Response:
    """End the session, its viewings with it."""
    console.parts.register.sessions.close(visitor.session)
    answer = Response(status_code=204)
    drop_cookie(answer)
    return answer


@router.get("/me", tags=["session"])
def me(visitor: SignedIn, console: Here) -> models.Me:
    """Who is signed in."""
    person = visitor.person
    return models.Me(
        login=person.login, name=person.name, roles=sorted(person.roles), csrf=console.csrf(visitor.session)
    )


@router.get("/recordings", tags=["recordings"])
def recordings(visitor: Listener, console: Here) -> models.Recordings:
    """A trainee's own; a trainer's trainees'."""
    return models.Recordings(recordings=actions.recordings(console, visitor))


@router.get("/recordings/{recording}", tags=["recordings"])
def recording(recording: str, visitor: Listener, console: Here) -> models.Recording:
    """One of them."""
    return actions.recording(console, visitor, recording)


@router.post("/recordings/{recording}/viewings", tags=["media"], status_code=201)
def open_viewing(recording: str, ask: models.Ask, visitor: Listener, console: Here) -> models.Viewing:
    """State a reason; it is journalled, and then the recording is open in this session for a while."""
    return actions.open_viewing(console, visitor, recording, ask)


@router.post("/recordings/{recording}/reviewed", tags=["recordings"], status_code=204)
def reviewed(recording: str, visitor: Reviewer, console: Here) -> None:
    """Worked through: frees a slot of the quota."""
    actions.mark_reviewed(console, visitor, recording)


@router.delete("/recordings/{recording}", tags=["recordings"], status_code=204)
def erase(recording: str, visitor: Listener, console: Here) -> None:
    """Gone for good when this answers, for everybody: one's own, or as its reviewer."""
    actions.erase(console, visitor, recording)


@router.get("/exclusions", tags=["excluded lines"])
def exclusions(visitor: LineKeeper, console: Here) -> models.ExcludedLines:
    """Lines that are never recorded."""
    return actions.excluded_lines(console, visitor, console.parts.file_lines())


@router.post("/exclusions", tags=["excluded lines"], status_code=201)
def exclude(asked: models.Exclude, visitor: LineKeeper, console: Here) -> models.Excluded:
    """In force when this answers."""
    single = actions.exclude(console, visitor, asked.line)
    return models.Excluded(warnings=[_SINGLE] if single else [])


@router.post("/exclusions/{exclusion}/removal", tags=["excluded lines"], status_code=204)
def request_removal(exclusion: ExclusionId, visitor: LineKeeper, console: Here) -> None:
    """Ask for its removal; it stays excluded until a second person confirms."""
    actions.request_removal(console, visitor, exclusion)


@router.post("/exclusions/{exclusion}/removal/confirmation", tags=["excluded lines"], status_code=204)
def confirm_removal(exclusion: ExclusionId, visitor: LineKeeper, console: Here) -> None:
    """Remove it, as the second person."""
    actions.confirm_removal(console, visitor, exclusion)


@router.get("/notice", tags=["notice"])
def notice(visitor: SignedIn, console: Here) -> models.Notice:
    """The notice in force."""
    found = actions.notice(console, visitor)
    if found is None:
        raise AccessError("Not found")
    return found


@router.post("/notice/acknowledgement", tags=["notice"], status_code=204)
def acknowledge(asked: models.Acknowledgement, visitor: Trainee, console: Here) -> None:
    """I have read it: a condition of recording."""
    actions.acknowledge(console, visitor, asked.version)


@router.get("/health", tags=["health"])
async def health(visitor: LineKeeper, console: Here) -> models.HealthOut:
    """Whether recording is possible, part by part."""
    found = console.parts.health()
    return models.HealthOut(
        ready=found.ready,
        reasons=list(found.reasons),
        items=[models.HealthItemOut(name=item.name, good=item.good, text=item.text) for item in found.items],
    )
