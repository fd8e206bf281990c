"""The workstation's own journal: when the client started and stopped, and which check a command failed. Nothing else.

No call ever stands here: what is not kept must leave nothing, and what is kept is in the server's journal.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

MAXIMUM_BYTES = 512 * 1024
_PER_MINUTE = 30


class LocalJournal:
    """Lines ``<UTC time> <text>`` in ``client.log`` (0600); when full, the older half is ``client.log.1``."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "client.log"
        self._minute = ""
        self._lines = 0

    def write(self, text: str) -> None:
        """Add a line. Whoever floods us with bad commands gets at most 30 lines a minute."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        if now[:16] != self._minute:
            self._minute, self._lines = now[:16], 0
        self._lines += 1
        if self._lines > _PER_MINUTE:
            return
        text = "more of this kind in this minute are left out" if self._lines == _PER_MINUTE else text
        if self._path.exists() and self._path.stat().st_size > MAXIMUM_BYTES:
            self._path.replace(self._path.with_suffix(".log.1"))
        with open(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8") as file:
            file.write(f"{now} {text}\n")
