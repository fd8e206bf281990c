"""In a worker process: it ends with the service. A killed service would otherwise leave it waiting for ever."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_the_service() -> None:
    """Watch the parent process; to be called once, as the pool's initializer."""
    threading.Thread(target=_watch, name="parent-watch", daemon=True).start()


def _watch() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
