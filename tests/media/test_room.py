"""Open files: raised as far as they go, and what is lacking for the declared capacity said with its remedy."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from sipgate.config import Configuration
from sipgate.media.room import lacking

ASK = "from sipgate.media import room; import resource; print(room.raise_file_limit(), *resource.getrlimit(7))"


def test_the_limit_is_raised_as_far_as_the_system_lets_us() -> None:
    command = ["sh", "-c", f'ulimit -Sn 256 && ulimit -Hn 900 && exec {sys.executable} -c "{ASK}"']
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["900"] * 3


@pytest.mark.parametrize(
    ("capacity", "ports", "files", "says"),
    [
        (1000, 10_000, 5300, None),
        (1000, 10_000, 5299, "enough for 999 calls: raise the limit (LimitNOFILE) to 5300"),
        (5000, 2000, 2800, None),  # five hundred calls have ports
        (5000, 20_000, resource.RLIM_INFINITY, None),
        (5000, 20_000, 100, "enough for 0 calls"),
    ],
)
def test_too_few_for_the_calls_that_capacity_and_ports_allow_is_said(
    capacity: int, ports: int, files: int, says: str | None
) -> None:
    config = Configuration.model_validate(
        {"siprec": {"capacity": capacity}, "media": {"first_port": 30_000, "last_port": 30_000 + ports - 1}}
    )
    said = lacking(config, files)
    assert said is None if says is None else said is not None and says in said
