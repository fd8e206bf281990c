from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.capture_client.films import Desk, desk
from tests.peers.xserver import x_server


@pytest.fixture
def display() -> Iterator[str]:
    """A screen of 1280 x 900 with openbox."""
    with x_server() as found:
        yield found


@pytest.fixture
def at_desk(display: str, tmp_path: Path) -> Iterator[Desk]:
    """A camera and a sign on that screen."""
    with desk(display, tmp_path / "spool") as found:
        yield found
