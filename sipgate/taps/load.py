"""A recording client that sets up many calls over UDP, for ``sipgate bench sip``. Shares no code with the server.

``python -m sipgate.taps.load PORT CALLS RATE WINDOW HOLD`` sets up CALLS calls to 127.0.0.1:PORT: RATE a second (0: as
fast as answers come, WINDOW calls waiting at most), each ended HOLD seconds after its answer (negative: all together,
when a line comes on standard input). Writes one JSON line when all calls stand (only with a negative HOLD) and one at
the end: calls, failed, how long INVITE to 200 took (ms, by percentile), and by how much it was itself behind its rate.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from typing import cast

_SDP = """v=0\r
o=- {n} 1 IN IP4 127.0.0.1\r
s=recording\r
c=IN IP4 127.0.0.1\r
t=0 0\r
m=audio 40000 RTP/AVP 8 0 101\r
a=rtpmap:8 PCMA/8000\r
a=rtpmap:0 PCMU/8000\r
a=rtpmap:101 telephone-event/8000\r
a=fmtp:101 0-15\r
a=sendonly\r
a=label:1\r
m=audio 40002 RTP/AVP 8 0 101\r
a=rtpmap:8 PCMA/8000\r
a=rtpmap:0 PCMU/8000\r
a=rtpmap:101 telephone-event/8000\r
a=fmtp:101 0-15\r
a=sendonly\r
a=label:2\r
"""
_METADATA = """<?xml version="1.0" encoding="UTF-8"?>\r
<recording xmlns="urn:ietf:params:xml:ns:recording:1"><datamode>complete</datamode>\r
<session session_id="s{n}"><sipSessionID>call-{n}@load.example</sipSessionID></session>\r
<participant participant_id="a{n}"><nameID aor="sip:+33612{n:06d}@load.example"><name xml:lang="fr">A</name></nameID>\r
</participant><participant participant_id="b{n}"><nameID aor="sip:2001@load.example"><name xml:lang="fr">B</name>\r
</nameID></participant><stream stream_id="x{n}" session_id="s{n}"><label>1</label></stream>\r
<stream stream_id="y{n}" session_id="s{n}"><label>2</label></stream>\r
<sessionrecordingassoc session_id="s{n}"><associate-time>2026-11-02T09:00:00+0100</associate-time>\r
</sessionrecordingassoc>\r
<participantsessionassoc participant_id="a{n}" session_id="s{n}"><associate-time>2026-11-02T09:00:00+0100\r
</associate-time></participantsessionassoc>\r
<participantsessionassoc participant_id="b{n}" session_id="s{n}"><associate-time>2026-11-02T09:00:00+0100\r
</associate-time></participantsessionassoc>\r
<participantstreamassoc participant_id="a{n}"><send>x{n}</send><recv>y{n}</recv></participantstreamassoc>\r
<participantstreamassoc participant_id="b{n}"><send>y{n}</send><recv>x{n}</recv></participantstreamassoc>\r
</recording>\r
"""
_TEMPLATE = """{method} sip:srs@127.0.0.1:{port} SIP/2.0\r
Via: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bK-{run}-{n}-{step};rport\r
Max-Forwards: 70\r
From: <sip:src@127.0.0.1>;tag=f{run}{n}\r
To: <sip:srs@127.0.0.1>{tag}\r
Call-ID: load-{run}-{n}@load.example\r
CSeq: {sequence} {method}\r
Contact: <sip:src@127.0.0.1:{own}>;+sip.src\r
User-Agent: load\r
{extra}Content-Length: {length}\r
\r
{body}"""
_MIXED = "Require: siprec\r\nContent-Type: multipart/mixed;boundary=load-boundary\r\n"
_TIMEOUT_SECONDS = 10.0


class Load(asyncio.DatagramProtocol):
    """The client's socket and its calls, by number."""

    def __init__(self, port: int, calls: int, window: int, hold: float) -> None:
        self._port, self._calls, self._hold = port, calls, hold
        self._run = time.time_ns() % 10**9
        self._sent: dict[int, float] = {}
        self._tags: dict[int, str] = {}
        self._took: list[float] = []
        self._ended = 0
        self._window = asyncio.Semaphore(window)
        self._own = 0
        self._transport: asyncio.DatagramTransport | None = None
        self.stand = asyncio.Event()
        self.over = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        self._transport = cast("asyncio.DatagramTransport", transport)
        self._own = transport.get_extra_info("sockname")[1]

    async def set_up(self, rate: float) -> float:
        """Invite everybody; returns by how many ms it was late at worst."""
        started, late = time.monotonic(), 0.0
        messages = [self._invite(number) for number in range(self._calls)] if rate else []
        for number in range(self._calls):
            if rate:
                ahead = started + number / rate - time.monotonic()
                if ahead > 0:
                    await asyncio.sleep(ahead)
                late = max(late, time.monotonic() - started - number / rate)
                message = messages[number]
            else:
                await self._window.acquire()
                message = self._invite(number)
            self._sent[number] = time.monotonic()
            self._send(message)
        return late * 1e3

    def end_all(self) -> None:
        """BYE to every call that stands."""
        for number in list(self._tags):
            self._bye(number)

    def figures(self, late: float) -> dict[str, float | int]:
        """What happened."""
        took = sorted(self._took) or [0.0]
        share = {f"p{p}_ms": round(took[min(len(took) - 1, len(took) * p // 100)], 2) for p in (50, 90, 99)}
        return {"calls": self._calls, "failed": self._calls - self._ended, "behind_ms": round(late, 1), **share}

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """An answer."""
        head = data.partition(b"\r\n\r\n")[0].decode()
        status = int(head[8:11])
        number = int(_between(head, "Call-ID: load-", "@").partition("-")[2])
        if status < 200:
            return
        if " BYE\r\n" in head:
            if self._tags.pop(number, None) is not None:
                self._ended += 1
                if self._ended == self._calls:
                    self.over.set()
        elif number not in self._tags and number in self._sent:
            self._answered(number, status, head)

    def _answered(self, number: int, status: int, head: str) -> None:
        self._took.append((time.monotonic() - self._sent.pop(number)) * 1e3)
        self._window.release()
        if status != 200:
            raise SystemExit(f"the recorder answered {status}")
        self._tags[number] = ";tag=" + _between(_between(head, "\r\nTo: ", "\r\n") + "\r\n", ";tag=", "\r\n")
        self._send(self._message("ACK", number, 1, 2))
        if self._hold >= 0:
            asyncio.get_running_loop().call_later(self._hold, self._bye, number)
        elif len(self._tags) == self._calls:
            self.stand.set()

    def _bye(self, number: int) -> None:
        self._send(self._message("BYE", number, 2, 3))

    def _invite(self, number: int) -> bytes:
        metadata = _METADATA.format(n=number)
        body = f"--load-boundary\r\nContent-Type: application/sdp\r\n\r\n{_SDP.format(n=number)}\r\n"
        body += (
            f"--load-boundary\r\nContent-Type: application/rs-metadata+xml\r\n\r\n{metadata}\r\n--load-boundary--\r\n"
        )
        return self._message("INVITE", number, 1, 1, _MIXED, body)

    def _message(self, method: str, number: int, sequence: int, step: int, extra: str = "", body: str = "") -> bytes:
        return _TEMPLATE.format(
            method=method,
            port=self._port,
            own=self._own,
            run=self._run,
            n=number,
            step=step,
            tag=self._tags.get(number, ""),
            sequence=sequence,
            extra=extra,
            length=len(body),
            body=body,
        ).encode()

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(data)


def _between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].partition(end)[0]


async def _main(port: int, calls: int, rate: float, window: int, hold: float) -> None:
    loop = asyncio.get_running_loop()
    transport, load = await loop.create_datagram_endpoint(
        lambda: Load(port, calls, window, hold), remote_addr=("127.0.0.1", port)
    )
    async with asyncio.timeout(_TIMEOUT_SECONDS + (calls / rate if rate else calls / 20) + max(hold, 0)):
        late = await load.set_up(rate)
        if hold < 0:
            await load.stand.wait()
            print(json.dumps({"stand": calls}), flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            load.end_all()
        await load.over.wait()
    transport.close()
    print(json.dumps(load.figures(late)), flush=True)


if __name__ == "__main__":
    gc.disable()  # it lives for seconds, and its own pauses are not what is measured
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
