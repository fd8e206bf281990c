"""Companies to attack. Setting one up takes seconds: a shared one is left by each test as it was found."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.console.site import Site, furnish
from tests.peers.speech import Dialogue, dialogue
from tests.service.company import Company, recording_company
from tests.service.filmed import FilmedCompany, filmed_company


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """Sound of the lines 2000 to 2999, on sipgate's own broker."""
    with ExitStack() as stack:
        yield recording_company(tmp_path_factory.mktemp("company"), stack)


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Dialogue:
    """Three seconds of dialogue."""
    return dialogue(tmp_path_factory.mktemp("speech"), 3.0)


@pytest.fixture(scope="session")
def long_spoken(tmp_path_factory: pytest.TempPathFactory) -> Dialogue:
    """More dialogue than any test lets pass."""
    return dialogue(tmp_path_factory.mktemp("long-speech"), 30.0)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Where an export goes."""
    return tmp_path / "export.webm"


@pytest.fixture(scope="session")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilmedCompany]:
    """Film of the trainee's calls, over mosquitto with TLS and access rules."""
    with filmed_company(tmp_path_factory.mktemp("filmed")) as found:
        yield found


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a site with people and enrolments."""
    folder = tmp_path_factory.mktemp("furnished") / "site"
    folder.mkdir()
    furnish(folder)
    return folder


@pytest.fixture
def site(furnished: Path, tmp_path: Path) -> Iterator[Site]:
    """A fresh copy of it: real vault, register and journal, no process."""
    found = Site(shutil.copytree(furnished, tmp_path / "site"))
    yield found
    found.register.close()
