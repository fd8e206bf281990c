"""Whether this process may open as many files as the configuration promises calls.

A call of two streams takes its live file and two sockets a stream: four ports, or two where RTCP shares the RTP's. The
limit is raised as far as the system lets us when the receiver starts; what is beyond it is said then, and not found out
by the first call that cannot be recorded.
"""

from __future__ import annotations

import resource
from typing import Final

from sipgate.config import Configuration

FILES_A_CALL: Final = 5
PORTS_A_CALL: Final = 4
FILES_BESIDE: Final = 300
"""Signalling over TCP and TLS, console, register, workers."""


def raise_file_limit() -> int:
    """Allow as many open files as the system lets this process; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def lacking(config: Configuration, files: int) -> str | None:
    """What to say when so many ``files`` do not suffice for the calls that capacity and ports allow."""
    ports = config.media.last_port - config.media.first_port + 1
    calls = min(config.siprec.capacity, ports // PORTS_A_CALL)
    needed = calls * FILES_A_CALL + FILES_BESIDE
    if files == resource.RLIM_INFINITY or files >= needed:
        return None
    enough = max(0, files - FILES_BESIDE) // FILES_A_CALL
    return (
        f"{files} open files are allowed, enough for {enough} calls: raise the limit (LimitNOFILE) to {needed}, or "
        "lower siprec.capacity"
    )
