"""The site that these tests stand on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.site import Site, furnish


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's folder with people and enrolments."""
    folder = tmp_path_factory.mktemp("furnished") / "site"
    folder.mkdir()
    furnish(folder)
    return folder


@pytest.fixture
def site(furnished: Path, tmp_path: Path) -> Iterator[Site]:
    """A fresh one."""
    site = Site(shutil.copytree(furnished, tmp_path / "site"))
    yield site
    site.register.close()
