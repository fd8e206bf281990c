"""Who is signed in: cookies for people's browsers, bearer tokens for the command line; CSRF; sign-in.

The cookie is ``__Host-`` (set by this host alone, for all of it, over TLS), HttpOnly, SameSite=Strict. What a browser
sends by itself it could be made to send by another site: so an unsafe method under a cookie also carries the form's
token, and comes from our own pages by its Origin or Sec-Fetch-Site. A bearer token is never sent by itself.
"""

from __future__ import annotations

import asyncio
import hmac
import math
from dataclasses import dataclass, field

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from sipgate.console.console import Console
from sipgate.console.limits import address_key
from sipgate.register.rows import Person

COOKIE = "__Host-sipgate"
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HASHING_AT_ONCE = 2
"""Sign-ins hashed at once: argon2 takes a core and 64 MiB each, and the core belongs to calls first."""


@dataclass(frozen=True, slots=True)
class Token:
    """A session's token and how it came."""

    value: str = field(repr=False)
    by_cookie: bool


def token_of(request: Request) -> Token | None:
    """The request's token; an Authorization header, even a wrong one, stands before the cookie."""
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, value = header.partition(" ")
        return Token(value.strip(), by_cookie=False) if scheme.lower() == "bearer" else None
    cookie = request.cookies.get(COOKIE)
    return Token(cookie, by_cookie=True) if cookie else None


def set_cookie(response: Response, token: str) -> None:
    """Sign the browser in."""
    response.set_cookie(COOKIE, token, path="/", secure=True, httponly=True, samesite="strict")


def drop_cookie(response: Response) -> None:
    """Sign the browser out."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")


def from_our_pages(request: Request) -> bool:
    """Whether a browser says that another site made it send this. No such header: no browser, or an old one."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is None or origin == f"{request.url.scheme}://{request.headers.get('host', '')}"


async def check_csrf(console: Console, request: Request, token: Token) -> None:
    """Raise 403 when an unsafe request under a cookie is not shown to be ours."""
    if request.method in _SAFE or not token.by_cookie:
        return
    given = request.headers.get(CSRF_HEADER)
    if given is None and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        field_value = (await request.form()).get(CSRF_FIELD)
        given = field_value if isinstance(field_value, str) else None
    expected = console.csrf(token.value)
    if not from_our_pages(request) or not hmac.compare_digest((given or "").encode(), expected.encode()):
        raise HTTPException(403, "the form's token is missing or old: reload the page and send it again")


class SignIn:
    """Passwords to sessions, not too many at once, not too often."""

    def __init__(self) -> None:
        self._hashing = asyncio.Semaphore(_HASHING_AT_ONCE)

    async def __call__(self, console: Console, request: Request, login: str, password: str) -> tuple[Person, str]:
        """The person and a new session's token. Raises 401 (never saying which was wrong) or 429."""
        if not from_our_pages(request):
            raise HTTPException(403, "sign in from this console's own page")
        limits = (
            (console.by_address, address_key(request.client.host if request.client else "")),
            (console.by_login, login.strip().lower()[:200]),
        )
        now = console.parts.now_ns()
        wait = max(limit.take(key, now) for limit, key in limits)
        if wait > 0:
            console.counters.sign_ins.labels("limited").inc()
            seconds = math.ceil(wait)
            raise HTTPException(429, f"too many tries: wait {seconds} seconds", {"Retry-After": str(seconds)})
        async with self._hashing:
            signed_in = await run_in_threadpool(_open, console, login, password)
        if signed_in is None:
            console.counters.sign_ins.labels("refused").inc()
            raise HTTPException(401, "login or password is wrong", {"WWW-Authenticate": "Bearer"})
        for limit, key in limits:
            limit.give_back(key, now)
        console.counters.sign_ins.labels("accepted").inc()
        return signed_in


def _open(console: Console, login: str, password: str) -> tuple[Person, str] | None:
    register = console.parts.register
    person = register.people.authenticate(login, password)
    if person is None:
        return None
    token = register.sessions.open(person.id, console.parts.now_ns())
    console.journal_after("sign-in", person)
    return person, token
