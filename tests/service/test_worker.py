"""The worker process: what dies is replaced, what the service is told is not its business."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

import pytest

from sipgate.service.worker import Worker

SECONDS = 60


@pytest.fixture
def worker() -> Iterator[Worker]:
    found = Worker()
    yield found
    found.shutdown()


def test_after_it_was_killed_the_next_job_has_a_new_one(worker: Worker) -> None:
    first = worker.submit(os.getpid).result(SECONDS)
    job = worker.submit(os.kill, first, signal.SIGKILL)
    with pytest.raises(BrokenProcessPool):
        job.result(SECONDS)
    assert worker.submit(os.getpid).result(SECONDS) not in (first, os.getpid())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_tells_the_whole_group_to_stop_leaves_its_job_alone(worker: Worker, number: signal.Signals) -> None:
    first = worker.submit(os.getpid).result(SECONDS)
    assert worker.submit(os.kill, first, number).result(SECONDS) is None
    assert worker.submit(os.getpid).result(SECONDS) == first
