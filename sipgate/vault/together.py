"""One run of a piece of work serves all who asked for it before it began.

For what takes long and need not be done once for each: an fsync of a folder makes every name in it durable. Who asks
while a run is under way is not served by it, as it may have begun too early, but by the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class _Run:
    def __init__(self) -> None:
        self.over = threading.Event()
        self.error: BaseException | None = None


class Together:
    """``run`` may be called by any number of threads."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._running = threading.Lock()
        self._joining = threading.Lock()
        self._next: _Run | None = None

    def run(self) -> None:
        """Return when a run is over that began after this call; raises what that run raised."""
        with self._joining:
            run, first = (_Run(), True) if self._next is None else (self._next, False)
            self._next = run
        if first:
            self._lead(run)
        run.over.wait()
        if run.error is not None:
            raise run.error

    def _lead(self, run: _Run) -> None:
        with self._running:
            with self._joining:
                self._next = None  # whoever asks from now on asks too late for this run
            try:
                self._work()
            except BaseException as error:
                run.error = error
                raise
            finally:
                run.over.set()
