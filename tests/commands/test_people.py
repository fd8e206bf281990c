"""``sipgate people``: one person with a shell does not become the second of two."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.office import NEW_PASSWORD, PASSWORD, Desk, Said, empty

GUARDED = ("dpo", "trainer", "telephony_admin")


def add(desk: Desk, login: str, role: str, *words: str, **variables: str) -> Said:
    return desk("people", "add", login, "--name", login.title(), "--role", role, *words, **variables)


def logins(desk: Desk) -> list[str]:
    return [row["login"] for row in desk("people", "list", "--json").document["people"]]


def test_the_first_accounts_are_made_freely_and_the_first_dpo_ends_that(tmp_path: Path) -> None:
    desk = empty(tmp_path)
    for login, role in (("ada", "telephony_admin"), ("tom", "trainer"), ("dora", "dpo")):
        assert add(desk, login, role).status == 0
    said = add(desk, "eve", "telephony_admin")
    assert said.status == 1
    assert "DPO, with --as" in said.text


@pytest.mark.parametrize("role", GUARDED)
def test_once_there_is_a_dpo_nobody_else_makes_an_account_that_can_sign(desk: Desk, role: str) -> None:
    before = logins(desk)
    assert add(desk, "eve", role).status == 1
    assert add(desk, "eve", role, "--role", "trainee").status == 1
    assert add(desk, "eve", role, "--as", "ada").status == 1
    assert add(desk, "eve", role, "--as", "dora", SIPGATE_PASSWORD="a wrong password").status == 1
    assert logins(desk) == before
    assert desk.journal() == []


@pytest.mark.parametrize("role", GUARDED)
def test_the_dpo_makes_one_and_the_journal_says_who_did(desk: Desk, role: str) -> None:
    assert add(desk, "eve", role, "--as", "dora").status == 0
    fields = {"person": desk.pseudonym("eve"), "roles": role, "by": desk.pseudonym("dora")}
    assert desk.journal() == [("person-added", fields)]


def test_a_trainee_is_added_without_a_signature(desk: Desk) -> None:
    assert add(desk, "tim", "trainee").status == 0
    assert desk.journal() == [("person-added", {"person": desk.pseudonym("tim"), "roles": "trainee"})]


def test_the_signers_password_never_becomes_the_new_persons(desk: Desk) -> None:
    typed = f"{NEW_PASSWORD}\n{NEW_PASSWORD}\n"
    words = ("people", "add", "eve", "--name", "Eve", "--role", "trainer", "--as", "dora")
    assert desk(*words, keys=typed, SIPGATE_NEW_PASSWORD="").status == 0
    with desk.stores() as site:
        assert site.register.people.authenticate("eve", NEW_PASSWORD) is not None
        assert site.register.people.authenticate("eve", PASSWORD) is None


def test_one_person_with_a_shell_does_not_remove_an_exclusion(desk: Desk) -> None:
    desk("lines", "exclude", "2100")
    assert desk("lines", "unexclude", "1", "--as", "ada").status == 0
    assert add(desk, "d2", "dpo").status == 1
    assert desk("lines", "confirm", "1", "--as", "d2", SIPGATE_PASSWORD=NEW_PASSWORD).status == 1
    assert len(desk("lines", "list", "--json").document["list"]) == 1


def fits(desk: Desk, login: str, password: str) -> bool:
    with desk.stores() as site:
        return site.register.people.authenticate(login, password) is not None


def test_people_set_their_own_password_by_the_one_they_had(desk: Desk) -> None:
    assert desk("people", "password", "tess", SIPGATE_PASSWORD="a wrong password").status == 1
    assert desk("people", "password", "tess", SIPGATE_NEW_PASSWORD="short").status == 2
    assert fits(desk, "tess", PASSWORD)
    assert desk.journal() == []
    assert desk("people", "password", "tess").status == 0
    assert fits(desk, "tess", NEW_PASSWORD)
    tess = desk.pseudonym("tess")
    assert desk.journal() == [("password-set", {"person": tess, "by": tess})]


def test_a_forgotten_password_is_set_by_a_dpo_and_by_nobody_else(desk: Desk) -> None:
    for login in ("alan", "tom", "tess"):
        assert desk("people", "password", "ada", "--as", login).status == 1
    assert fits(desk, "ada", PASSWORD)
    assert desk("people", "password", "ada", "--as", "dora").status == 0
    assert fits(desk, "ada", NEW_PASSWORD)
    assert desk.journal() == [("password-set", {"person": desk.pseudonym("ada"), "by": desk.pseudonym("dora")})]


def test_a_new_password_ends_the_sessions_of_before(desk: Desk) -> None:
    with desk.stores() as site:
        tess = site.register.people.by_login("tess")
        assert tess is not None
        token = site.register.sessions.open(tess.id, site.now_ns())
    desk("people", "password", "tess")
    with desk.stores() as site:
        assert site.register.sessions.person(token, site.now_ns()) is None
