"""How many random examples the tests draw: a bounded number, and no deadline on one, as machines are shared.

``pytest --hypothesis-profile long`` draws more.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

settings.register_profile("check", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", settings.get_profile("check"), max_examples=3000, stateful_step_count=80)
settings.load_profile("check")


@pytest.fixture(autouse=True)
def _log_as_configured_by_nobody() -> Iterator[None]:
    """A command run in this process (`serve`) configures the log of all of it: not of the next test."""
    yield
    structlog.reset_defaults()
