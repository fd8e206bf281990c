"""``sipgate lines why`` and ``sipgate check-config``: what they say of a line is what core would decide."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sipgate.__main__ import app
from sipgate.config import load
from sipgate.register.rows import Role
from sipgate.service.stores import open_stores

CONFIGURATION = """
[[siprec.connection]]
name = "sbc"
addresses = ["192.0.2.20/32"]
begins = "answer"
announcement = "before-answer"
telephone_key = "*9"
"""
DOMAINS = '[site]\ndomains = ["pbx.example"]\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A site on which the sound of 2000-2999 may be recorded, and 2001 is somebody's."""
    path = tmp_path / "sipgate.toml"
    path.write_text(DOMAINS + CONFIGURATION)
    site = open_stores(load(path))
    now, register = site.now_ns(), site.register
    trainee, trainer, dpo = (
        register.people.add(login, login.title(), "correct horse battery", {role}).id
        for login, role in (("tess", Role.TRAINEE), ("tom", Role.TRAINER), ("dora", Role.DPO))
    )
    register.lines.assign(trainee, ["2001"], now)
    today = date.fromtimestamp(now / 1e9)  # noqa: DTZ012  # an enrolment's days are the server's local ones
    register.enrolments.add_sound(
        lines=["2000-2999"],
        need="greeting",
        starts_on=today,
        ends_on=today + timedelta(days=3),
        reviewer=trainer,
        capacity=5,
        at_ns=now,
    )
    register.notices.acknowledge(trainee, register.notices.publish("notice", now), now)
    register.gate.open(today, "1", dpo, now)
    register.close()
    return path


def why(config: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["lines", "why", *words, "--config", str(config), "--json"])
    document = json.loads(done.stdout)
    assert document["recorded"] is (done.exit_code == 0)
    return done.exit_code, document["connections"]["sbc"]


@pytest.mark.parametrize("line", ["2001", "sip:2001@pbx.example", "tel:2001"])
def test_a_line_of_the_sites_own_hosts_would_be_recorded(config: Path, line: str) -> None:
    assert why(config, line) == (0, "recorded: sound")


def test_the_same_extension_of_another_company_would_not_and_the_reason_names_the_host(config: Path) -> None:
    status, reason = why(config, "sip:2001@other-company.example")
    assert status == 1
    assert reason.startswith("not recorded: no enrolment in force")
    assert "site.domains" in reason


def test_where_nobody_has_said_which_hosts_are_the_sites_every_host_counts(config: Path) -> None:
    config.write_text(CONFIGURATION)
    assert why(config, "sip:2001@other-company.example") == (0, "recorded: sound")


def test_check_config_warns_that_every_hosts_extensions_count(config: Path) -> None:
    def warned() -> bool:
        done = CliRunner().invoke(app, ["check-config", "--config", str(config)])
        assert done.exit_code == 0
        return "site.domains" in done.stderr

    assert not warned()
    config.write_text(CONFIGURATION)
    assert warned()
