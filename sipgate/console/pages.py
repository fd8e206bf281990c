"""The pages: forms and answers without script (the player alone has one), on top of ``actions``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from sipgate.console import actions, models
from sipgate.console.access import ANYONE, LineKeeper, Listener, Reviewer, SignedIn, Trainee, Visitor
from sipgate.console.actions import FieldError
from sipgate.console.api import MAXIMUM_BODY, ExclusionId
from sipgate.console.console import Console, Here
from sipgate.console.media import guard
from sipgate.console.render import LANGUAGE_COOKIE, page, safe_next, words_for
from sipgate.console.sessions import drop_cookie, set_cookie
from sipgate.console.texts import CATALOGUES
from sipgate.console.viewings import Kind
from sipgate.errors import AccessError, RegisterError, RuleError
from sipgate.register.rows import Role

PAGE_ROWS = 50
router = APIRouter(include_in_schema=False, max_body_size=MAXIMUM_BODY)
Text = Annotated[str, Form(max_length=5000)]


def _go(path: str) -> RedirectResponse:
    return RedirectResponse(path, status_code=303)


# --- sign-in ------------------------------------------------------------------------------------------------------


@router.get("/sign-in", dependencies=[ANYONE])
def sign_in_page(request: Request, next_path: Annotated[str, Query(alias="next", max_length=200)] = "/") -> Response:
    """The form."""
    return page(request, "sign_in.html", None, next=safe_next(next_path), login="", error=None)


@router.post("/sign-in", dependencies=[ANYONE])
async def sign_in(
    request: Request,
    console: Here,
    login: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    next_path: Annotated[str, Form(alias="next", max_length=200)] = "/",
) -> Response:
    """To the page that was asked for, or the form again."""
    words = words_for(request)
    try:
        _, token = await request.app.state.sign_in(console, request, login, password)
    except HTTPException as error:
        if error.status_code not in {401, 429}:
            raise
        wait = (error.headers or {}).get("Retry-After", "")
        text = words("sign_in.later", seconds=wait) if error.status_code == 429 else words("sign_in.wrong")
        context = {"next": safe_next(next_path), "login": login, "error": text}
        return await run_in_threadpool(page, request, "sign_in.html", None, error.status_code, **context)
    answer = _go(safe_next(next_path))
    set_cookie(answer, token)
    return answer


@router.post("/sign-out")
def sign_out(visitor: SignedIn, console: Here) -> Response:
    """Ends the session, its viewings with it."""
    console.parts.register.sessions.close(visitor.session)
    answer = _go("/sign-in?done=signed_out")
    drop_cookie(answer)
    return answer


@router.get("/language/{code}", dependencies=[ANYONE])
async def language(code: str, next_path: Annotated[str, Query(alias="next", max_length=200)] = "/") -> Response:
    """Remember a language, and back."""
    if code not in CATALOGUES:
        raise AccessError("Not found")
    answer = _go(safe_next(next_path))
    answer.set_cookie(LANGUAGE_COOKIE, code, max_age=365 * 86400, secure=True, httponly=True, samesite="strict")
    return answer


@router.get("/")
async def start(visitor: SignedIn) -> Response:
    """Where this person's work is."""
    if visitor.is_(Role.TRAINER) or visitor.is_(Role.TRAINEE):
        return _go("/recordings")
    return _go("/excluded-lines")


# --- recordings ---------------------------------------------------------------------------------------------------


