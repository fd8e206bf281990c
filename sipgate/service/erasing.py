"""Erasing, at once and until it is done: in a thread of its own, behind nothing but other erasures.

A decided erasure must outlive the next crash, so that it may not wait for what other calls write to the disk. What
cannot be erased now (a disk that refuses) stays owed: it is tried again every second, and health says so.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from sipgate.errors import StoreError
from sipgate.vault.vault import Vault

log = structlog.get_logger("sipgate")


class Eraser:
    """Destroys keys and what they open. Callable from any thread."""

    def __init__(self, vault: Vault, stop_receiving: Callable[[str], None]) -> None:
        """``stop_receiving``: closes the recording's live file, before that is removed; called in the thread."""
        self._vault, self._stop_receiving = vault, stop_receiving
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sipgate-erase")
        self._owed: set[str] = set()
        self._said: set[str] = set()

    @property
    def owed(self) -> int:
        """How many decided erasures are not done."""
        return len(self._owed)

    def owes(self, recording: str) -> bool:
        """Whether this recording is being erased."""
        return recording in self._owed

    def erase(self, recording: str) -> None:
        """Destroy the recording's key and all that it opened. Does not block; again, for one erased, does nothing."""
        self._owed.add(recording)
        self._thread.submit(self._erase, recording)

    def again(self) -> None:
        """Try once more what could not be erased. Does not block."""
        for recording in self._said & self._owed:
            self.erase(recording)

    def stop(self) -> None:
        """Wait for what is under way."""
        self._thread.shutdown(wait=True)
        if self._owed:
            log.error("not erased when the service stopped: the disk refused", recordings=len(self._owed))

    def _erase(self, recording: str) -> None:
        try:
            try:
                self._stop_receiving(recording)
            finally:
                self._vault.destroy(recording)
        except (StoreError, OSError) as error:
            if recording not in self._said:
                self._said.add(recording)
                cause = error.__cause__ if isinstance(error, StoreError) else error  # its own words name the recording
                reason = getattr(cause, "strerror", None) or type(error).__name__
                log.error("not yet erased in full; it is tried again every second", reason=reason)
            return
        self._owed.discard(recording)
        self._said.discard(recording)
