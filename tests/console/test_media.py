"""The bytes: who gets them, when, how many, and what is journalled before the first."""

from __future__ import annotations

import asyncio
import random

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipgate.console.ranges import MAXIMUM_BYTES
from sipgate.console.viewings import LIFETIME_SECONDS
from tests.console.site import SECOND, Site, webm

BIG = random.Random(7).randbytes(2 * MAXIMUM_BYTES + 300_001)


async def viewing(client: httpx.AsyncClient, recording: str, kind: str = "play") -> str:
    answer = await client.post(
        f"/api/v1/recordings/{recording}/viewings", json={"reason": "prepare a session", "kind": kind}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["media"])


# --- the reason and the journal, first ----------------------------------------------------------------------------


async def test_a_viewing_is_journalled_by_pseudonym_and_digest_and_kept_as_a_consultation(site: Site) -> None:
    recording = site.record("tom")
    async with site.client("ann") as client:
        await viewing(client, recording)
    (entry,) = site.journalled("viewing")
    assert entry["person"] == site.pseudonym("ann")
    assert entry["recording"] == recording
    assert entry["means"] == "play"
    assert len(entry["reason"]) == 32
    (consultation,) = site.register.consultations.of(recording)
    assert (consultation.person, consultation.reason) == (site.people["ann"].id, "prepare a session")
    journal = b"".join(site.journal.lines())
    for text in (b"prepare", b"Ann", b'ann"'):
        assert text not in journal


async def test_the_same_reason_has_another_digest_for_another_recording(site: Site) -> None:
    async with site.client("ann") as client:
        for recording in (site.record("tom"), site.record("tom")):
            await viewing(client, recording)
    first, second = site.journalled("viewing")
    assert first["reason"] != second["reason"]


async def test_without_a_journal_nothing_is_opened_and_nothing_plays(site: Site) -> None:
    recording = site.record("tom")
    site.lose_journal()
    async with site.client("ann") as client:
        for kind in ("play", "export"):
            answer = await client.post(
                f"/api/v1/recordings/{recording}/viewings", json={"reason": "training", "kind": kind}
            )
            assert answer.status_code == 503
            assert "viewing" not in answer.json()
            assert str(site.folder) not in answer.text
        assert (await client.get(f"/api/v1/recordings/{recording}/media")).status_code == 403
    assert site.register.consultations.of(recording) == ()


@pytest.mark.parametrize("reason", ["", "  ", "ab", "\x00\x07 a", "x" * 501])
async def test_a_reason_must_say_something(site: Site, reason: str) -> None:
    recording = site.record("tom")
    async with site.client("ann") as client:
        answer = await client.post(f"/api/v1/recordings/{recording}/viewings", json={"reason": reason})
    assert answer.status_code == 422
    assert answer.json()["field"] == "reason"
    assert "3 to 500 characters" in answer.json()["detail"]
    assert site.journalled("viewing") == []


async def test_another_purpose_than_training_is_refused_and_journalled(site: Site) -> None:
    recording = site.record("tom")
    async with site.client("ann") as client:
        answer = await client.post(
            f"/api/v1/recordings/{recording}/viewings", json={"reason": "yearly talk", "purpose": "appraisal"}
        )
    assert answer.status_code == 422
    assert "(R8)" in answer.json()["detail"]
    (entry,) = site.journalled("denied")
    assert (entry["tried"], entry["recording"]) == ("purpose", recording)


@pytest.mark.parametrize("state", ["finishing", "failed"])
async def test_what_is_not_ready_cannot_be_opened(site: Site, state: str) -> None:
    recording = site.record("tom", state=state)
    async with site.client("tom") as client:
        answer = await client.post(f"/api/v1/recordings/{recording}/viewings", json={"reason": "training"})
    assert answer.status_code == 409
    assert site.journalled("viewing") == []


# --- ranges -------------------------------------------------------------------------------------------------------


async def test_the_whole_film_comes_back_as_it_was_sealed(site: Site) -> None:
    recording = site.record("tom")
    async with site.client("tom") as client:
        answer = await client.get(await viewing(client, recording))
    assert answer.status_code == 200
    assert answer.content == webm()
    assert answer.headers["content-type"] == "video/webm"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["accept-ranges"] == "bytes"
    assert "etag" not in answer.headers
    assert "last-modified" not in answer.headers


async def test_an_open_range_gets_one_mebibyte(site: Site) -> None:
    recording = site.record("tom", BIG)
    async with site.client("ann") as client:
        address = await viewing(client, recording)
        parts, at = [], 0
        while at < len(BIG):
            answer = await client.get(address, headers={"Range": f"bytes={at}-"})
            assert answer.status_code == 206
            assert len(answer.content) <= MAXIMUM_BYTES
            assert answer.headers["content-range"] == f"bytes {at}-{at + len(answer.content) - 1}/{len(BIG)}"
            parts.append(answer.content)
            at += len(answer.content)
    assert b"".join(parts) == BIG