@router.get("/recordings")
def recordings(
    request: Request,
    visitor: Listener,
    console: Here,
    show: Annotated[str, Query(max_length=10)] = "",
    number: Annotated[int, Query(alias="page", ge=1, le=10**6)] = 1,
) -> Response:
    """The list: what waits for a review (a trainer's first view), or all."""
    everything = actions.recordings(console, visitor)
    waiting = [recording for recording in everything if recording.reviewed_at is None]
    trainer = visitor.is_(Role.TRAINER)
    if show not in {"new", "all"}:
        show = "new" if trainer else "all"
    chosen = waiting if show == "new" else everything
    pages = max(1, -(-len(chosen) // PAGE_ROWS))
    number = min(number, pages)
    return page(
        request,
        "recordings.html",
        visitor,
        recordings=chosen[(number - 1) * PAGE_ROWS : number * PAGE_ROWS],
        show=show,
        waiting=len(waiting),
        total=len(everything),
        page=number,
        pages=pages,
        trainer=trainer,
        notice_waits=_notice_waits(console, visitor),
    )


def _notice_waits(console: Console, visitor: Visitor) -> bool:
    if not visitor.is_(Role.TRAINEE):
        return False
    notice = actions.notice(console, visitor)
    return notice is not None and not notice.acknowledged


@router.get("/recordings/{recording}")
def recording(
    request: Request,
    recording: str,
    visitor: Listener,
    console: Here,
    viewing: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """The player under a live viewing, otherwise the question for the reason."""
    if not viewing:
        return _recording_page(request, console, visitor, recording)
    try:
        guard(console, visitor, recording, Kind.PLAY, viewing)
    except HTTPException:  # theirs, but the viewing has ended
        return _recording_page(request, console, visitor, recording, notice_key="viewing.ended", notice_kind="warn")
    return _recording_page(request, console, visitor, recording, viewing=viewing)


def _recording_page(
    request: Request, console: Console, visitor: Visitor, recording: str, status: int = 200, **more: object
) -> Response:
    words, viewing = words_for(request), more.pop("viewing", "")
    notice_key = more.pop("notice_key", None)
    found = actions.recording(console, visitor, recording)
    context: dict[str, object] = {
        "recording": found,
        "others": actions.others_of_story(console, visitor, found),
        "viewing": viewing,
        "media": f"/api/v1/recordings/{recording}/media?viewing={viewing}",
        "notice": words(str(notice_key)) if notice_key else None,
        "notice_kind": "",
        "failed_kind": None,
        "reason_error": None,
        "reason": "",
    }
    return page(request, "recording.html", visitor, status, **context | more)


@router.post("/recordings/{recording}/viewings")
def open_viewing(
    request: Request,
    recording: str,
    visitor: Listener,
    console: Here,
    reason: Text = "",
    kind: Annotated[Kind, Form()] = Kind.PLAY,
    purpose: Annotated[str, Form(max_length=100)] = "training",
) -> Response:
    """To the player or the file, once the reason is journalled."""
    ask = models.Ask(reason=reason[:2000], kind=kind, purpose=purpose)
    try:
        opened = actions.open_viewing(console, visitor, recording, ask)
    except FieldError as error:
        again = {"reason_error": words_for(request)(error.key), "failed_kind": kind.value, "reason": reason}
        return _recording_page(request, console, visitor, recording, 422, **again)
    if kind is Kind.EXPORT:
        return _go(opened.media)
    return _go(f"/recordings/{recording}?viewing={opened.viewing}")


@router.post("/recordings/{recording}/reviewed")
def reviewed(recording: str, visitor: Reviewer, console: Here) -> Response:
    """Back to the list."""
    actions.mark_reviewed(console, visitor, recording)
    return _go("/recordings?done=reviewed")


@router.post("/recordings/{recording}/erasure")
def erase(recording: str, visitor: Listener, console: Here) -> Response:
    """Back to the list, on which it is no more."""
    actions.erase(console, visitor, recording)
    return _go("/recordings?done=erased")


# --- excluded lines -----------------------------------------------------------------------------------------------


@router.get("/excluded-lines")
def excluded_lines(request: Request, visitor: LineKeeper, console: Here) -> Response:
    """The console's list, and the file's."""
    return _lines_page(request, console, visitor)


def _lines_page(request: Request, console: Console, visitor: Visitor, status: int = 200, **more: object) -> Response:
    file = console.parts.file_lines()
    listed = actions.excluded_lines(console, visitor, file)
    context: dict[str, object] = {
        "file": file,
        "exclusions": listed.console,
        "warnings": listed.warnings,
        "line": "",
        "line_error": None,
        "problem": None,
    }
    return page(request, "excluded_lines.html", visitor, status, **context | more)


@router.post("/excluded-lines")
def exclude(request: Request, visitor: LineKeeper, console: Here, line: Text = "") -> Response:
    """In force when this answers."""
    try:
        single = actions.exclude(console, visitor, line[:500])
    except FieldError as error:
        text = words_for(request)(error.key, detail=error)
        return _lines_page(request, console, visitor, 422, line=line, line_error=text)
    return _go(f"/excluded-lines?done={'excluded_single' if single else 'excluded'}")


@router.post("/excluded-lines/{exclusion}/removal")
def request_removal(request: Request, exclusion: ExclusionId, visitor: LineKeeper, console: Here) -> Response:
    """The first of two people."""
    try:
        actions.request_removal(console, visitor, exclusion)
    except (AccessError, RegisterError, RuleError):
        return _lines_page(request, console, visitor, 409, problem=words_for(request)("lines.changed"))
    return _go("/excluded-lines?done=removal")


@router.post("/excluded-lines/{exclusion}/removal/confirmation")
def confirm_removal(request: Request, exclusion: ExclusionId, visitor: LineKeeper, console: Here) -> Response:
    """The second of two people."""
    try:
        actions.confirm_removal(console, visitor, exclusion)
    except RuleError:
        return _lines_page(request, console, visitor, 422, problem=words_for(request)("lines.second_person"))
    except (AccessError, RegisterError):
        return _lines_page(request, console, visitor, 409, problem=words_for(request)("lines.changed"))
    return _go("/excluded-lines?done=removed")


# --- notice and health --------------------------------------------------------------------------------------------


@router.get("/notice")
def notice(request: Request, visitor: SignedIn, console: Here) -> Response:
    """The notice in force; a trainee acknowledges it here."""
    return _notice_page(request, console, visitor)


def _notice_page(
    request: Request, console: Console, visitor: Visitor, status: int = 200, problem: str | None = None
) -> Response:
    found = actions.notice(console, visitor)
    may = visitor.is_(Role.TRAINEE)
    return page(request, "notice.html", visitor, status, notice=found, may_acknowledge=may, problem=problem)


@router.post("/notice")
def acknowledge(
    request: Request, visitor: Trainee, console: Here, version: Annotated[int, Form(ge=0, le=2**31)]
) -> Response:
    """I have read it."""
    try:
        actions.acknowledge(console, visitor, version)
    except RuleError:
        return _notice_page(request, console, visitor, 409, words_for(request)("notice.newer"))
    return _go("/notice?done=acknowledged")


@router.get("/health")
async def health(request: Request, visitor: LineKeeper, console: Here) -> Response:
    """Whether calls can be recorded now."""
    found = console.parts.health()
    return await run_in_threadpool(page, request, "status.html", visitor, health=found)
