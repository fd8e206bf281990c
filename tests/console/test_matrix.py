"""Every route by every role: what each may, and that what they may not looks like what does not exist.

A route without a row here fails: ``test_every_route_has_its_row``.
"""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from sipgate.console import app as console_app
from sipgate.console.access import ANYONE, May, require_declarations
from tests.console.site import Site

NOBODY, EVERYBODY = frozenset[str](), frozenset({"ann", "tom", "ada", "dora"})
LISTENERS, TRAINER, TRAINEE, KEEPERS = {"ann", "tom"}, {"ann"}, {"tom"}, {"ada", "dora"}
ABSENT = {"detail": "Not found"}


@dataclass(frozen=True)
class Row:
    """One route. ``may``: the roles' people who get past both gates, for Tom's recording; ``open`` needs no sign-in."""

    route: str
    may: frozenset[str] | set[str]
    open: bool = False
    json: object = None
    form: dict[str, str] | None = None

    @property
    def method(self) -> str:
        return self.route.split()[0]

    @property
    def path(self) -> str:
        return self.route.split()[1]


ROWS = (
    Row("POST /api/v1/sign-in", EVERYBODY, open=True, json={"login": "x", "password": "y"}),
    Row("POST /api/v1/sign-out", EVERYBODY),
    Row("GET /api/v1/me", EVERYBODY),
    Row("GET /api/v1/recordings", LISTENERS),
    Row("GET /api/v1/recordings/{recording}", LISTENERS),
    Row("POST /api/v1/recordings/{recording}/viewings", LISTENERS, json={"reason": "training"}),
    Row("POST /api/v1/recordings/{recording}/reviewed", TRAINER),
    Row("DELETE /api/v1/recordings/{recording}", LISTENERS),
    Row("GET /api/v1/exclusions", KEEPERS),
    Row("POST /api/v1/exclusions", KEEPERS, json={"line": "2100"}),
    Row("POST /api/v1/exclusions/{exclusion}/removal", KEEPERS),
    Row("POST /api/v1/exclusions/{exclusion}/removal/confirmation", KEEPERS),
    Row("GET /api/v1/notice", EVERYBODY),
    Row("POST /api/v1/notice/acknowledgement", TRAINEE, json={"version": 1}),
    Row("GET /api/v1/health", KEEPERS),
    Row("GET /api/v1/recordings/{recording}/media", LISTENERS),
    Row("GET /api/v1/recordings/{recording}/export", LISTENERS),
    Row("GET /sign-in", EVERYBODY, open=True),
    Row("POST /sign-in", EVERYBODY, open=True, form={"login": "x", "password": "y"}),
    Row("POST /sign-out", EVERYBODY),
    Row("GET /language/{code}", EVERYBODY, open=True),
    Row("GET /", EVERYBODY),
    Row("GET /recordings", LISTENERS),
    Row("GET /recordings/{recording}", LISTENERS),
    Row("POST /recordings/{recording}/viewings", LISTENERS, form={"reason": "training"}),
    Row("POST /recordings/{recording}/reviewed", TRAINER),
    Row("POST /recordings/{recording}/erasure", LISTENERS),
    Row("GET /excluded-lines", KEEPERS),
    Row("POST /excluded-lines", KEEPERS, form={"line": "2100"}),
    Row("POST /excluded-lines/{exclusion}/removal", KEEPERS),
    Row("POST /excluded-lines/{exclusion}/removal/confirmation", KEEPERS),
    Row("GET /notice", EVERYBODY),
    Row("POST /notice", TRAINEE, form={"version": "1"}),
    Row("GET /health", KEEPERS),
    Row("GET /healthz", EVERYBODY, open=True),
    Row("GET /readyz", EVERYBODY, open=True),
    Row("GET /metrics", EVERYBODY, open=True),
    Row("GET /openapi.json", EVERYBODY, open=True),
    Row("GET /static/{name}", EVERYBODY, open=True),
)
UNSAFE = tuple(row for row in ROWS if row.method != "GET" and not row.open)


@dataclass(frozen=True)
class World:
    """A site in which every route has something to act upon."""

    site: Site
    recording: str

    def path(self, row: Row) -> str:
        values = {"recording": self.recording, "exclusion": "1", "code": "fr", "name": "console.css"}
        return row.path.format(**values)

    async def ask(self, row: Row, login: str | None, path: str | None = None) -> httpx.Response:
        async with self.site.client(login) as client:
            return await client.request(row.method, path or self.path(row), json=row.json, data=row.form)


@pytest.fixture
def world(site: Site) -> World:
    site.register.notices.publish("What is recorded, and why.", site.clock())
    admin, other = site.people["ada"].id, site.people["alan"].id
    site.register.exclusions.exclude("2199", admin, site.clock())
    site.register.exclusions.request_removal(1, other, site.clock())
    return World(site, site.record("tom"))


