"""What is built and what its parts need: the wheel's contents, and the base install as a workstation gets it."""

from __future__ import annotations

import asyncio
import email
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from tests.peers.film_server import WORKSTATION, film_server
from tests.peers.xserver import business_window, x_server

TOP = Path(__file__).resolve().parents[1]
PACKAGES = ("sipgate", "capture_client")
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def _name(requirement: str) -> str:
    """``argon2-cffi>=23.1`` is ``argon2-cffi``."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[._-]+", "-", found[0]).lower()


def _listed(*folders: str) -> set[str]:
    """The files of this checkout that belong to the project."""
    listed = subprocess.run(["git", "ls-files", "--", *folders], check=True, cwd=TOP, capture_output=True, text=True)
    return {name for name in listed.stdout.splitlines() if (TOP / name).is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the whole checkout, with what is installed here and nothing from elsewhere."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in _listed():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, copy / name)
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation"]
    built = subprocess.run([*command, "-w", str(folder), str(copy)], check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_both_packages_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith("sipgate-")}
        about = {name.partition("/")[2] for name in archive.namelist() if name.startswith("sipgate-")}
    assert names == _listed(*PACKAGES)
    assert {
        "sipgate/py.typed",
        "capture_client/py.typed",
        "sipgate/console/templates/base.html",
        "sipgate/console/static/player.js",
        "sipgate/register/migrations/script.py.mako",
        "sipgate/register/migrations/versions/first_0001.py",
    } <= names
    assert {"licenses/LICENSE", "METADATA", "entry_points.txt"} <= about


def test_the_wheel_is_for_the_pythons_that_are_tested_and_offers_the_three_extras(metadata: Message) -> None:
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) == {"server", "phones", "dev"}


def test_the_base_install_asks_for_no_library_of_the_server(metadata: Message) -> None:
    base = {_name(line) for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert base == {_name(line) for line in PROJECT["dependencies"]}
    assert not base & {_name(line) for extra in EXTRAS.values() for line in extra}


def test_without_the_servers_libraries_sipgate_says_which_extra_is_missing(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    # -S: no site-packages, hence nothing but the standard library.
    command = [sys.executable, "-S", "-m", "sipgate", "serve"]
    _says_what_is_missing(subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True))


def _says_what_is_missing(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("sipgate: ")
    assert "pip install 'sipgate[server]'" in line


# --- the base install, from PyPI -------------------------------------------------------------------------------------

_EVERY_MODULE = """
import importlib, json, pkgutil, sys
import capture_client
for module in pkgutil.walk_packages(capture_client.__path__, "capture_client."):
    importlib.import_module(module.name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


class Installed:
    """A virtual environment with the wheel, installed as on a workstation: no extra."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self._bin = folder / "bin"
        self._elsewhere = folder.parent  # not the checkout: `-m` and `-c` would find the packages there
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        installed = self("python", "-m", "pip", "install", "--quiet", str(wheel))
        assert installed.returncode == 0, installed.stderr

    def __call__(self, program: str, *words: str, display: str | None = None) -> subprocess.CompletedProcess[str]:
        """One of its programs, to its end."""
        env = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "PYTHONPATH")}
        return subprocess.run(
            [str(self._bin / program), *words],
            check=False,
            cwd=self._elsewhere,
            env={**env, "DISPLAY": display} if display else env,
            capture_output=True,
            text=True,
            timeout=600,
        )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Installed:
    return Installed(tmp_path_factory.mktemp("workstation") / "venv", wheel)


@pytest.mark.long
@pytest.mark.timeout(700)
def test_the_base_install_has_no_library_of_the_server_and_the_client_imports_none(base: Installed) -> None:
    listed = json.loads(base("python", "-m", "pip", "list", "--format", "json").stdout)
    installed = {_name(one["name"]) for one in listed}
    assert {_name(line) for line in PROJECT["dependencies"] if "sys_platform" not in line} <= installed
    # setuptools comes with the virtual environments of Python 3.11
    assert not installed & {_name(line) for extra in EXTRAS.values() for line in extra} - {"setuptools"}
    imported = base("python", "-W", "error", "-c", _EVERY_MODULE)
    assert imported.returncode == 0, imported.stderr
    assert "sipgate" not in json.loads(imported.stdout)


@pytest.mark.long
@pytest.mark.timeout(700)
def test_in_the_base_install_sipgate_says_which_extra_is_missing(base: Installed) -> None:
    _says_what_is_missing(base("sipgate", "--help"))


@pytest.mark.long
@pytest.mark.peer
@pytest.mark.timeout(700)
async def test_the_base_install_enrols_and_says_what_would_be_filmed(base: Installed, tmp_path: Path) -> None:
    desk = str(tmp_path / "desk")
    shown = base("capture-client", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    bare = base("capture-client", "doctor", "--folder", desk)
    assert (bare.returncode, bare.stderr) == (1, "")
    assert "not enrolled" in bare.stdout
    async with film_server(tmp_path / "server") as server:
        where = ("--server", server.url, "--folder", desk)
        enrolled = await asyncio.to_thread(base, "capture-client", "enrol", *where, "--code", server.code())
    assert (enrolled.returncode, enrolled.stderr) == (0, "")
    assert f"enrolled as {WORKSTATION}" in enrolled.stdout
    with x_server() as display, business_window(display):
        demo = ("--folder", desk, "--application", "class=SipgateDemo")
        healthy = await asyncio.to_thread(base, "capture-client", "doctor", *demo, display=display)
    assert (healthy.returncode, healthy.stderr) == (0, "")
    assert "      would be filmed: " in healthy.stdout


@pytest.mark.long
@pytest.mark.timeout(700)
@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_an_extra_can_be_added_to_the_base_install_in_the_way_the_message_says(base: Installed, extra: str) -> None:
    found = base("python", "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", f"sipgate[{extra}]")
    assert found.returncode == 0, found.stderr
    chosen = {_name(one["metadata"]["name"]) for one in json.loads(found.stdout)["install"]}
    expected = {_name(line) for line in EXTRAS[extra]} - {"setuptools"}
    if sys.version_info >= (3, 13):
        expected -= {"pjsua2-python"}  # its wheel ends at 3.12
    assert expected <= chosen
    assert "sipgate" not in chosen  # the one that is there is completed, not replaced
