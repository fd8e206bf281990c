"""Whence a stream is heard: exactly from where its description says, or, behind a NAT, from whoever sends first.

Usually a datagram counts only when it comes from the address and port of the session description. The description came
by signalling from a peer that is allow-listed (and, over TLS, has shown a certificate), so this is the one thing that
is known of the sender of plain RTP. Whoever else reaches our ports could otherwise put words into a recording, or, by
sending a single packet first, have the real sender refused: "symmetric RTP" as most equipment does it believes the
first who comes, from anywhere.

For a connection with ``behind_nat`` the description names an address that nobody sees out here. Its streams take, once,
the source of their first packet of sound out of the connection's own ``addresses``, and from then on that source alone;
a packet from where the description says counts as first too, and one of SRTP only when its key proves it. That trusts
every host in ``addresses`` to send RTP as it trusts them to call, and no more; until the description changes, what was
chosen stays. Such a connection gets no receiver reports: the address that its descriptions name is not its own.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from sipgate.media.recvmmsg import network_words

Words = npt.NDArray[np.uint64]


class Latches:
    """Streams that have yet to choose their source, by row of the drain's tables."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[tuple[Words, Words]]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def wait(self, stream: int, networks: Iterable[str], family: socket.AddressFamily) -> None:
        """The stream will choose a source out of these networks; those of another family are none of its."""
        words = [found for network in networks if (found := network_words(network, family)) is not None]
        self.forget(stream)
        if words:
            self._waiting[stream] = [(np.array(e, dtype=np.uint64), np.array(m, dtype=np.uint64)) for e, m in words]

    def forget(self, stream: int) -> None:
        """It has chosen, or is no more."""
        self._waiting.pop(stream, None)

    def among(self, streams: npt.NDArray[np.int64]) -> list[int]:
        """Which of these have yet to choose."""
        return sorted(self._waiting.keys() & {int(stream) for stream in np.unique(streams)})

    def first(self, stream: int, names: Words, exact: npt.NDArray[np.bool_]) -> int | None:
        """The first of these datagrams (``names``: (n, 4)) that counts, or None."""
        inside = exact.copy()
        for expected, mask in self._waiting[stream]:
            inside |= ((names & mask) == expected).all(axis=1)
        return int(np.argmax(inside)) if inside.any() else None
