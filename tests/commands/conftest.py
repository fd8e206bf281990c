"""A staffed site, made once and copied; passwords hashed at the least cost, since nobody attacks these."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from sipgate.register import people
from tests.commands.office import Desk, staffed


@pytest.fixture(scope="package", autouse=True)
def _cheap_hashes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "PasswordHasher", lambda: PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield


@pytest.fixture(scope="package")
def template(_cheap_hashes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a staffed site."""
    return staffed(tmp_path_factory.mktemp("staffed")).config.parent


@pytest.fixture
def desk(template: Path, tmp_path: Path) -> Desk:
    """A staffed site of this test alone."""
    shutil.copytree(template, tmp_path / "site")
    return Desk(tmp_path / "site" / "sipgate.toml")
