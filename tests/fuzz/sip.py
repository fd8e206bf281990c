"""The recording server's signalling, whole: transport, framing, grammar, transactions, dialogs, sessions, metadata.

An input is a little play, cut at every byte 1E; the first letter of a piece says what happens, the rest with what:

    U  a datagram from a peer that is let in (the first piece has no letter: it is one, too)
    S  a datagram from a stranger                                      T  bytes on a TCP connection
    L  the connection is lost; its peer is (an odd byte) or is not within reach
    W  time passes: by the first byte 0.1 s to an hour
    D  from now on core decides later, or at once again                A  R  V  it accepts, refuses, is unavailable now
    X  the service is not available, or is again

In messages ``$T`` stands for the last To tag that the server gave out, ``$B`` for a number never used before.

What must hold: nothing is raised; strangers get no answer; every message sent is well-formed, with a status of ours;
every session's events come in their order (one that is turned away for its description is offered without streams, and
ends at once); and when all calls are over and all timers have run out, nothing is left.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from itertools import count
from typing import Any

import structlog

from sipgate import config
from sipgate.core.events import Ended, Event, Offered, PartiesChanged, StreamsChanged
from sipgate.errors import SdpError
from sipgate.sip import sdp, transport
from sipgate.sip.call import Over
from sipgate.sip.message import PHRASES
from sipgate.taps import siprec
from sipgate.taps.siprec import SiprecTap
from tests.fuzz.loop import VirtualLoop, Wire

SETTINGS = config.Siprec.model_validate(
    {
        "listen": [{"port": 5060}, {"port": 5060, "transport": "tcp"}],
        "connection": [
            {"name": "peer", "addresses": ["127.0.0.1/32"], "begins": "answer", "announcement": "before-answer"}
        ],
    }
)
PEER, STRANGER = ("127.0.0.1", 40000), ("192.0.2.66", 40000)
WAITS = (0.1, 0.6, 5.0, 33.0, 3600.0)
MOST_PIECES = 24
MOST_COMPLAINTS = 150
"""In how many ways a peer can be told what it did wrong: texts of ours, none made of what it sent."""

_TAG = re.compile(rb"\r\nTo:[^\r]*;tag=([0-9a-f]{16})\r\n")
_STATUS = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9]) [ -~]+")
_REQUEST = re.compile(rb"(?:BYE|UPDATE) [^\s]+ SIP/2\.0")
_FIELD = re.compile(rb"[A-Za-z-]+: [^\r\n]*")
_numbers = count(1)
complaints: set[str] = set()


def _keep_complaint(_: object, __: str, entry: Any) -> Any:
    complaints.add(str(sorted((k, v) for k, v in entry.items() if k != "times")))
    raise structlog.DropEvent


class Play:
    """One server, its peer, and what core would say."""

    performed = 0

    def __init__(self) -> None:
        Play.performed += 1
        self.messages = 0
        self.loop = VirtualLoop()  # type: ignore[abstract]  # the rest of a loop nobody asks for
        self._later = False
        self._deciding: list[Offered] = []
        self._sessions: set[int] = set()
        self._turned_away: int | None = None
        self._tag = b"none"
        self._stream: Any = None
        self._read = 0
        self._tap = SiprecTap(SETTINGS, "FR", "127.0.0.1", lambda: self.loop.now_ns, self._emit)
        self._pieces: dict[int, Callable[[bytes], None]] = {
            ord("U"): self._datagram,
            ord("S"): self._from_stranger,
            ord("T"): self._streamed,
            ord("L"): self._connection_lost,
            ord("W"): lambda rest: self.loop.pass_time(WAITS[(rest or b"0")[0] % len(WAITS)]),
            ord("D"): self._decide_later,
            ord("A"): lambda _: self._decide(self._accept),
            ord("R"): lambda _: self._decide(lambda offered: self._refuse(offered, self._tap.refuse)),
            ord("V"): lambda _: self._decide(lambda offered: self._refuse(offered, self._tap.unavailable)),
            ord("X"): self._switch,
        }

    def perform(self, data: bytes) -> None:
        """All of it, to the end of every timer."""
        self.loop.finish(self._tap.start())
        first, *pieces = data.split(b"\x1e")[:MOST_PIECES]
        for piece in [b"U" + first, *pieces] if first else pieces:
            if piece and piece[0] in self._pieces:
                self._pieces[piece[0]](piece[1:])
                self._check_sent()
        self._end()

    # --- what happens -----------------------------------------------------------------------------------------------

    def _message(self, text: bytes) -> bytes:
        self.messages += 1
        if b"$" in text:
            text = text.replace(b"$T", self._tag).replace(b"$B", b"%d" % next(_numbers))
        return text

    def _datagram(self, rest: bytes) -> None:
        self.loop.receive(self._message(rest), PEER)

    def _from_stranger(self, rest: bytes) -> None:
        before = len(self.loop.sent)
        self.loop.receive(self._message(rest), STRANGER)
        assert len(self.loop.sent) == before, "a stranger was answered"

    def _streamed(self, rest: bytes) -> None:
        if self._stream is None and self.loop.streams is not None:
            self._stream = self.loop.streams()
            self._stream.connection_made(Wire(self.loop))
        self._stream.data_received(self._message(rest))

    def _connection_lost(self, rest: bytes) -> None:
        if self._stream is not None:
            _Reach.within = bool(rest) and rest[0] % 2 == 1
            self._stream.connection_lost(None)
            self._stream = None

    def _decide_later(self, _: bytes) -> None:
        self._later = not self._later

    def _switch(self, _: bytes) -> None:
        self._tap.available = not self._tap.available

    # --- core -------------------------------------------------------------------------------------------------------

    def _emit(self, event: Event) -> None:
        if self._turned_away is not None:
            assert event == Ended(self._turned_away, self.loop.now_ns, False), "a session turned away goes on"
            self._turned_away = None
        if isinstance(event, Offered):
            assert event.session not in self._sessions
            assert event.at_ns == self.loop.now_ns
            assert event.answered_at_ns == (event.at_ns if event.streams else None)
            self._sessions.add(event.session)
            if not event.streams:  # turned away for its description: it ends before anything else happens
                self._turned_away = event.session
                return
            self._deciding.append(event)
            if not self._later:
                self._decide(self._accept)
        elif isinstance(event, StreamsChanged | PartiesChanged | Ended):
            assert event.session in self._sessions, "an event of a session that is none"
            if isinstance(event, StreamsChanged) and not self._later:
                self._tap.restreamed(event.session, _ports(event.streams))
            elif isinstance(event, Ended):
                self._tap.metadata(event.session)
                self._sessions.remove(event.session)

    def _decide(self, how: Callable[[Offered], None]) -> None:
        if self._deciding:
            how(self._deciding.pop(0))

    def _accept(self, offered: Offered) -> None:
        found = self._tap._sessions.get(offered.session)
        self._tap.accept(offered.session, _ports(found.streams if found is not None else offered.streams))

    def _refuse(self, offered: Offered, how: Callable[[int], None]) -> None:
        how(offered.session)
        self._sessions.discard(offered.session)

    # --- what must hold ---------------------------------------------------------------------------------------------

    def _check_sent(self) -> None:
        for kind, data in self.loop.sent[self._read :]:
            if kind == "udp" or data.strip():  # else a keep-alive's answer
                _check_message(data)
            if (tag := _TAG.search(data)) is not None:
                self._tag = tag[1]
        self._read = len(self.loop.sent)

    def _end(self) -> None:
        while self._deciding:
            self._decide(lambda offered: self._refuse(offered, self._tap.refuse))
        uas = self._tap._uas
        for call in list(uas._dialogs.values()):
            uas.end(call, self.loop.now_ns)
            self._tap._handle([Over(call, True)], self.loop.now_ns)
        self._tap._transport.flush()
        if self._stream is not None:
            self._connection_lost(b"")
        self.loop.pass_time(None)
        self._check_sent()
        left = {
            "sessions": len(self._sessions) + len(self._tap._sessions) + len(self._tap._numbers),
            "dialogs": len(uas._dialogs) + len(uas._waiting) + len(uas._answered_invites) + len(uas._refreshing),
            "transactions": len(uas._transactions) + len(uas._transactions._by_merge_key) + len(uas._transactions.out),
            "timers": sum(len(t._heap) + len(t._running) for t in (uas._timers, uas._transactions.timers)),
            "connections": len(self._tap._transport._connections) + len(self._tap._probes),
        }
        assert not any(left.values()), f"left behind: {left}"
        assert len(complaints) <= MOST_COMPLAINTS, "what a peer sent is told in the log"
        self.loop.finish(self._tap.stop())


class _Reach:
    """Whether the client of a lost connection is found at its port."""

    within = False


async def _reaches(address: str, port: int) -> bool:
    return _Reach.within


def _ports(streams: tuple[Any, ...]) -> list[int]:
    return [30000 + 2 * index for index in range(len(streams))]


def _check_message(data: bytes) -> None:
    head, end, body = data.partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    status = _STATUS.fullmatch(start)
    assert end, "no end of the header"
    assert status is not None or _REQUEST.fullmatch(start), "a start line that is none"
    assert status is None or int(status[1]) in PHRASES, "a status that is none of ours"
    assert all(_FIELD.fullmatch(line) for line in lines), "a line that is no header field"
    assert lines[-1] == b"Content-Length: %d" % len(body), "a body of another length"
    if body:
        try:
            sdp.parse(body)
        except SdpError as error:
            raise AssertionError("our own session description cannot be read") from error


def take(data: bytes) -> int:
    """Perform a play; how many messages it had."""
    play = Play()
    before = siprec._reaches, transport.udp_socket, structlog.get_config()["processors"]
    siprec._reaches = _reaches
    transport.udp_socket = play.loop.udp_socket  # type: ignore[assignment]  # as much of a socket as is asked for
    structlog.configure(processors=[_keep_complaint])
    asyncio._set_running_loop(play.loop)
    try:
        play.perform(data)
    finally:
        asyncio._set_running_loop(None)
        siprec._reaches, transport.udp_socket, processors = before
        structlog.configure(processors=processors)
    return play.messages
