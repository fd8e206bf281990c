"""Sessions of several calls and stories in any order, at length: the model and its sample are in ``tests/core``.

Not there, since that step of the check runs all that is in its folder, for the coverage, and has to be quick.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.core.test_join import AnyOrder


@pytest.mark.long
@pytest.mark.timeout(3600)
class TestAnyOrderAtLength(AnyOrder.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis at run time
    settings = settings.get_profile("long")
