"""What pages and API do besides playing: lines, notice, reviews, health, errors, headers."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from fastapi import APIRouter
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from sipgate.console.app import create_app
from sipgate.console.headers import SECURITY
from sipgate.console.parts import FileLines, Health, HealthItem
from sipgate.errors import NotInForceError
from sipgate.register.exclusions_file import FileLine
from sipgate.register.rows import Role
from tests.console.site import PASSWORD, SECOND, Outside, Site

# --- excluded lines -----------------------------------------------------------------------------------------------


async def test_excluding_takes_one_person_and_effect_before_the_answer(site: Site) -> None:
    async with site.client("ada") as client:
        answer = await client.post("/api/v1/exclusions", json={"line": "2100, +33 1 42 68 53 00"})
        assert (answer.status_code, answer.json()) == (201, {"warnings": []})
        assert site.outside.policy_changes == 1
        listed = (await client.get("/api/v1/exclusions")).json()["console"]
    assert {(row["line"], row["added_by"], row["may_confirm"]) for row in listed} == {
        ("2100", "Ada Admin", False),
        ("+33142685300", "Ada Admin", False),
    }
    assert b"2100" not in b"".join(site.journal.lines())
    assert len(site.journalled("exclusion-added")) == 2


async def test_an_exclusion_that_is_not_in_force_in_time_is_not_said_to_be(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.outside, "policy_changed", _too_late)
    site.app = site.new_app()
    async with site.client("ada") as client:
        answer = await client.post("/api/v1/exclusions", json={"line": "2100-2199"})
        assert (answer.status_code, answer.json()["detail"]) == (503, "not in force after 5 seconds")
        page = await client.post("/excluded-lines", data={"line": "2200-2299"}, follow_redirects=True)
    assert page.status_code == 503
    assert "Not yet in force" in page.text


def _too_late() -> None:
    raise NotInForceError("not in force after 5 seconds")


@pytest.mark.parametrize("line", ["2100", "sip:cse@corp.example"])
async def test_a_line_by_one_identity_alone_is_excluded_with_a_warning(site: Site, line: str) -> None:
    async with site.client("ada") as client:
        answer = await client.post("/api/v1/exclusions", json={"line": line})
        assert "one identity only" in answer.json()["warnings"][0]
        page = await client.post("/excluded-lines", data={"line": line}, follow_redirects=True)
        assert "one identity only" in page.text


async def test_a_range_stands_for_itself(site: Site) -> None:
    async with site.client("ada") as client:
        assert (await client.post("/api/v1/exclusions", json={"line": "2100-2199"})).json() == {"warnings": []}


@pytest.mark.parametrize("line", ["", " , ", "hello there", "2999-2000", "2100, nonsense!", "*"])
async def test_what_is_no_line_is_refused_whole_by_field_and_with_what_to_write(site: Site, line: str) -> None:
    async with site.client("ada") as client:
        answer = await client.post("/api/v1/exclusions", json={"line": line})
        assert (answer.status_code, answer.json()["field"]) == (422, "line")
        page = await client.post("/excluded-lines", data={"line": line})
    assert page.status_code == 422
    assert 'aria-invalid="true"' in page.text
    assert 'id="line-error"' in page.text
    assert site.register.exclusions.all() == ()
    assert site.outside.policy_changes == 0


async def test_without_a_journal_a_line_is_excluded_all_the_same_but_none_is_removed(site: Site) -> None:
    row = site.register.exclusions.exclude("2100", None, site.clock())
    site.register.exclusions.request_removal(row.id, site.people["alan"].id, site.clock())
    site.lose_journal()
    async with site.client("ada") as client:
        assert (await client.post("/api/v1/exclusions", json={"line": "2101"})).status_code == 201
        assert (await client.post("/api/v1/exclusions/1/removal/confirmation")).status_code == 503
    assert {row.text for row in site.register.exclusions.all()} == {"2100", "2101"}


async def test_removing_takes_two_people(site: Site) -> None:
    async with site.client("ada") as ada, site.client("alan") as alan:
        await ada.post("/api/v1/exclusions", json={"line": "2100-2199"})
        assert (await alan.post("/api/v1/exclusions/1/removal/confirmation")).status_code == 422
        assert (await ada.post("/api/v1/exclusions/1/removal")).status_code == 204
        same = await ada.post("/api/v1/exclusions/1/removal/confirmation")
        assert same.status_code == 422
        assert "(R12)" in same.json()["detail"]
        page = await ada.post("/excluded-lines/1/removal/confirmation")
        assert page.status_code == 422
        assert "Another person" in page.text
        assert "A second person confirms" in (await ada.get("/excluded-lines")).text
        assert "Confirm removal" in (await alan.get("/excluded-lines")).text
        changes = site.outside.policy_changes
        assert (await alan.post("/api/v1/exclusions/1/removal/confirmation")).status_code == 204
        assert site.outside.policy_changes == changes + 1
        assert (await alan.post("/api/v1/exclusions/1/removal/confirmation")).status_code == 404
        gone = await alan.post("/excluded-lines/1/removal/confirmation")
        assert gone.status_code == 409
        assert "Somebody else has changed" in gone.text
    assert site.register.exclusions.all() == ()
    assert [entry["person"] for entry in site.journalled("exclusion-removed")] == [site.pseudonym("alan")]


async def test_the_files_lines_are_shown_with_their_warnings_and_what_ails_the_file(site: Site) -> None:
    row = FileLine(number=3, text="2100 <b>", note="works & council", selectors=(), warnings=("file:3: one identity",))
    site.outside.file = FileLines(path="/etc/exclusions.txt", lines=(row,), error="line 4 cannot be read")
    async with site.client("ada") as client:
        page = (await client.get("/excluded-lines")).text
        listed = (await client.get("/api/v1/exclusions")).json()
    for text in ("2100 &lt;b&gt;", "works &amp; council", "file:3: one identity", "line 4 cannot be read"):
        assert text in page
    assert listed["file"] == [{"line": "2100 <b>", "note": "works & council"}]
    assert (listed["file_error"], listed["warnings"]) == ("line 4 cannot be read", ["file:3: one identity"])


# --- notice and reviews -------------------------------------------------------------------------------------------


async def test_a_trainee_acknowledges_the_version_in_force_and_no_other(site: Site) -> None:
    site.register.notices.publish("First.", site.clock())
    site.register.notices.publish("Second, with <markup>.", site.clock())
    async with site.client("tom") as client:
        assert "not acknowledged" in (await client.get("/recordings")).text
        page = await client.get("/notice")
        assert "Second, with &lt;markup&gt;." in page.text
        older = await client.post("/api/v1/notice/acknowledgement", json={"version": 1})
        assert (older.status_code, site.outside.policy_changes) == (422, 0)
        assert (await client.post("/notice", data={"version": "1"})).status_code == 409
        assert (await client.post("/notice", data={"version": "2"})).status_code == 303
        assert site.outside.policy_changes == 1
        assert (await client.get("/api/v1/notice")).json()["acknowledged"] is True
        assert "not acknowledged" not in (await client.get("/recordings")).text
    assert [entry["version"] for entry in site.journalled("notice-acknowledged")] == [2]


async def test_without_a_notice_there_is_none(site: Site) -> None:
    async with site.client("tom") as client:
        assert (await client.get("/api/v1/notice")).status_code == 404
        assert "No notice" in (await client.get("/notice")).text


async def test_a_review_frees_its_slot_once_and_is_the_reviewers_alone(site: Site) -> None:
    recording = site.record("tom")
    async with site.client("tom") as tom, site.client("ann") as ann:
        assert (await tom.post(f"/api/v1/recordings/{recording}/reviewed")).status_code == 404
        for _ in range(2):
            assert (await ann.post(f"/api/v1/recordings/{recording}/reviewed")).status_code == 204
        (row,) = (await ann.get("/api/v1/recordings")).json()["recordings"]
    assert row["reviewed_at"] is not None
    assert site.outside.policy_changes == 1
    assert len(site.journalled("reviewed")) == 1


async def test_a_recording_that_failed_can_be_put_aside_and_one_in_the_making_cannot(site: Site) -> None:
    failed, making = site.record("tom", state="failed"), site.record("tom", state="finishing")
    async with site.client("ann") as client:
        assert (await client.post(f"/api/v1/recordings/{failed}/reviewed")).status_code == 204
        assert (await client.post(f"/api/v1/recordings/{making}/reviewed")).status_code == 409


async def test_lists_hold_ones_own_newest_first_page_by_page(site: Site) -> None:
    names = [site.record("tom", b"x", answered_at_ns=site.clock() - n * SECOND, channels=1 + n % 2) for n in range(53)]
    site.record("tina")
    async with site.client("tom") as client:
        listed = (await client.get("/api/v1/recordings")).json()["recordings"]
        first, second = await client.get("/recordings"), await client.get("/recordings?page=2")
        assert (await client.get("/recordings?page=99&show=nonsense")).text.count('a class="recording"') == 3
    assert [row["recording"] for row in listed] == names
    assert [row["channels"] for row in listed[:2]] == [1, 2]
    assert {row["owner"] for row in listed} == {"Tom Trainee"}
    assert re.findall(r'href="/recordings/([0-9a-f]{32})"', first.text) == names[:50]
    assert re.findall(r'href="/recordings/([0-9a-f]{32})"', second.text) == names[50:]


# --- machines -----------------------------------------------------------------------------------------------------


async def test_readiness_says_why_not(site: Site) -> None:
    async with site.client() as client:
        assert (await client.get("/readyz")).json() == {"status": "ready", "reasons": []}
        site.outside.health = Health(("the gate is closed",), (HealthItem("gate", False, "no opinion"),))
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["the gate is closed"])
        assert (await client.get("/healthz")).status_code == 200
    async with site.client("ada") as client:
        assert (await client.get("/api/v1/health")).json()["items"] == [
            {"name": "gate", "good": False, "text": "no opinion"}
        ]
        assert "the gate is closed" in (await client.get("/health")).text


async def test_metrics_are_aggregates_for_the_monitoring_host_alone(site: Site) -> None:
    recording = site.record("tom")
    async with site.client("tom") as client:
        await client.post(f"/api/v1/recordings/{recording}/viewings", json={"reason": "training"})
        text = (await client.get("/metrics")).text
        client._transport.client = ("192.0.2.1", 1)  # type: ignore[attr-defined]
        assert (await client.get("/metrics")).status_code == 404
    samples = {s.name: s for family in text_string_to_metric_families(text) for s in family.samples}
    assert samples["sipgate_console_viewings_total"].value == 1
    assert {key for sample in samples.values() for key in sample.labels} <= {"kind", "outcome"}
    assert recording not in text


async def test_the_api_describes_itself_and_knows_no_score(site: Site) -> None:
    async with site.client() as client:
        described = (await client.get("/openapi.json")).json()
        assert (await client.get("/docs")).status_code == 404
    assert {path for path in described["paths"] if path.startswith("/api/v1/")} >= {"/api/v1/recordings"}
    text = str(described).lower()
    for word in ("score", "rating", "rank", "emotion", "thumbnail", "poster", "image/", "appraisal"):
        assert word not in text


@pytest.mark.parametrize("path", ["/", "/sign-in", "/healthz", "/nowhere", "/api/v1/nowhere", "/static/console.css"])
async def test_every_answer_carries_the_security_headers(site: Site, path: str) -> None:
    async with site.client() as client:
        answer = await client.get(path)
    assert SECURITY.items() <= {key: answer.headers.get(key) for key in SECURITY}.items()
    assert "unsafe" not in answer.headers["content-security-policy"]
    if not path.startswith("/static/"):
        assert answer.headers["cache-control"] == "no-store"


async def test_a_fault_of_ours_is_a_500_that_tells_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Outside) -> FileLines:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Outside, "file", property(broken), raising=False)
    async with site.client("ada") as client:
        for path in ("/excluded-lines", "/api/v1/exclusions"):
            answer = await client.get(path)
            assert answer.status_code == 500
            assert "secret" not in answer.text
            assert "Traceback" not in answer.text
            assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/exclusions", b"{"),
        ("/api/v1/exclusions", b"[]"),
        ("/api/v1/exclusions", b'{"line": 7}'),
        ("/api/v1/exclusions", b'{"line": "2100", "force": true}'),
        ("/api/v1/exclusions", b'{"line": "' + b"9" * 600 + b'"}'),
    ],
)
async def test_a_body_that_is_not_understood_is_named_and_never_repeated(site: Site, path: str, body: bytes) -> None:
    async with site.client("ada") as client:
        answer = await client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)
    assert "999999" not in answer.text


@pytest.mark.parametrize("path", ["/api/v1/sign-in", "/sign-in", "/api/v1/exclusions"])
async def test_a_body_of_megabytes_is_not_read(site: Site, path: str) -> None:
    async with site.client("ada") as client:
        answer = await client.post(path, content=b"x" * (1 << 20), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


async def test_names_with_markup_stay_text(site: Site) -> None:
    eve = site.register.people.add("eve", "<script>alert(2)</script>", PASSWORD, {Role.TELEPHONY_ADMIN})
    site.register.exclusions.exclude("2100", eve.id, site.clock())
    async with site.client("ada") as client:
        page = (await client.get("/excluded-lines?done=<script>")).text
        again = await client.post("/excluded-lines", data={"line": '"><script>alert(1)</script>'})
    assert "&lt;script&gt;alert(2)" in page
    assert "<script>" not in page + again.text


# --- the recording's page -----------------------------------------------------------------------------------------


async def test_the_page_asks_again_for_a_reason_that_says_nothing(site: Site) -> None:
    recording = site.record("tom")
    async with site.client("ann") as client:
        answer = await client.post(f"/recordings/{recording}/viewings", data={"reason": "x", "kind": "export"})
    assert answer.status_code == 422
    assert 'id="export-reason-error"' in answer.text
    assert "<details open>" in answer.text
    assert site.journalled("viewing") == []


async def test_a_copy_is_taken_by_the_page_too(site: Site) -> None:
    recording = site.record("tom")
    async with site.client("ann") as client:
        form = {"reason": "for the session", "kind": "export"}
        answer = await client.post(f"/recordings/{recording}/viewings", data=form)
        assert answer.headers["location"].startswith(f"/api/v1/recordings/{recording}/export?viewing=export.")
        assert (await client.get(answer.headers["location"])).status_code == 200


async def test_an_ended_viewing_asks_for_the_reason_again(site: Site) -> None:
    recording = site.record("tom")
    async with site.client("ann") as client:
        page = await client.get(f"/recordings/{recording}?viewing=play.1.x")
    assert page.status_code == 200
    assert "The viewing has ended" in page.text
    assert "<video" not in page.text


async def test_a_recording_in_the_making_says_so_and_offers_nothing(site: Site) -> None:
    recording = site.record("tom", state="finishing")
    async with site.client("ann") as client:
        page = (await client.get(f"/recordings/{recording}")).text
    assert "Being prepared" in page
    assert "<textarea" not in page
    assert "Mark as reviewed" not in page


async def test_a_removal_is_asked_for_by_the_page_too(site: Site) -> None:
    site.register.exclusions.exclude("2100-2199", None, site.clock())
    async with site.client("ada") as ada, site.client("dora") as dora:
        assert (await ada.post("/excluded-lines/1/removal")).headers["location"] == "/excluded-lines?done=removal"
        assert (await ada.post("/excluded-lines/7/removal")).status_code == 409
        done = await dora.post("/excluded-lines/1/removal/confirmation")
        assert done.headers["location"] == "/excluded-lines?done=removed"


@pytest.mark.parametrize("path", ["/language/xx", "/static/console.py", "/static/..%2fapp.py", "/favicon.ico"])
async def test_what_is_not_served_is_not_there(site: Site, path: str) -> None:
    async with site.client() as client:
        assert (await client.get(path)).status_code == 404


async def test_routes_that_authenticate_themselves_are_served_beside_the_consoles(site: Site) -> None:
    router = APIRouter()

    @router.get("/workstation/v1/ca")
    async def authority() -> str:
        return "a certificate"

    parts = replace(site.app.state.console.parts, routers=(router,), metrics=CollectorRegistry())
    site.app = create_app(parts)
    async with site.client() as client:
        answer = await client.get("/workstation/v1/ca")
        assert answer.json() == "a certificate"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await client.get("/workstation/v1/nothing")).json() == {"detail": "Not found"}


# --- related calls ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("language", "title"), [("en", "Related calls"), ("fr", "Appels liés")])
async def test_a_recordings_page_lists_those_of_its_story_that_this_person_may_see(
    site: Site, language: str, title: str
) -> None:
    """R6: a transferred call's two recordings have an owner each."""
    story, other = "a" * 32, "b" * 32
    first = site.record("tom", story=story, answered_at_ns=site.clock() - 600 * SECOND)
    second = site.record("tom", story=story)
    tinas, apart = site.record("tina", story=story), site.record("tom", story=other)
    async with site.client("tom") as client:
        client.cookies.set("language", language)
        page = (await client.get(f"/recordings/{first}", headers={"Accept-Language": language})).text
        assert title in page
        assert f'href="/recordings/{second}"' in page
        for hidden in (tinas, apart, "Tina"):
            assert hidden not in page
        assert title not in (await client.get(f"/recordings/{apart}", headers={"Accept-Language": language})).text
        assert (await client.get(f"/api/v1/recordings/{first}")).json()["story"] == story
    async with site.client("ann") as client:
        assert tinas not in (await client.get(f"/recordings/{first}")).text
