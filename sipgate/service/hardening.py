"""Keys and voices are in this process's memory: nothing of it may reach a disk, or another process of the same user."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

from sipgate.errors import StoreError

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def harden() -> None:
    """No core dumps, and, on Linux, no ptrace and no ``/proc/PID/mem`` but for root. Raises StoreError.

    The limit is inherited by every process that this one starts; not being dumpable is not (execve(2) resets it), so
    that each process calls this itself.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise StoreError(f"this process cannot be kept from being dumped: {os.strerror(ctypes.get_errno())}")
