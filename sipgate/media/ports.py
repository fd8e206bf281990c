"""UDP ports for RTP: even ones of a range (the odd neighbour stays free for RTCP), taken in turn.

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


class PortPool:
    """Binds sockets in ``[media] first_port`` to ``last_port`` on ``[media] address``."""

    def __init__(self, media: Media) -> None:
        self._address: IPAddress = media.address
        self.family = socket.AF_INET if media.address.version == 4 else socket.AF_INET6
        first = max(2, media.first_port + media.first_port % 2)
        self._ports = range(first, media.last_port, 2)  # the odd port above must be in the range too
        self._turn = 0

    def bind(self) -> socket.socket:
        """A bound socket with kernel timestamps; raises MediaError naming the keys when none is free."""
        for _ in self._ports:
            port = self._ports[self._turn % len(self._ports)]
            self._turn += 1
            sock = socket.socket(self.family, socket.SOCK_DGRAM)
            try:
                sock.bind((str(self._address), port))
                recvmmsg.prepare(sock, BUFFER_BYTES)
            except OSError as error:
                sock.close()
                if error.errno != errno.EADDRINUSE:
                    raise MediaError(f"media.address: no socket can be bound there: {error.strerror}") from error
            else:
                return sock
        raise MediaError("media.first_port to media.last_port: every even port is in use; widen the range")
