"""Messages in a byte stream: cut by Content-Length (RFC 3261 §18.3), keep-alives answered (RFC 5626 §4.4.1)."""

from __future__ import annotations

from sipgate.errors import SipError
from sipgate.sip.message import MAX_BODY, MAX_HEADER, beginning, content_length, split

PONG = b"\r\n"
_PING = b"\r\n\r\n"


class Framer:
    """One connection's bytes. Once ``broken`` is set the stream has lost its frame and must be closed.

    ``broken`` holds the header that could not be framed (as a message without a body, so that it can be answered
    where it names its sender) and the error to answer.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0
        self.pings = 0
        self.broken: tuple[bytes, SipError] | None = None

    @property
    def partial(self) -> bool:
        """Whether part of a message has come and waits for the rest."""
        return bool(self._buffer) and not self._buffer[: len(_PING)].isspace()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes in; give out every whole message. Counts double CRLFs in ``pings`` for the shell to answer."""
        found: list[bytes] = []
        if self.broken is not None:
            return found
        self._buffer += data
        while self.broken is None and len(self._buffer) >= self._needed and (message := self._next()) is not None:
            found.append(message)
        return found

    def _next(self) -> bytes | None:
        self._skip_keep_alives()
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEADER + 4)
        if end < 0:
            self._needed = 0
            if len(self._buffer) > MAX_HEADER:
                head = beginning(bytes(self._buffer[:MAX_HEADER]))
                self._break(head, SipError("the header is too long", 413, "Request Entity Too Large: Header"))
            return None
        head = bytes(self._buffer[: end + 4])
        try:
            length = content_length(split(head).fields)
            if length is None:
                raise SipError("a stream needs Content-Length", reason="Missing Content-Length Header Field")
            if length > MAX_BODY:
                raise SipError("the body is too long", 413, "Request Entity Too Large: Content-Length")
        except SipError as error:
            self._break(head, error)
            return None
        self._needed = len(head) + length
        if len(self._buffer) < self._needed:
            return None
        message = bytes(self._buffer[: self._needed])
        del self._buffer[: self._needed]
        self._needed = 0
        return message

    def _skip_keep_alives(self) -> None:
        blank = len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))
        if blank:
            self.pings += self._buffer[:blank].count(_PING)
            # What may be the first part of a ping stays until the rest of it or a message comes.
            keep = blank % len(_PING) if blank == len(self._buffer) else 0
            del self._buffer[: blank - keep]

    def _break(self, head: bytes, error: SipError) -> None:
        self.broken = (head, error)
        self._buffer.clear()
