"""What the tests of telephones share."""

from __future__ import annotations

import pytest

from tests.peers.speech import Dialogue, dialogue


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Dialogue:
    """Three seconds of dialogue."""
    return dialogue(tmp_path_factory.mktemp("speech"), 3.0)
