"""A recording session's INVITE from a bare socket: every byte is the test's own, and so is what it looks at."""

from __future__ import annotations

import re
import secrets
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from tests.peers.rtp import TELEPHONE_EVENT, packet
from tests.peers.sip_messages import MIXED, audio, field_of, metadata, recording_body, request, sdp, status_of

_SECONDS = 5.0
_KEYS = "0123456789*#"


@dataclass(frozen=True)
class Answer:
    """The final response; ``traces`` are what would show that this very call was there."""

    status: int
    raw: bytes
    traces: tuple[str, ...]

    @property
    def shape(self) -> bytes:
        """The response without what every call has of its own: branch, tags, Call-ID, ports."""
        text = re.sub(rb"(branch=|tag=|rport=|Call-ID: )[^;\r]+", rb"\1", self.raw)
        return re.sub(rb"127\.0\.0\.1:\d+", b"", text)


class Session:
    """One INVITE and its final response. Accepted: ACKed; ``hang_up`` sends BYE. ``ports``: where each side's RTP goes.

    ``call``: the sipSessionID of the metadata; ``belongs``: further elements of it. ``description``: of streams that
    come from elsewhere than this socket. ``end``: as CUCM's ``x-nearend`` or ``x-farend`` of the call ``call``, one
    voice and no metadata; ``callee`` is the near end.
    """

    def __init__(
        self,
        port: int,
        caller: str,
        callee: str,
        headers: Sequence[str] = (),
        *,
        call: str | None = None,
        belongs: str = "",
        description: bytes | None = None,
        end: str | None = None,
    ) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(_SECONDS)
        self._sequence = self._heard = 0
        self._to = ("127.0.0.1", port)
        own = self._socket.getsockname()[1]
        self._common: dict[str, Any] = {
            "sent_by": f"127.0.0.1:{own}",
            "call_id": f"call{secrets.token_hex(6)}@pbx.example",
            "from_tag": f"tag{secrets.token_hex(6)}",
        }
        self._cseq = 1
        session = call or f"session{secrets.token_hex(6)}"
        parties = (("p1", _attribute(caller), ["1"]), ("p2", _attribute(callee), ["2"]))
        self._described = description or sdp(audio(own, "1"), audio(own, "2"))
        self._parties, self._call = parties, session
        body = recording_body(self._described, metadata(*parties, session_id=session, extra=belongs))
        self._branch = f"z9hG4bK{secrets.token_hex(6)}"
        extra = ("Require: siprec", *headers)
        if end is None:
            invite = request(branch=self._branch, extra=extra, body=body, content_type=MIXED, **self._common)
        else:
            said = f"{callee};{end};x-refci={session};x-farendrefci=1;x-farendaddr={caller}"
            extra = (*extra, f"From: <{said}>;tag={self._common['from_tag']}")
            own_voice, kind = sdp(audio(own, None)), "application/sdp"
            invite = request(
                branch=self._branch, drop=["From"], extra=extra, body=own_voice, content_type=kind, **self._common
            )
        self._send(invite)
        try:
            raw = self._final()
        except TimeoutError:
            self.close()
            raise
        traces = (self._common["call_id"].partition("@")[0], self._common["from_tag"], session, self._branch)
        self.answer = Answer(status_of(raw), raw, traces)
        self._tag = field_of(raw, "To").partition(";tag=")[2]
        self.ports = tuple(int(port) for port in re.findall(rb"(?m)^m=audio (\d+) ", raw))
        ours = self._branch if self.answer.status >= 300 else f"{self._branch}ack"
        self._send(request("ACK", branch=ours, to_tag=self._tag, **self._common))

    def speak(self, side: int, seconds: float) -> None:
        """Send G.711 silence of so long on one side (0 the caller), all at once."""
        for _ in range(round(seconds * 50)):
            self._rtp(side, packet(b"\xff" * 160, sequence=self._next(), timestamp=160 * self._sequence))

    def sound(self, seconds: float, payload: bytes = b"\xff") -> None:
        """Send this pattern of G.711 on each side, as it would be spoken."""
        began = time.monotonic()
        for index in range(round(seconds * 50)):
            for side in range(len(self.ports)):
                data = packet((payload * 160)[:160], sequence=self._heard, timestamp=160 * self._heard, ssrc=100 + side)
                self._rtp(side, data)
            self._heard += 1
            time.sleep(max(0.0, began + 0.02 * (index + 1) - time.monotonic()))

    def tell(self, belongs: str = "", *others: str) -> int:
        """A re-INVITE with the metadata as it is now, ``others`` having joined; its status."""
        self._cseq += 1
        parties = (*self._parties, *((f"p{n}", _attribute(who), []) for n, who in enumerate(others, 3)))
        body = recording_body(self._described, metadata(*parties, session_id=self._call, extra=belongs))
        own: dict[str, Any] = {**self._common, "to_tag": self._tag, "sequence": self._cseq}
        branch = f"{self._branch}n{self._cseq}"
        self._send(request(branch=branch, body=body, content_type=MIXED, **own))
        while field_of(raw := self._final(), "CSeq") != f"{self._cseq} INVITE":
            pass
        self._send(request("ACK", branch=f"{branch}ack", **own))
        return status_of(raw)

    def press(self, side: int, keys: str) -> None:
        """Telephone keys in one side's stream, each with three first and three last packets (RFC 4733 §2.5)."""
        for key in keys:
            self._sequence += 1
            at = 160 * self._sequence
            for end in (False, True):
                for _ in range(3):
                    event = struct.pack("!BBH", _KEYS.index(key), 0x8A if end else 0x0A, 800)
                    kind = {"payload_type": TELEPHONE_EVENT, "mark": not end}
                    self._rtp(side, packet(event, sequence=self._next(), timestamp=at, **kind))  # type: ignore[arg-type]

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _rtp(self, side: int, data: bytes) -> None:
        self._socket.sendto(data, ("127.0.0.1", self.ports[side]))

    def name(self, caller: str, callee: str, belongs: str = "") -> int:
        """A re-INVITE in which the parties have these names; its status."""
        self._parties = (("p1", _attribute(caller), ["1"]), ("p2", _attribute(callee), ["2"]))
        return self.tell(belongs)

    def hang_up(self) -> None:
        """BYE, and its 200."""
        self._cseq += 1
        bye = request("BYE", branch=f"{self._branch}bye", to_tag=self._tag, sequence=self._cseq, **self._common)
        self._send(bye)
        while field_of(self._final(), "CSeq") != f"{self._cseq} BYE":
            pass  # a repeated 200 to the INVITE
        self.close()

    def close(self) -> None:
        """Vanish."""
        self._socket.close()

    def _send(self, message: bytes) -> None:
        self._socket.sendto(message, self._to)

    def _final(self) -> bytes:
        while True:
            raw = self._socket.recv(65535)
            if raw.startswith(b"SIP/2.0 ") and status_of(raw) >= 200:
                return raw


@contextmanager
def session(port: int, caller: str, callee: str, headers: Sequence[str] = ()) -> Iterator[Session]:
    """A session that is hung up at the end, if it was accepted."""
    opened = Session(port, caller, callee, headers)
    try:
        yield opened
        if opened.answer.status == 200:
            opened.hang_up()
    finally:
        opened.close()


def _attribute(aor: str) -> str:
    return quoteattr(aor)[1:-1]
