"""Errors to answers: JSON for programs, a page for people; the same body for "not yours" and "not there"."""

from __future__ import annotations

import http
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from sipgate.console.actions import FieldError
from sipgate.console.headers import SECURITY
from sipgate.console.render import page, safe_next, words_for
from sipgate.errors import (
    ErasedError,
    JournalError,
    NotInForceError,
    RegisterLostError,
    SipgateError,
    StoreError,
)

_NOT_FOUND = "Not found"
_OF_THE_STORE: dict[type[StoreError], str] = {
    ErasedError: "the recording was erased",
    JournalError: "the journal cannot be written: nothing is opened or changed",
    RegisterLostError: "the register cannot be read or written: is its disk full?",
}
_WORDS: dict[type[SipgateError], str] = {
    NotInForceError: "error.not_in_force",
    RegisterLostError: "error.register",
}
_FOR_PROGRAMS = ("/api/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/static/", "/workstation/")


def install(app: FastAPI) -> None:
    """Every error that a route can raise gets its answer."""
    app.add_exception_handler(SipgateError, _sipgate)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


async def _sipgate(request: Request, error: Exception) -> Response:
    assert isinstance(error, SipgateError)  # noqa: S101 - narrows for mypy
    field = error.field if isinstance(error, FieldError) else None
    # What the store says names files of ours: not for a browser.
    shown = _OF_THE_STORE.get(type(error)) if isinstance(error, StoreError) else str(error)
    return await _answer(request, error.http_status, shown, field, _WORDS.get(type(error)))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows for mypy
    answer = await _answer(request, error.status_code, error.detail)
    for name, value in (error.headers or {}).items():
        answer.headers.setdefault(name, value)
    return answer


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - narrows for mypy
    # Never the input: it may be a password or a number.
    problems: list[dict[str, Any]] = list(error.errors())
    where = [str(part) for part in problems[0].get("loc", ())[1:]] if problems else []
    text = "; ".join(f"{'.'.join(map(str, p.get('loc', ())[1:])) or 'body'}: {p.get('msg', '')}" for p in problems)
    return await _answer(request, 422, text, ".".join(where) or None)


async def _unexpected(request: Request, _error: Exception) -> Response:
    answer = await _answer(request, 500, None)
    answer.headers.update(SECURITY)  # this answer is made outside of the middleware
    return answer


async def _answer(
    request: Request, status: int, detail: str | None, field: str | None = None, key: str | None = None
) -> Response:
    if request.url.path.startswith(_FOR_PROGRAMS):
        return JSONResponse(_body(status, detail, field), status_code=status)
    if status == 401:
        come_back = safe_next(request.url.path) if request.method == "GET" else "/"
        return RedirectResponse(f"/sign-in?next={come_back}", status_code=303)
    words = words_for(request)
    key = key or (f"error.{status}" if words.has(f"error.{status}") else "error.500")
    context = {"heading": words(key), "words": words(f"{key}_words")}
    return await run_in_threadpool(page, request, "error.html", None, status, **context)


def _body(status: int, detail: str | None, field: str | None) -> dict[str, str]:
    if status == 404:
        return {"detail": _NOT_FOUND}
    body = {"detail": detail or http.HTTPStatus(status).phrase}
    return body | {"field": field} if field is not None else body
