"""System V shared memory between the X server and us, by ctypes: images arrive without being copied."""

from __future__ import annotations

import ctypes
import os

from capture_client.errors import DesktopError

_IPC_PRIVATE, _IPC_RMID, _CREATE_MINE = 0, 0, 0o1600  # IPC_CREAT | 0600: nobody else may attach

_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmat.restype = ctypes.c_void_p
_libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_libc.shmdt.argtypes = (ctypes.c_void_p,)
_libc.shmget.argtypes = (ctypes.c_int, ctypes.c_size_t, ctypes.c_int)


class SharedMemory:
    """A segment. Call ``forget_name`` once the X server has attached it: then a crash leaves nothing behind."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.id = _libc.shmget(_IPC_PRIVATE, size, _CREATE_MINE)
        if self.id < 0:
            raise DesktopError(f"no shared memory: {os.strerror(ctypes.get_errno())}")
        self._address: int | None = _libc.shmat(self.id, None, 0)
        if self._address in (None, ctypes.c_void_p(-1).value):
            self._address = None
            self.forget_name()
            raise DesktopError(f"no shared memory: {os.strerror(ctypes.get_errno())}")

    def buffer(self) -> ctypes.Array[ctypes.c_char]:
        """The memory; do not use it after ``close``."""
        if self._address is None:
            raise DesktopError("the shared memory is closed")
        return (ctypes.c_char * self.size).from_address(self._address)

    def forget_name(self) -> None:
        """Mark for removal: it lasts only as long as somebody is attached."""
        _libc.shmctl(self.id, _IPC_RMID, None)

    def close(self) -> None:
        """Detach."""
        if self._address is not None:
            _libc.shmdt(self._address)
            self._address = None
