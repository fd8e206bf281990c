"""How many random examples the tests draw: a bounded number, and no deadline on one, as machines are shared.

``pytest --hypothesis-profile long`` draws more.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("check", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", settings.get_profile("check"), max_examples=3000, stateful_step_count=80)
settings.load_profile("check")
