"""Short ways to a recorded call, for tests. The client itself is the product's: sipgate.phones.recording_client."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

from sipgate.phones.recording_client import RecordedCall
from tests.peers.speech import Dialogue

needs_pjsua2 = pytest.mark.skipif(find_spec("pjsua2") is None, reason="the pjsua2 wheel ends at Python 3.12")

CALLER = "sip:+33612345678@pbx.example"
CALLEE = "sip:2101@pbx.example"


def recorded_call(target: str, spoken: Dialogue, **changes: Any) -> RecordedCall:
    """A call from an outside line to an extension, as long as what is said in it; ``changes`` are RecordedCall's."""
    fields: dict[str, Any] = {
        "target": target,
        "caller": CALLER,
        "callee": CALLEE,
        "caller_wav": spoken.caller,
        "callee_wav": spoken.callee,
        "seconds": spoken.seconds,
    }
    return RecordedCall(**(fields | changes))
