"""``sipgate check-config``: what ``sipgate serve`` would stumble over is told before it is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipgate.workstations.pki import Authority
from tests.commands.office import Desk

TLS = """
[[siprec.listen]]
transport = "tls"
port = 0
certificate = "sip.crt"
key = "sip.key"
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Its certificate and key are right."""
    config = tmp_path / "sipgate.toml"
    config.write_text(TLS)
    certificate, key = Authority(tmp_path / "authority").server_certificate(("pbx.example",))
    (tmp_path / "sip.crt").write_bytes(certificate.read_bytes())
    (tmp_path / "sip.key").write_bytes(key.read_bytes())
    return Desk(config)


def test_certificates_that_load_are_right(desk: Desk) -> None:
    assert desk("check-config").status == 0


@pytest.mark.parametrize("file", ["sip.crt", "sip.key"])
def test_a_certificate_or_key_that_is_missing_or_broken_is_named(desk: Desk, file: str) -> None:
    (desk.config.parent / file).write_text("nothing")
    said = desk("check-config")
    assert (said.status, "siprec.listen.0.certificate" in said.text) == (2, True)
    (desk.config.parent / file).unlink()
    said = desk("check-config")
    assert (said.status, "siprec.listen.0.certificate" in said.text) == (2, True)


def test_a_key_of_another_certificate_is_refused(desk: Desk) -> None:
    folder = desk.config.parent
    _, key = Authority(folder / "other").server_certificate(("pbx.example",))
    (folder / "sip.key").write_bytes(key.read_bytes())
    assert desk("check-config").status == 2


def test_a_client_authority_that_cannot_be_read_is_named(desk: Desk) -> None:
    desk.config.write_text(f'{TLS}client_ca = "nobody.pem"')
    said = desk("check-config")
    assert (said.status, "siprec.listen.0.client_ca" in said.text) == (2, True)


@pytest.mark.parametrize("names", ["[]", "['']", "['a..b']"])
def test_console_names_that_no_certificate_can_hold_are_refused(desk: Desk, names: str) -> None:
    desk.config.write_text(f"[console]\nnames = {names}")
    said = desk("check-config")
    assert (said.status, "console.names" in said.text) == (2, True)
