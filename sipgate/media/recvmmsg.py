"""recvmmsg(2) into arrays that are made once: many datagrams a system call, each with its kernel arrival time.

The kernel's socket buffer is the queue (LAB.md §4). A row of the batch is one datagram::

    slots     (ROWS, 4 + SLOT)  4 bytes of padding, then the datagram: RTP's payload begins at an 8-byte boundary
    names     (ROWS, 4) u64     sockaddr_in or sockaddr_in6 as it came
    controls  (ROWS, 8) u64     cmsghdr with SCM_TIMESTAMPNS
    lengths   (ROWS,)   u32     bytes received
    headers   (ROWS,)           the datagrams' first 12 bytes as RTP's fixed header

Only Linux on 64 bits has this layout of ``struct mmsghdr``.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from ipaddress import ip_network
from typing import Final

import numpy as np
import numpy.typing as npt

ROWS: Final = 2048
"""Measured: a packet's share of a pass is a fifth less than with 1024; more rows would hold the lock beyond 5 ms."""
SLOT: Final = 1916
"""Bytes kept of a datagram: more than an Ethernet carries, so any packet time of G.711 up to 230 ms."""
PAD: Final = 4
FULL: Final = ROWS - 64
"""From this many rows on a batch is worth a pass."""

SO_TIMESTAMPNS: Final = 35
SO_MEMINFO: Final = 55
SO_RCVBUFFORCE: Final = 33
_DROPS_WORD: Final = 8  # SK_MEMINFO_DROPS, linux/sock_diag.h
_MSG_DONTWAIT: Final = 0x40
_CONTROL: Final = 64
_NAME: Final = 32
_MESSAGE: Final = np.dtype(
    {  # struct mmsghdr of <bits/socket.h>, 64 bits
        "names": ["name", "name_size", "iov", "iov_count", "control", "control_size", "flags", "length"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "i4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
_HEADER: Final = np.dtype(
    {  # RFC 3550 §5.1, behind the padding
        "names": ["first", "second", "sequence", "stamp", "ssrc"],
        "formats": ["u1", "u1", ">u2", ">u4", ">u4"],
        "offsets": [4, 5, 6, 8, 12],
        "itemsize": PAD + SLOT,
    }
)
_SCM_TIMESTAMPNS_HEAD: Final = struct.unpack("=Q", struct.pack("=ii", socket.SOL_SOCKET, SO_TIMESTAMPNS))[0]

_libc: Final = ctypes.CDLL(None, use_errno=True)
_recvmmsg: Final = _libc.recvmmsg
_recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
_recvmmsg.restype = ctypes.c_int


class Batch:
    """The arrays, and how many of their rows are filled."""

    def __init__(self) -> None:
        self.filled = 0
        self.slots: npt.NDArray[np.uint8] = np.zeros((ROWS, PAD + SLOT), dtype=np.uint8)
        self.headers = self.slots.view(_HEADER)[:, 0]
        self.names: npt.NDArray[np.uint64] = np.zeros((ROWS, _NAME // 8), dtype=np.uint64)
        self._controls: npt.NDArray[np.uint64] = np.zeros((ROWS, _CONTROL // 8), dtype=np.uint64)
        self._vectors = np.zeros((ROWS, 2), dtype=np.uint64)
        self._vectors[:, 0] = self.slots.ctypes.data + PAD + np.arange(ROWS, dtype=np.uint64) * self.slots.strides[0]
        self._vectors[:, 1] = SLOT
        self._messages = np.zeros(ROWS, dtype=_MESSAGE)
        self._messages["name"] = self.names.ctypes.data + np.arange(ROWS, dtype=np.uint64) * _NAME
        self._messages["iov"] = self._vectors.ctypes.data + np.arange(ROWS, dtype=np.uint64) * 16
        self._messages["iov_count"] = 1
        self._messages["control"] = self._controls.ctypes.data + np.arange(ROWS, dtype=np.uint64) * _CONTROL
        self._address = self._messages.ctypes.data
        self.reset()

    def reset(self) -> None:
        """Make every used row ready again: the kernel overwrites the sizes of name and control."""
        rows = self._messages[: self.filled or ROWS]
        rows["name_size"] = _NAME
        rows["control_size"] = _CONTROL
        self.names[: self.filled or ROWS, 2:] = 0
        self.filled = 0

    def receive(self, descriptor: int) -> int:
        """Take what waits on a socket, as far as rows remain; returns how many datagrams. Never blocks.

        A socket's pending error (an ICMP message) counts as nothing received: it is cleared by being read.
        """
        room = ROWS - self.filled
        got: int = _recvmmsg(descriptor, self._address + 64 * self.filled, room, _MSG_DONTWAIT, None)
        if got <= 0:
            return 0
        self.filled += got
        return got

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of each filled row."""
        return self._messages["length"][: self.filled].astype(np.int64)

    def arrivals(self, otherwise_ns: int) -> npt.NDArray[np.int64]:
        """Kernel arrival times of the filled rows, CLOCK_REALTIME ns; ``otherwise_ns`` where a row has none."""
        rows = self._controls[: self.filled].view(np.int64)
        stamped = (self._messages["control_size"][: self.filled] > 0) & (rows[:, 1] == _SCM_TIMESTAMPNS_HEAD)
        return np.where(stamped, rows[:, 2] * 1_000_000_000 + rows[:, 3], otherwise_ns)


def stamping() -> socket.socket:
    """A socket that keeps the kernel stamping every datagram on arrival, for as long as it is open.

    The kernel begins to stamp some time after the first socket asks for it (net_enable_timestamp defers the work), and
    ends with the last: what came before it began is stamped when it is read.
    """
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return sock


def prepare(sock: socket.socket, buffer_bytes: int) -> None:
    """Kernel timestamps and a generous buffer on a UDP socket; more than rmem_max where we may."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)


def dropped(sock: socket.socket) -> int:
    """Datagrams that the kernel dropped on this socket since it was made (SO_MEMINFO; SO_RXQ_OVFL is unreliable)."""
    words = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 9 * 4)
    return int(struct.unpack_from("=I", words, 4 * _DROPS_WORD)[0]) if len(words) >= 4 * (_DROPS_WORD + 1) else 0


def source_words(address: str, port: int, family: socket.AddressFamily) -> tuple[list[int], list[int]]:
    """(expected, mask) as rows of ``Batch.names``: what a datagram from this source looks like, and which bits count.

    Raises ValueError when the address is not of the family.
    """
    try:
        packed = socket.inet_pton(family, address)
    except OSError as error:
        raise ValueError("the address is of another family") from error
    head = struct.pack("=H", family) + struct.pack("!H", port)
    head_mask = b"\xff" * 4
    if family == socket.AF_INET:
        expected, mask = head + packed, head_mask + b"\xff" * 4
    else:  # the flow label is the sender's business
        expected, mask = head + bytes(4) + packed, head_mask + bytes(4) + b"\xff" * 16
    return _words(expected), _words(mask)


def network_words(network: str, family: socket.AddressFamily) -> tuple[list[int], list[int]] | None:
    """As ``source_words``, of any port of any address in a network; None when it is of another family."""
    net = ip_network(network)
    if (net.version == 4) != (family == socket.AF_INET):
        return None
    gap = b"" if net.version == 4 else bytes(4)
    expected = struct.pack("=H", family) + bytes(2) + gap + net.network_address.packed
    return _words(expected), _words(b"\xff\xff" + bytes(2) + gap + net.netmask.packed)


def _words(name: bytes) -> list[int]:
    return list(struct.unpack("=4Q", name.ljust(_NAME, b"\0")))


EVERY_V4: Final = np.array(source_words("0.0.0.0", 0, socket.AF_INET)[1], dtype=np.uint64)
EVERY_V6: Final = np.array(source_words("::", 0, socket.AF_INET6)[1], dtype=np.uint64)
"""Which bits of a name count for one source."""
