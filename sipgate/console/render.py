"""Templates to pages: the frame that all share, in the reader's language. Everything is escaped."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from sipgate.console.access import Visitor
from sipgate.console.status import static_url
from sipgate.console.texts import LANGUAGES, Words, language_for
from sipgate.register.rows import Role

LANGUAGE_COOKIE = "sipgate-language"
_ENVIRONMENT = Environment(
    loader=PackageLoader("sipgate.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals["static"] = static_url
_NEXT = re.compile(r"/(recordings(/[0-9a-f]{32})?|excluded-lines|notice|health)?")


@dataclass(frozen=True, slots=True)
class Link:
    """One entry of the main navigation; ``text`` is its key in ``texts``."""

    path: str
    text: str
    here: bool


def words_for(request: Request) -> Words:
    """The reader's language."""
    return Words(language_for(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language")))


def safe_next(path: str | None) -> str:
    """``path`` when it is a page of ours to come back to, otherwise the start page: never another site."""
    return path if path is not None and _NEXT.fullmatch(path) else "/"


def page(
    request: Request, template: str, visitor: Visitor | None, status: int = 200, **context: object
) -> HTMLResponse:
    """A whole page. Call from a worker thread when its context was read there; rendering takes about a millisecond."""
    console, words = request.app.state.console, words_for(request)
    done = request.query_params.get("done", "")
    frame = {
        "t": words,
        "language": words.language,
        "languages": LANGUAGES,
        "moment": words.moment,
        "day": words.day,
        "length": words.length,
        "site": console.parts.site.name,
        "path": safe_next(request.url.path),
        "visitor": visitor,
        "roles": ", ".join(words(f"role.{role}") for role in sorted(visitor.person.roles)) if visitor else "",
        "navigation": _navigation(request, visitor) if visitor else (),
        "csrf": console.csrf(visitor.session) if visitor else "",
        "done": done if words.has(f"done.{done}") else "",
    }
    return HTMLResponse(_ENVIRONMENT.get_template(template).render(frame | context), status_code=status)


def _navigation(request: Request, visitor: Visitor) -> tuple[Link, ...]:
    listens = visitor.is_(Role.TRAINER) or visitor.is_(Role.TRAINEE)
    keeps = visitor.is_(Role.TELEPHONY_ADMIN) or visitor.is_(Role.DPO)
    wanted = (
        (listens, "/recordings", "nav.recordings"),
        (keeps, "/excluded-lines", "nav.lines"),
        (True, "/notice", "nav.notice"),
        (keeps, "/health", "nav.status"),
    )
    return tuple(Link(path, text, request.url.path.startswith(path)) for shown, path, text in wanted if shown)
