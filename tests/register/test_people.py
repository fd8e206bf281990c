"""Personal accounts: who may hold which roles, how they sign in, what stands for them in the journal."""

from __future__ import annotations

import statistics
import time
from contextlib import closing

import pytest

from sipgate.errors import ErasedError, RegisterError, RuleError
from sipgate.register.rows import Person, Role
from sipgate.register.sign_ins import ABSOLUTE_NS, IDLE_NS
from tests.register.site import HOUR, NOW, PASSWORD, SECRET, Site, open_register


def test_a_person_signs_in_by_login_and_password_whatever_the_logins_case(site: Site) -> None:
    person = site.register.people.authenticate(" Anna ", PASSWORD)
    assert person == site.register.people.get(site.trainee) == site.register.people.by_login("ANNA")
    assert person is not None
    assert (person.login, person.roles) == ("anna", frozenset({Role.TRAINEE}))


@pytest.mark.parametrize(
    ("login", "password"), [("anna", "wrong password"), ("nobody", PASSWORD), ("anna", "x" * 5000)]
)
def test_nobody_signs_in_otherwise(site: Site, login: str, password: str) -> None:
    assert site.register.people.authenticate(login, password) is None


def test_an_unknown_login_costs_as_much_work_as_a_wrong_password(site: Site) -> None:
    def seconds(login: str) -> float:
        site.register.people.authenticate(login, "wrong password")  # the first makes the hash that nobody has
        took = []
        for _ in range(3):
            begun = time.process_time()
            site.register.people.authenticate(login, "wrong password")
            took.append(time.process_time() - begun)
        return statistics.median(took)

    assert seconds("nobody") > 0.4 * seconds("anna")


def test_a_new_password_replaces_the_old_one_and_signs_out(site: Site) -> None:
    token = site.register.sessions.open(site.trainee, NOW)
    site.register.people.change_password(site.trainee, "another long password")
    assert site.register.people.authenticate("anna", PASSWORD) is None
    assert site.register.people.authenticate("anna", "another long password") is not None
    assert site.register.sessions.person(token, NOW) is None


def test_people_are_listed_in_the_order_of_their_accounts(site: Site) -> None:
    assert [one.login for one in site.register.people.all()] == ["tina", "theo", "anna", "alex", "ada", "adam", "dora"]
    assert site.register.people.by_login("nobody") is None
    with pytest.raises(RegisterError, match="person 99 is not in the register"):
        site.register.people.get(99)


@pytest.mark.parametrize(
    ("login", "name", "password", "why"),
    [
        ("ANNA", "Anna", PASSWORD, "login is taken"),
        ("", "Anna", PASSWORD, "login has 1 to 64"),
        ("a b", "Anna", PASSWORD, "login has 1 to 64"),
        ("new", " ", PASSWORD, "needs a name"),
        ("new", "New", "short", "at least 12 characters"),
    ],
)
def test_an_account_that_cannot_be_is_refused_without_repeating_it(
    site: Site, login: str, name: str, password: str, why: str
) -> None:
    with pytest.raises(RegisterError, match=why) as found:
        site.register.people.add(login, name, password, {Role.TRAINEE})
    assert password not in str(found.value)


def test_a_person_needs_a_role_and_only_one_that_exists(site: Site) -> None:
    with pytest.raises(RegisterError, match="needs a role"):
        site.register.people.add("new", "New", PASSWORD, [])
    with pytest.raises(ValueError, match="appraiser"):
        site.register.people.add("new", "New", PASSWORD, ["appraiser"])  # type: ignore[list-item]


@pytest.mark.parametrize("other", [Role.TRAINER, Role.TRAINEE, Role.DPO])
def test_an_administrator_holds_no_role_that_views(site: Site, other: Role) -> None:
    with pytest.raises(RuleError, match="R7"):
        site.register.people.add("new", "New", PASSWORD, {Role.TELEPHONY_ADMIN, other})


@pytest.mark.parametrize("other", [Role.TRAINER, Role.TRAINEE])
def test_a_dpo_does_not_sign_off_what_they_operate(site: Site, other: Role) -> None:
    with pytest.raises(RuleError, match="R13"):
        site.register.people.add("new", "New", PASSWORD, {Role.DPO, other})


def test_a_trainer_may_be_trained_too(site: Site) -> None:
    both = {Role.TRAINER, Role.TRAINEE}
    assert site.register.people.add("new", "New", PASSWORD, both).roles == both


def test_the_repr_of_a_person_tells_no_name() -> None:
    assert "canary" not in repr(Person(1, "canary", "Canary", frozenset({Role.DPO}))).lower()


# --- pseudonyms ------------------------------------------------------------------------------------------------------


def test_a_pseudonym_stays_the_same_and_tells_nothing(site: Site) -> None:
    first = site.register.people.pseudonym(site.trainee)
    with closing(open_register(site.path)) as reopened:
        assert first == reopened.people.pseudonym(site.trainee)
    assert len(bytes.fromhex(first)) == 8
    assert len({site.register.people.pseudonym(one.id) for one in site.register.people.all()}) == 7


def test_a_destroyed_pseudonym_leads_nowhere_for_good(site: Site) -> None:
    site.register.people.destroy_pseudonym(site.trainee)
    with pytest.raises(ErasedError):
        site.register.people.pseudonym(site.trainee)
    with pytest.raises(RegisterError):
        site.register.people.pseudonym(99)


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_is_known_by_a_token_that_is_stored_nowhere(site: Site) -> None:
    token = site.register.sessions.open(site.trainee, NOW)
    assert site.register.sessions.person(token, NOW) == site.register.people.get(site.trainee)
    assert site.register.sessions.person(token[:-1], NOW) is None
    assert token != site.register.sessions.open(site.trainee, NOW)
    site.register.close()
    stored = b"".join(path.read_bytes() for path in site.path.parent.iterdir())
    assert token.encode() not in stored
    assert SECRET not in stored


def test_an_idle_session_ends_and_a_used_one_goes_on(site: Site) -> None:
    sessions = site.register.sessions
    token = sessions.open(site.trainee, NOW)
    assert sessions.person(token, NOW + IDLE_NS - 1) is not None
    assert sessions.person(token, NOW + 2 * IDLE_NS - 2) is not None
    assert sessions.person(token, NOW + 3 * IDLE_NS) is None


def test_a_session_ends_after_a_working_day_however_busy_it_was(site: Site) -> None:
    sessions = site.register.sessions
    token = sessions.open(site.trainee, NOW)
    for moment in range(NOW, NOW + ABSOLUTE_NS, IDLE_NS // 2):
        assert sessions.person(token, moment) is not None
    assert sessions.person(token, NOW + ABSOLUTE_NS) is None


def test_signing_out_ends_a_session_and_twice_is_no_error(site: Site) -> None:
    token = site.register.sessions.open(site.trainee, NOW)
    site.register.sessions.close(token)
    site.register.sessions.close(token)
    assert site.register.sessions.person(token, NOW) is None


def test_nobody_opens_a_session_for_a_person_who_is_not_there(site: Site) -> None:
    with pytest.raises(RegisterError):
        site.register.sessions.open(99, NOW)


def test_signing_in_does_not_raise_the_revision(site: Site) -> None:
    before = site.register.revision()
    token = site.register.sessions.open(site.trainee, NOW)
    site.register.sessions.person(token, NOW + HOUR // 10)
    assert site.register.revision() == before
