"""What was given can be taken back: a line, a workstation's trust, a request to remove an exclusion."""

from __future__ import annotations

import pytest

from tests.commands.office import Desk

LINE = ("2001", "+33 1 99 00 20 01")


@pytest.fixture
def office(desk: Desk) -> Desk:
    """Tess holds a line, a desk is enrolled."""
    assert desk("lines", "assign", "tess", *LINE).status == 0
    with desk.stores() as site:
        site.register.workstations.add("desk-1", site.now_ns())
        site.register.workstations.set_certificate("desk-1", b"k" * 32, "PEM")
    return desk


def test_a_line_is_listed_with_its_holder_until_it_is_released(office: Desk) -> None:
    (row,) = office("lines", "holders", "--json").document["lines"]
    assert row == {"line": 1, "login": "tess", "identities": ["2001", "+33199002001"]}
    assert "tess" in office("lines", "holders").text
    assert office("lines", "release", "1").status == 0
    assert office("lines", "holders", "--json").document == {"lines": []}
    assert office("lines", "release", "1").status == 1
    assert office("lines", "release", str(2**60)).status == 2
    assert office("lines", "assign", "tess", *LINE).status == 0, "it can be somebody's again"


def test_a_workstation_is_listed_and_is_trusted_until_it_is_revoked(office: Desk) -> None:
    def enrolled() -> list[bool]:
        return [row["enrolled"] for row in office("workstations", "list", "--json").document["workstations"]]

    assert enrolled() == [True]
    assert "desk-1" in office("workstations", "list").text
    assert office("workstations", "revoke", "desk-1").status == 0
    assert enrolled() == [False]
    with office.stores() as site:
        assert site.register.workstations.key("desk-1") is None
    assert office("workstations", "revoke", "desk-2").status == 1


def test_a_request_to_remove_an_exclusion_can_be_voided(office: Desk) -> None:
    office("lines", "exclude", "2100")
    office("lines", "unexclude", "1", "--as", "ada")
    assert office("lines", "keep", "1").status == 0
    assert office("lines", "confirm", "1", "--as", "dora").status == 1
    assert len(office("lines", "list", "--json").document["list"]) == 1
    assert office("lines", "keep", "2").status == 1
