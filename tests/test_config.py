"""sipgate.toml: validated once; unknown keys refused; every error names the key and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipgate.config import load
from sipgate.core.identities import host_of
from sipgate.errors import ConfigurationError

CONNECTION = """
[[siprec.connection]]
name = "sbc-1"
addresses = ["192.0.2.20/32"]
begins = "answer"
announcement = "before-answer"
"""


def _load(tmp_path: Path, text: str) -> ConfigurationError:
    file = tmp_path / "sipgate.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    return caught.value


def test_an_empty_file_is_a_fresh_install_that_nobody_may_call(tmp_path: Path) -> None:
    file = tmp_path / "sipgate.toml"
    file.write_text("")
    found = load(file)
    assert found.siprec.connection == ()
    assert all(listen.address.is_loopback for listen in found.siprec.listen)
    assert found.console.address.is_loopback
    assert found.mqtt.address.is_loopback


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "sipgate.toml"
    file.write_text('[store]\ndata = "d"\nkeys = "/srv/k"\n[lines]\nexclusions_file = "x.txt"\n')
    found = load(file)
    assert found.store.data == tmp_path / "d"
    assert found.store.keys == Path("/srv/k")
    assert found.lines.exclusions_file == tmp_path / "x.txt"


def test_hosts_are_written_as_people_do_and_read_as_sip_shows_them(tmp_path: Path) -> None:
    file = tmp_path / "sipgate.toml"
    written = ["PBX.example.", "192.0.2.10", "2001:DB8:0::1", "[2001:db8::2]"]
    file.write_text(f"[site]\ndomains = {written}\n")
    found = load(file).site.domains
    assert found == ("pbx.example", "192.0.2.10", "[2001:db8::1]", "[2001:db8::2]")
    assert found == tuple(map(host_of, found)), "as core reads the host of an address"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[sit]\nname = 'x'", "sit: unknown key"),
        ("[site]\nnome = 'x'", "site.nome: unknown key"),
        (CONNECTION + "colour = 'red'", "siprec.connection.0.colour: unknown key"),
        (CONNECTION.replace('begins = "answer"', ""), "siprec.connection.0.begins"),
        (CONNECTION.replace('announcement = "before-answer"', ""), "siprec.connection.0.announcement"),
        (CONNECTION.replace("192.0.2.20/32", "everywhere"), "siprec.connection.0.addresses.0"),
        (CONNECTION + 'telephone_key = "call me"', "siprec.connection.0.telephone_key"),
        (CONNECTION + CONNECTION, "siprec: two connections have the same name"),
        ("[media]\nfirst_port = 30000\nlast_port = 30001", "media: last_port leaves no room"),
        ("[console]\nport = 70000", "console.port"),
        ("[site]\ncountry = 'France'", "site.country"),
        ("[site]\ncountry = 'XX'", "site.country: XX is no country"),
        ("[console]\nnames = []", "console.names"),
        ("[media]\nsilence_seconds = inf", "media.silence_seconds"),
        ("[media]\nsilence_seconds = nan", "media.silence_seconds"),
        ("[media]\naddress = 'here'", "media.address: "),
        ("[[siprec.listen]]\naddress = 'here'", "siprec.listen.0.address: "),
        (CONNECTION.replace("192.0.2.20/32", "everywhere"), "siprec.connection.0.addresses.0: "),
        ("[site]\ndomains = ['pbx.example', 'sip:pbx.example']", "site.domains: write a host alone"),
        ("[site]\ndomains = ['pbx.example:5060']", "site.domains: write a host alone"),
        ("[site]\ndomains = ['']", "site.domains: write a host alone"),
        ("[site]\ndomains = 'pbx.example'", "site.domains"),
    ],
)
def test_an_error_names_its_key(tmp_path: Path, text: str, names: str) -> None:
    assert names in str(_load(tmp_path, text))


@pytest.mark.parametrize("value", ["0.1", "1", "3", "3.9", "0", "-1", "31"])
def test_a_slide_show_is_refused(tmp_path: Path, value: str) -> None:
    error = str(_load(tmp_path, f"[film]\nframes_per_second = {value}"))
    assert "film.frames_per_second" in error
    assert "R1" in error


@pytest.mark.parametrize("days", [184, 365, 5 * 365, 10**9])
def test_keeping_longer_than_six_months_is_refused(tmp_path: Path, days: int) -> None:
    error = str(_load(tmp_path, f"[retention]\nrecordings_days = {days}"))
    assert "retention.recordings_days" in error
    assert "R14" in error


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    error = str(_load(tmp_path, "[film]\nframes_per_second = 1\n[retention]\nrecordings_days = 999\n[sit]\nx = 1"))
    assert len(error.splitlines()) == 3


@pytest.mark.parametrize("content", [b"[site\n", b"\xff\xfe", b"a = 1\na = 2"])
def test_what_is_not_toml_is_said_with_the_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "sipgate.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=str(file)):
        load(file)


def test_a_key_stands_once_and_as_it_is_written_in_the_file(tmp_path: Path) -> None:
    (line,) = str(_load(tmp_path, CONNECTION.replace("192.0.2.20/32", "everywhere"))).splitlines()
    assert line.startswith(f"{tmp_path / 'sipgate.toml'}: siprec.connection.0.addresses.0: ")
    assert "[" not in line.removeprefix(str(tmp_path))


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--config"):
        load(tmp_path / "none.toml")


def test_errors_end_with_status_2() -> None:
    assert ConfigurationError.exit_status == 2
