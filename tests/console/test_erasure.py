"""A trainee has their own recording erased (GDPR 17, R15): at once, for good, for everybody; journalled first."""

from __future__ import annotations

import pytest

from sipgate.errors import ErasedError
from tests.console.site import Site


@pytest.mark.parametrize("login", ["tom", "ann"])
async def test_its_owner_and_its_reviewer_have_it_erased(site: Site, login: str) -> None:
    recording = site.record("tom")
    folder = site.vault.folder(recording)
    async with site.client(login) as client, site.client("ann") as ann:
        answer = await ann.post(f"/api/v1/recordings/{recording}/viewings", json={"reason": "training"})
        media = answer.json()["media"]
        assert (await ann.get(media)).status_code == 200
        assert (await client.delete(f"/api/v1/recordings/{recording}")).status_code == 204
        assert (await ann.get(media)).status_code == 410
        assert (await client.get(f"/api/v1/recordings/{recording}")).status_code == 404
        assert (await client.delete(f"/api/v1/recordings/{recording}")).status_code == 404
    with pytest.raises(ErasedError):
        site.vault.keys(recording)
    assert not folder.exists()
    assert site.journalled("recording-erased") == [{"person": site.pseudonym(login), "recording": recording}]
    assert site.outside.policy_changes == 1, "its slot in the backlog is free"


async def test_without_a_journal_nothing_is_erased(site: Site) -> None:
    recording = site.record("tom")
    site.lose_journal()
    async with site.client("tom") as client:
        assert (await client.delete(f"/api/v1/recordings/{recording}")).status_code == 503
    site.vault.keys(recording)
    assert site.register.recordings.get(recording) is not None


async def test_one_in_the_making_has_to_be_asked_for_again(site: Site) -> None:
    recording = site.record("tom", state="finishing")
    async with site.client("tom") as client:
        assert (await client.delete(f"/api/v1/recordings/{recording}")).status_code == 409
    assert site.journalled("recording-erased") == []


async def test_the_trainees_page_has_a_button_for_it_and_the_trainers_has_not(site: Site) -> None:
    recording = site.record("tom")
    button = f'action="/recordings/{recording}/erasure"'
    async with site.client("tom", bearer=False) as tom, site.client("ann", bearer=False) as ann:
        assert button not in (await ann.get(f"/recordings/{recording}")).text
        assert button in (await tom.get(f"/recordings/{recording}")).text
        answer = await tom.post(f"/recordings/{recording}/erasure")
        assert (answer.status_code, answer.headers["location"]) == (303, "/recordings?done=erased")
        assert "is erased" in (await tom.get("/recordings?done=erased", headers={"Accept-Language": "en"})).text
    assert site.register.recordings.get(recording) is None
