"""How a workstation comes to belong to a server, against the server's real routes over HTTPS."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from capture_client.enrolment import Enrolment, enrol
from capture_client.errors import EnrolmentError
from sipgate.workstations.pki import Authority
from tests.peers.film_server import WORKSTATION, FilmServer, film_server

pytestmark = pytest.mark.peer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FilmServer]:
    async with film_server(tmp_path / "server") as found:
        yield found


async def test_a_code_makes_this_computer_a_workstation_with_a_key_of_its_own(
    server: FilmServer, tmp_path: Path
) -> None:
    folder = tmp_path / "desk"
    made = await asyncio.to_thread(enrol, server.url + "/", server.code(), folder)
    assert made == Enrolment.load(folder)
    assert (made.workstation, made.mqtt_port, made.server) == (WORKSTATION, server.broker.port, server.url)
    assert made.own_key().public_key().public_bytes_raw() == server.keys[WORKSTATION]
    assert made.command_public_key() == server.authority.command_key.public_key()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}


async def test_a_code_serves_once(server: FilmServer, tmp_path: Path) -> None:
    code = server.code()
    await asyncio.to_thread(enrol, server.url, code, tmp_path / "desk")
    before = (tmp_path / "desk" / "key.pem").read_bytes()
    with pytest.raises(EnrolmentError, match="wrong, used or expired"):
        await asyncio.to_thread(enrol, server.url, code, tmp_path / "desk")
    assert (tmp_path / "desk" / "key.pem").read_bytes() == before


async def test_a_server_that_is_not_the_codes_is_told_nothing(server: FilmServer, tmp_path: Path) -> None:
    code = f"{server.code().rpartition('-')[0]}-{Authority(tmp_path / 'another').fingerprint}"
    with pytest.raises(EnrolmentError, match="somebody may be in between"):
        await asyncio.to_thread(enrol, server.url, code, tmp_path / "desk")
    assert len(server.codes) == 1
    assert not (tmp_path / "desk").exists()


async def test_a_certificate_for_another_name_is_not_accepted(server: FilmServer, tmp_path: Path) -> None:
    url = server.url.replace("localhost", "127.1")  # the same address by a name that is not in the certificate
    with pytest.raises(EnrolmentError, match=r"certificate is not valid for '127\.1'"):
        await asyncio.to_thread(enrol, url, server.code(), tmp_path / "desk")
    assert len(server.codes) == 1


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("http://localhost:1", "s-" + "0" * 32, "write https"),
        ("https://localhost:1", "nonsense", "not a code"),
        ("https://localhost:1", "-" + "0" * 32, "not a code"),
        ("https://localhost:1", "s-" + "0" * 32, "cannot be reached"),
    ],
)
def test_wrong_use_is_named(url: str, code: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(EnrolmentError, match=says):
        enrol(url, code, tmp_path / "desk")


def test_a_folder_that_is_not_enrolled_or_damaged_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EnrolmentError, match="run capture-client enrol"):
        Enrolment.load(tmp_path)
    (tmp_path / "enrolment.json").write_text("{")
    with pytest.raises(EnrolmentError, match="enrol again"):
        Enrolment.load(tmp_path)