async def test_a_range_beyond_the_end_is_refused_with_the_size(site: Site) -> None:
    recording = site.record("tom", b"0123456789")
    async with site.client("tom") as client:
        answer = await client.get(await viewing(client, recording), headers={"Range": "bytes=10-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */10"
    assert answer.content == b""


async def test_a_conditional_range_matches_nothing_and_gets_the_whole(site: Site) -> None:
    recording = site.record("tom", b"0123456789")
    async with site.client("tom") as client:
        headers = {"Range": "bytes=2-3", "If-Range": '"any"'}
        answer = await client.get(await viewing(client, recording), headers=headers)
    assert (answer.status_code, answer.content) == (200, b"0123456789")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(BIG) + 10), st.integers(0, len(BIG) + 10) | st.none(), st.booleans())
def test_any_range_is_that_part_of_the_plain_bytes(
    opened: tuple[Site, str, str], first: int, last: int | None, suffix: bool
) -> None:
    site, address, token = opened
    header = f"bytes=-{first}" if suffix else f"bytes={first}-{'' if last is None else last}"

    async def ask() -> httpx.Response:
        async with site.client() as client:
            return await client.get(address, headers={"Range": header, "Authorization": f"Bearer {token}"})

    answer = asyncio.run(ask())
    if suffix:
        expected = BIG[len(BIG) - min(first, len(BIG)) :] if first else b""
    elif last is not None and last < first:
        assert (answer.status_code, len(answer.content)) == (200, len(BIG))
        return
    else:
        expected = BIG[first:] if last is None else BIG[first : last + 1]
    assert answer.status_code == (206 if expected else 416)
    assert answer.content == expected[:MAXIMUM_BYTES]


@pytest.fixture
def opened(site: Site) -> tuple[Site, str, str]:
    recording = site.record("tom", BIG)

    async def open_it() -> tuple[str, str]:
        async with site.client("tom") as client:
            return await viewing(client, recording), client.headers["authorization"].removeprefix("Bearer ")

    return site, *asyncio.run(open_it())


