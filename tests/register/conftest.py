"""The site that the register's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.register.site import Site


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "register.db"
    Site.make(path)
    return path


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Iterator[Site]:
    site = Site.copy(made, tmp_path / "register.db")
    yield site
    site.register.close()