def test_every_route_has_its_row(site: Site) -> None:
    served = [route for router in console_app.ROUTERS for route in router.routes]
    assert len(site.app.routes) == len(console_app.ROUTERS), "routes are served that no router of the console lists"
    listed = [
        f"{method} {route.path}"
        for route in served
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]
    assert len(listed) == len(served)
    assert sorted(listed) == sorted(row.route for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.route)
async def test_nobody_gets_in_without_signing_in(row: Row, world: World) -> None:
    answer = await world.ask(row, None)
    if row.open:
        assert answer.status_code in {200, 303, 401}
        assert answer.headers.get("location", "") in {"", "/"}
    elif row.path.startswith("/api/"):
        assert answer.status_code == 401
    else:
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in?next=/")


@pytest.mark.parametrize("login", sorted(EVERYBODY))
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.route)
async def test_each_role_gets_what_is_theirs_and_nothing_else(row: Row, login: str, world: World) -> None:
    answer = await world.ask(row, login)
    denied = world.site.journalled("denied")
    if login in row.may:
        # 401: the sign-in of somebody who does not exist; 403: no reason was stated, which is the next gate.
        assert answer.status_code in {200, 201, 204, 303, 401, 403}
        assert denied == []
        assert not answer.headers.get("location", "").startswith("/sign-in?next")
    else:
        assert answer.status_code == 404
        assert [entry["person"] for entry in denied] == [world.site.pseudonym(login)]
        if row.path.startswith("/api/"):
            assert answer.json() == ABSENT


@pytest.mark.parametrize("login", ["tina", "otto", "ada", "dora"])
@pytest.mark.parametrize("row", [row for row in ROWS if "{recording}" in row.path], ids=lambda row: row.route)
async def test_anothers_recording_and_no_recording_look_alike(row: Row, login: str, world: World) -> None:
    theirs = await world.ask(row, login)
    none = await world.ask(row, login, row.path.format(recording="0" * 32))
    malformed = await world.ask(row, login, row.path.format(recording="..%2f..%2fetc"))
    assert theirs.status_code == none.status_code == 404
    assert malformed.status_code == 404
    assert theirs.content.replace(world.recording.encode(), b"0" * 32) == none.content
    assert {k: v for k, v in theirs.headers.items() if k != "content-length"} == {
        k: v for k, v in none.headers.items() if k != "content-length"
    }
    assert len(world.site.journalled("denied")) >= 2


@pytest.mark.parametrize("row", UNSAFE, ids=lambda r: r.route)
@pytest.mark.parametrize("forged", ["none", "wrong", "another site"])
async def test_under_a_cookie_nothing_unsafe_happens_without_the_forms_token(
    row: Row, forged: str, world: World
) -> None:
    for login in sorted(row.may):
        async with world.site.client(login, bearer=False) as client:
            if forged == "none":
                del client.headers["x-csrf-token"]
            elif forged == "wrong":
                client.headers["x-csrf-token"] = "A" * 43
            else:
                client.headers["sec-fetch-site"] = "cross-site"
            answer = await client.request(row.method, world.path(row), json=row.json, data=row.form)
            assert answer.status_code == 403
            assert (await client.get("/api/v1/me")).status_code == 200
    assert world.site.outside.policy_changes == 0
    assert world.site.journalled() == []


@pytest.mark.parametrize("row", UNSAFE, ids=lambda r: r.route)
async def test_with_the_token_the_browser_may_what_the_program_may(row: Row, world: World) -> None:
    async with world.site.client(min(row.may), bearer=False) as client:
        client.headers["sec-fetch-site"] = "same-origin"
        answer = await client.request(row.method, world.path(row), json=row.json, data=row.form)
        assert answer.status_code in {200, 201, 204, 303}


def test_a_route_that_does_not_declare_who_may_use_it_is_not_served() -> None:
    router = APIRouter()

    @router.get("/forgotten")
    def forgotten() -> None: ...

    with pytest.raises(TypeError, match="/forgotten"):
        require_declarations(router.routes)


def test_a_route_that_declares_it_twice_is_not_served() -> None:
    router = APIRouter()

    @router.get("/twice", dependencies=[ANYONE, Depends(May())])
    def twice() -> None: ...

    with pytest.raises(TypeError, match="/twice"):
        require_declarations(router.routes)


def test_what_is_mounted_into_the_application_does_not_slip_past() -> None:
    application = FastAPI(openapi_url="/openapi.json")
    with pytest.raises(TypeError):
        require_declarations(application.routes)
