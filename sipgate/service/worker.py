"""The worker process that makes WebMs. It ends with the service, and another takes its place when it dies.

A killed service would otherwise leave it waiting for ever; a killed worker (out of memory) would otherwise leave the
service with a pool that is broken for good.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from sipgate.service.hardening import harden


class Worker(Executor):
    """One process; a job that it died of fails with BrokenProcessPool, the next job has a new one."""

    def __init__(self) -> None:
        self._pool = _new_pool()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As ``Executor.submit``."""
        try:
            return self._pool.submit(fn, *args, **kwargs)
        except BrokenProcessPool:
            self._pool.shutdown(wait=False)
            self._pool = _new_pool()
            return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As ``Executor.shutdown``."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


def _new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=end_with_the_service)


def end_with_the_service() -> None:
    """Harden, and watch the parent process: to be called once, as the pool's initializer.

    Ctrl-C and systemd tell the whole group to stop: the service does, and waits for the WebM that is being made.
    """
    harden()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_watch, name="parent-watch", daemon=True).start()


def _watch() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