# --- whose --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["tina", "otto", "ada", "dora"])
async def test_anothers_bytes_are_refused_by_url_range_cache_and_export_and_each_try_is_journalled(
    site: Site, login: str
) -> None:
    recording = site.record("tom")
    async with site.client("tom") as owner:
        play, export = await viewing(owner, recording), await viewing(owner, recording, "export")
        assert (await owner.get(play)).status_code == 200
    tries: tuple[tuple[str, dict[str, str]], ...] = (
        (f"/api/v1/recordings/{recording}/media", {}),
        (play, {}),  # a stolen link
        (play, {"Range": "bytes=0-99"}),
        (play, {"If-None-Match": "*"}),
        (play, {"If-Modified-Since": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        (f"/api/v1/recordings/{recording}/export", {}),
        (export, {}),
        (f"/api/v1/recordings/{recording}", {}),
        (f"/recordings/{recording}", {}),
    )
    async with site.client(login) as client:
        for number, (address, headers) in enumerate(tries, start=1):
            answer = await client.get(address, headers=headers)
            assert answer.status_code == 404
            denied = site.journalled("denied")
            assert len(denied) == number
            assert denied[-1]["person"] == site.pseudonym(login)
        refused = await client.post(f"/api/v1/recordings/{recording}/viewings", json={"reason": "curious"})
        assert refused.status_code == 404
    assert all(entry["recording"] == recording for entry in site.journalled("denied"))


async def test_a_name_that_is_in_no_index_never_enters_the_journal(site: Site) -> None:
    unknown = "ab" * 16
    async with site.client("tina") as client:
        assert (await client.get(f"/api/v1/recordings/{unknown}/media")).status_code == 404
    assert len(site.journalled("denied")) == 1
    assert unknown.encode() not in b"".join(site.journal.lines())


async def test_denials_that_never_end_do_not_fill_the_disk(site: Site) -> None:
    async with site.client("tina") as client:
        answers = [(await client.get(f"/api/v1/recordings/{'ab' * 16}")).status_code for _ in range(65)]
    assert answers == [404] * 60 + [429] * 5
    assert len(site.journalled("denied")) == 60


async def test_a_viewing_is_worth_nothing_in_another_session_of_the_same_person(site: Site) -> None:
    recording = site.record("tom")
    async with site.client("tom") as one, site.client("tom") as other:
        address = await viewing(one, recording)
        assert (await other.get(address)).status_code == 403
        assert (await one.get(address)).status_code == 200
    assert [entry["tried"] for entry in site.journalled("denied")] == ["viewing"]


async def test_a_viewing_to_play_does_not_export(site: Site) -> None:
    recording = site.record("tom")
    async with site.client("tom") as client:
        play = await viewing(client, recording)
        assert (await client.get(play.replace("/media?", "/export?"))).status_code == 403


async def test_a_viewing_ends(site: Site) -> None:
    recording = site.record("tom")
    async with site.client("tom") as client:
        address = await viewing(client, recording)
        site.clock.ns += 25 * 60 * SECOND
        assert (await client.get(address)).status_code == 200
        for _ in range(LIFETIME_SECONDS // 1500):
            site.clock.ns += 25 * 60 * SECOND
            await client.get("/api/v1/me")
        assert (await client.get(address)).status_code == 403
    assert site.journalled("denied") == []


async def test_a_viewing_ends_with_its_session(site: Site) -> None:
    recording = site.record("tom")
    async with site.client("tom") as client:
        address = await viewing(client, recording)
        assert (await client.post("/api/v1/sign-out")).status_code == 204
        assert (await client.get(address)).status_code == 401


async def test_a_viewing_outlives_a_restart_of_the_server(site: Site) -> None:
    recording = site.record("tom")
    async with site.client("tom") as client:
        address, token = await viewing(client, recording), client.headers["authorization"]
    site.app = site.new_app()
    async with site.client() as client:
        assert (await client.get(address, headers={"Authorization": token})).status_code == 200


# --- erased -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["key destroyed", "erased", "past its time"])
async def test_erased_while_being_watched_is_gone_with_the_next_range(site: Site, how: str) -> None:
    recording = site.record("tom", BIG, expires_at_ns=site.clock() + 600 * SECOND)
    async with site.client("tom") as client:
        address = await viewing(client, recording)
        assert (await client.get(address, headers={"Range": "bytes=0-"})).status_code == 206
        if how == "key destroyed":
            site.vault.destroy(recording)
        elif how == "erased":
            site.erase(recording)
        else:
            site.clock.ns += 600 * SECOND
        answer = await client.get(address, headers={"Range": f"bytes={MAXIMUM_BYTES}-"})
        assert answer.status_code == 410
        assert recording not in answer.text
        if how != "key destroyed":
            assert (await client.get(f"/api/v1/recordings/{recording}")).status_code == 404
            assert (await client.get("/api/v1/recordings")).json() == {"recordings": []}


async def test_altered_ciphertext_is_an_error_that_tells_nothing(site: Site) -> None:
    recording = site.record("tom", BIG)
    sealed = site.vault.folder(recording) / "recording.webm.sealed"
    content = bytearray(sealed.read_bytes())
    content[70_000] ^= 1
    sealed.write_bytes(content)
    async with site.client("tom") as client:
        address = await viewing(client, recording)
        answer = await client.get(address, headers={"Range": "bytes=60000-70000"})
        assert answer.status_code == 500
        assert answer.json() == {"detail": "Internal Server Error"}
        later = await client.get(address, headers={"Range": f"bytes={MAXIMUM_BYTES}-"})
        assert later.content == BIG[MAXIMUM_BYTES : 2 * MAXIMUM_BYTES]


# --- export -------------------------------------------------------------------------------------------------------


async def test_an_export_is_the_whole_file_and_journalled_as_one(site: Site) -> None:
    recording = site.record("tom", BIG)
    async with site.client("ann") as client:
        answer = await client.get(await viewing(client, recording, "export"))
    assert answer.content == BIG
    assert answer.headers["content-disposition"] == f'attachment; filename="recording-{recording[:8]}.webm"'
    assert int(answer.headers["content-length"]) == len(BIG)
    assert [entry["means"] for entry in site.journalled("viewing")] == ["export"]


@pytest.mark.parametrize("how", ["erased", "signed out"])
async def test_an_export_under_way_stops_when_it_is_no_longer_allowed(site: Site, how: str) -> None:
    recording = site.record("tom", BIG)
    async with site.client("tom") as client:
        address = await viewing(client, recording, "export")
        token = client.headers["authorization"].removeprefix("Bearer ")
        got = 0

        async def receive() -> dict[str, object]:
            await asyncio.Event().wait()  # the client stays
            raise AssertionError

        async def send(message: dict[str, object]) -> None:
            nonlocal got
            body = message.get("body", b"")
            assert isinstance(body, bytes)
            if body and got == 0 and how == "erased":
                site.erase(recording)
            elif body and got == 0:
                site.register.sessions.close(token)
            got += len(body)

        path, _, query = address.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"host", b"console.example"), (b"authorization", f"Bearer {token}".encode())],
            "client": ("127.0.0.1", 1),
            "server": ("console.example", 443),
        }
        await site.app(scope, receive, send)  # type: ignore[arg-type]
    # The piece behind the first was being made while the first was sent: no more than that.
    assert MAXIMUM_BYTES <= got < len(BIG)
