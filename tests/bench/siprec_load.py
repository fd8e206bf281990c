"""A recording client for load, sharing no code with sipgate: ``python -m tests.bench.siprec_load PORT CALLS SECONDS``.

CALLS sessions at once towards 127.0.0.1:PORT, each an INVITE with SDP and RFC 7865 metadata over UDP, two PCMU streams
of 20 ms in real time (``rtp_load`` says what they say), and a BYE. The sessions are set up evenly within the first two
seconds and speak for SECONDS each. Prints one JSON document: the packets sent, for each call when its INVITE and its
BYE were sent (Unix seconds), and the INVITEs' round trip times.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time
from dataclasses import dataclass, field

from tests.bench.rtp_load import PACKETS_A_SECOND, packet, spoken

SETUP_SECONDS = 2.0
_INVITE = """\
INVITE sip:srs@127.0.0.1:{target} SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bKi{call}
Max-Forwards: 70
From: <sip:load@127.0.0.1:{own}>;tag=load{call}
To: <sip:srs@127.0.0.1:{target}>
Call-ID: load-{call}-{own}
CSeq: 1 INVITE
Contact: <sip:load@127.0.0.1:{own}>;+sip.src
Require: siprec
Content-Type: multipart/mixed;boundary=b
Content-Length: {length}

"""
_BODY = """\
--b
Content-Type: application/sdp

v=0
o=- {call} 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio {first} RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=label:1
a=sendonly
m=audio {second} RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=label:2
a=sendonly
--b
Content-Type: application/rs-metadata+xml
Content-Disposition: recording-session

<?xml version="1.0" encoding="UTF-8"?>
<recording xmlns="urn:ietf:params:xml:ns:recording:1"><datamode>complete</datamode>
<session session_id="s"/>
<participant participant_id="a"><nameID aor="sip:+3363999{call:04d}@carrier.example"/></participant>
<participant participant_id="b"><nameID aor="sip:{line}@pbx.example"/></participant>
<stream stream_id="x" session_id="s"><label>1</label></stream>
<stream stream_id="y" session_id="s"><label>2</label></stream>
<participantstreamassoc participant_id="a"><send>x</send><recv>y</recv></participantstreamassoc>
<participantstreamassoc participant_id="b"><send>y</send><recv>x</recv></participantstreamassoc>
</recording>
--b--
"""
_REQUEST = """\
{method} sip:srs@127.0.0.1:{target} SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bK{method}{call}
Max-Forwards: 70
From: <sip:load@127.0.0.1:{own}>;tag=load{call}
To: <sip:srs@127.0.0.1:{target}>;tag={tag}
Call-ID: load-{call}-{own}
CSeq: {cseq} {method}
Content-Length: 0

"""


def line_of(call: int) -> int:
    """The extension that is called."""
    return 2000 + call


@dataclass
class _Session:
    call: int
    sockets: tuple[socket.socket, socket.socket]
    sounds: tuple[bytes, bytes]
    invited: float = 0.0
    answered: float = 0.0
    ended: float = 0.0
    tag: str = ""
    done: list[int] = field(default_factory=lambda: [0, 0])


class Load:
    """All sessions of one run."""

    def __init__(self, target: int, calls: int, seconds: float) -> None:
        self._target, self._seconds = target, seconds
        self._sip = socket.socket(type=socket.SOCK_DGRAM)
        self._sip.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._sip.bind(("127.0.0.1", 0))
        self._own = self._sip.getsockname()[1]
        self._sessions = [self._session(call) for call in range(calls)]

    def _session(self, call: int) -> _Session:
        pair = (socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM))
        for sock in pair:
            sock.bind(("127.0.0.1", 0))
        return _Session(call, pair, (spoken(2 * call, self._seconds), spoken(2 * call + 1, self._seconds)))

    def run(self) -> dict[str, object]:
        """Set up, speak, hang up; what happened."""
        start, total = time.time(), int(self._seconds * PACKETS_A_SECOND)
        count = len(self._sessions)
        while any(session.ended == 0 for session in self._sessions):
            now = time.time()
            for session in self._sessions:
                if session.invited == 0 and now >= start + SETUP_SECONDS * session.call / count:
                    self._invite(session)
                elif session.answered and session.ended == 0:
                    self._speak(session, total)
            self._hear()
            if now > start + SETUP_SECONDS + self._seconds + 30:
                raise SystemExit("the recorder did not answer every INVITE")
        return {
            "sent": sum(sum(session.done) for session in self._sessions),
            "calls": [[session.invited, session.ended] for session in self._sessions],
            "setup_ms": [round((session.answered - session.invited) * 1000, 3) for session in self._sessions],
        }

    def _invite(self, session: _Session) -> None:
        first, second = (sock.getsockname()[1] for sock in session.sockets)
        body = _BODY.format(call=session.call, first=first, second=second, line=line_of(session.call))
        body = body.replace("\n", "\r\n")
        head = _INVITE.format(target=self._target, own=self._own, call=session.call, length=len(body))
        session.invited = time.time()
        self._sip.sendto(head.replace("\n", "\r\n").encode() + body.encode(), ("127.0.0.1", self._target))

    def _hear(self) -> None:
        while select.select([self._sip], [], [], 0.001)[0]:
            text = self._sip.recv(65536).decode()
            call = re.search(r"Call-ID: load-(\d+)-", text)
            status = re.match(r"SIP/2.0 (\d+)", text)
            if call is None or status is None or status[1] == "100" or "CSeq: 1 INVITE" not in text:
                continue
            self._answered(self._sessions[int(call[1])], int(status[1]), text)

    def _answered(self, session: _Session, status: int, text: str) -> None:
        if status != 200:
            raise SystemExit(f"the recorder answered {status}")
        tag = re.search(r"^To:.*;tag=([^;\s]+)", text, re.MULTILINE)
        ports = re.findall(r"^m=audio (\d+)", text, re.MULTILINE)
        if tag is None or len(ports) != 2:
            raise SystemExit("the recorder's answer lacks a tag or a port")
        self._request(session, "ACK", 1, tag[1])
        if not session.answered:
            session.tag, session.answered = tag[1], time.time()
            for sock, port in zip(session.sockets, ports, strict=True):
                sock.connect(("127.0.0.1", int(port)))

    def _speak(self, session: _Session, total: int) -> None:
        elapsed = time.time() - session.answered
        due = min(total, int(elapsed * PACKETS_A_SECOND) + 1)
        for leg, sock in enumerate(session.sockets):
            for number in range(session.done[leg], due):
                sock.send(packet(2 * session.call + leg, number, session.sounds[leg]))
            session.done[leg] = max(session.done[leg], due)
        if elapsed >= self._seconds:
            session.ended = time.time()
            self._request(session, "BYE", 2, session.tag)

    def _request(self, session: _Session, method: str, cseq: int, tag: str) -> None:
        text = _REQUEST.format(method=method, target=self._target, own=self._own, call=session.call, tag=tag, cseq=cseq)
        self._sip.sendto(text.replace("\n", "\r\n").encode(), ("127.0.0.1", self._target))


if __name__ == "__main__":
    print(json.dumps(Load(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])).run()))
