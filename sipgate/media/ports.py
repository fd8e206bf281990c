"""UDP ports of a range, taken in turn: one where RTP and RTCP share it, else an even one and its odd neighbour.

Taking them in turn makes the time until a port is used again as long as the range allows, so that what an old call
still sends finds nobody. A socket of the kernel's is made anew for every use: nothing waits in its buffer.
"""

from __future__ import annotations

import errno
import socket

from sipgate.config import IPAddress, Media
from sipgate.errors import MediaError
from sipgate.media import recvmmsg

BUFFER_BYTES = 1 << 20
"""SO_RCVBUF: about 50 s of G.711 on loopback, since the kernel counts 768 bytes a packet."""
_RTCP_BUFFER_BYTES = 16_384  # a report every 5 s


class PortPool:
    """Binds sockets in ``[media] first_port`` to ``last_port`` on ``[media] address``."""

    def __init__(self, media: Media) -> None:
        self._address: IPAddress = media.address
        self.family = socket.AF_INET if media.address.version == 4 else socket.AF_INET6
        self._ports = range(max(1, media.first_port), media.last_port + 1)
        self._turn = 0

    def bind(self, *, multiplexed: bool = False) -> tuple[socket.socket, socket.socket | None]:
        """A bound socket with kernel timestamps for RTP, and, unless RTCP shares its port, one for RTCP above it.

        Raises MediaError naming the keys when no port is free.
        """
        for _ in self._ports:
            port = self._ports[self._turn % len(self._ports)]
            self._turn += 1
            if multiplexed:
                rtp = self._bound(port, BUFFER_BYTES)
                if rtp is not None:
                    return rtp, None
            elif port % 2 == 0 and (pair := self._pair(port)) is not None:
                self._turn += 1
                return pair
        raise MediaError("media.first_port to media.last_port: every port is in use; widen the range")

    def _pair(self, port: int) -> tuple[socket.socket, socket.socket] | None:
        rtp = self._bound(port, BUFFER_BYTES) if port + 1 in self._ports else None
        if rtp is None:
            return None
        try:
            rtcp = self._bound(port + 1, _RTCP_BUFFER_BYTES)
        except MediaError:
            rtp.close()
            raise
        if rtcp is None:
            rtp.close()
            return None
        return rtp, rtcp

    def _bound(self, port: int, buffer_bytes: int) -> socket.socket | None:
        """None when the port is taken."""
        try:
            sock = socket.socket(self.family, socket.SOCK_DGRAM)
        except OSError as error:
            raise MediaError(f"no socket can be made: {error.strerror}") from error
        try:
            sock.bind((str(self._address), port))
            recvmmsg.prepare(sock, buffer_bytes)
        except OSError as error:
            sock.close()
            if error.errno == errno.EADDRINUSE:
                return None
            raise MediaError(f"media.address: no socket can be bound there: {error.strerror}") from error
        return sock
