"""A workstation is enrolled by a code that works once, for a day, and is stored nowhere."""

from __future__ import annotations

import re

import pytest

from sipgate.errors import RegisterError, WorkstationError
from sipgate.register.rows import Workstation
from sipgate.register.workstations import CODE_LIFETIME_NS
from tests.register.site import NOW, Site

KEY = bytes(range(32))


def test_a_code_enrols_once(site: Site) -> None:
    secret = site.register.workstations.add("desk-1", NOW)
    assert re.fullmatch("[a-z2-7]{20}", secret)
    assert site.register.workstations.redeem(secret.upper(), NOW) == "desk-1"
    with pytest.raises(WorkstationError, match="wrong, used or expired"):
        site.register.workstations.redeem(secret, NOW)


def test_a_code_lasts_a_day(site: Site) -> None:
    secret = site.register.workstations.add("desk-1", NOW)
    with pytest.raises(WorkstationError):
        site.register.workstations.redeem(secret, NOW + CODE_LIFETIME_NS)
    assert site.register.workstations.redeem(secret, NOW + CODE_LIFETIME_NS - 1) == "desk-1"


def test_a_new_code_voids_the_one_before(site: Site) -> None:
    old = site.register.workstations.add("desk-1", NOW)
    new = site.register.workstations.add("desk-1", NOW)
    for wrong in (old, "", "a" * 20):
        with pytest.raises(WorkstationError):
            site.register.workstations.redeem(wrong, NOW)
    assert site.register.workstations.redeem(new, NOW) == "desk-1"


def test_the_code_is_in_no_file(site: Site) -> None:
    secret = site.register.workstations.add("desk-1", NOW)
    site.register.close()
    assert secret.encode() not in b"".join(path.read_bytes() for path in site.path.parent.iterdir())


def test_a_workstation_has_a_key_from_its_enrolment_to_its_revocation(site: Site) -> None:
    workstations = site.register.workstations
    workstations.add("desk-1", NOW)
    assert workstations.key("desk-1") is None
    workstations.set_certificate("desk-1", KEY, "-----BEGIN CERTIFICATE-----")
    assert workstations.key("desk-1") == KEY
    pending = workstations.add("desk-1", NOW)
    assert workstations.key("desk-1") == KEY, "until the new code is redeemed"
    workstations.add("desk-2", NOW)
    assert workstations.all() == (Workstation("desk-1", NOW, True), Workstation("desk-2", NOW, False))
    workstations.revoke("desk-1")
    assert workstations.key("desk-1") is None
    with pytest.raises(WorkstationError):
        workstations.redeem(pending, NOW)


def test_an_unknown_workstation_has_no_key_and_gets_none(site: Site) -> None:
    assert site.register.workstations.key("desk-9") is None
    with pytest.raises(RegisterError, match="not in the register"):
        site.register.workstations.set_certificate("desk-9", KEY, "")
    with pytest.raises(RegisterError, match="not in the register"):
        site.register.workstations.revoke("desk-9")


@pytest.mark.parametrize("name", ["", "-desk", "desk/1", "desk+", "#", "a" * 64, "desk 1", "d\n"])
def test_a_name_must_fit_a_topic_and_a_certificate(site: Site, name: str) -> None:
    with pytest.raises(RegisterError, match="name has 1 to 63"):
        site.register.workstations.add(name, NOW)


def test_a_key_of_another_kind_is_refused(site: Site) -> None:
    site.register.workstations.add("desk-1", NOW)
    with pytest.raises(RegisterError, match="32 bytes"):
        site.register.workstations.set_certificate("desk-1", b"short", "")
