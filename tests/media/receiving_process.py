"""A process that receives one call until it is killed: ``python -m tests.media.receiving_process FOLDER PORT PORT``.

The two ports are the senders'. Prints the ports it listens on, as JSON, once the call has begun.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from sipgate.config import Media
from sipgate.core.events import Side, StreamOffer
from sipgate.media.receiver import Receiver

RECORDING = "ab" * 16
KEY = bytes(range(32))


def main(folder: str, *senders: str) -> None:
    """Receive until killed."""
    receiver = Receiver(Media(first_port=23_900, last_port=23_949), time.time_ns, print)
    receiver.start()
    offers = [
        StreamOffer(side.name, side, "127.0.0.1", int(port), ((0, "PCMU"),))
        for side, port in zip(Side, senders, strict=True)
    ]
    ports = receiver.open(RECORDING, offers, KEY, Path(folder))
    answered = time.time_ns()
    receiver.begin(RECORDING, answered)
    print(json.dumps({"ports": ports, "answered_at_ns": answered}), flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
