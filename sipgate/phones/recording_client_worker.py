"""The process behind ``recording_client``: one recording session of one call.

Run as ``python -m sipgate.phones.recording_client_worker`` by ``worker.Worker``. Reports ``invited``, ``answered``,
``over``; takes ``press`` and ``hang_up``.
"""

from __future__ import annotations

import ctypes
import re
import time
from typing import Any

import pjsua2 as pj

from sipgate.phones.metadata import Snapshot, snapshot
from sipgate.phones.stack import CLOSING_SECONDS, POLL_MS, Parent, Stack, failures_reported, header, player

_TAG = re.compile(r"^(?:From|To|f|t)\s*:.*;tag=([^;\s]+)", re.IGNORECASE | re.MULTILINE)


class _Session(pj.Call):
    """The recording session. Callbacks note times and facts; ``Client`` acts on them between polls."""

    def __init__(self, account: Any) -> None:
        super().__init__(account)
        self.status = 0
        self.response_seen = False
        self.answered_at_ns: int | None = None
        self.over_at_ns: int | None = None
        self.media_ready = False
        self.packets = [0, 0]
        self.streams: dict[int, int] = {}
        self.traces: set[str] = set()

    def onCallSdpCreated(self, prm: Any) -> None:
        """Label the m-lines 1 and 2 (RFC 4574); they are sendonly by the call's setting."""
        head, *media = str(prm.sdp.wholeSdp).split("m=audio")
        prm.sdp.wholeSdp = head + "".join(f"m=audio{m}a=label:{n}\r\n" for n, m in enumerate(media, start=1))

    def onCallState(self, prm: Any) -> None:
        now = time.time_ns()
        self._note(prm.e)
        info = self.getInfo()
        self.traces.add(info.callIdString)
        if info.state in (pj.PJSIP_INV_STATE_CONNECTING, pj.PJSIP_INV_STATE_CONFIRMED):
            self.answered_at_ns = self.answered_at_ns or now
            self.status = 200
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.over_at_ns = now
            self.status = self.status or info.lastStatusCode

    def onCallTsxState(self, prm: Any) -> None:
        self._note(prm.e)

    def _note(self, reason: Any) -> None:
        """What a message on the wire tells: that the recorder is there, and the dialog's tags."""
        if reason.type != pj.PJSIP_EVENT_TSX_STATE:
            return
        event = reason.body.tsxState
        if event.type == pj.PJSIP_EVENT_RX_MSG:
            self.response_seen = True
            self.traces.update(_TAG.findall(event.src.rdata.wholeMsg))
        elif event.type == pj.PJSIP_EVENT_TX_MSG:
            self.traces.update(_TAG.findall(event.src.tdata.wholeMsg))

    def onCallMediaState(self, prm: Any) -> None:
        self.media_ready = True

    def onStreamCreated(self, prm: Any) -> None:
        self.streams[prm.streamIdx] = int(prm.stream)

    def onStreamDestroyed(self, prm: Any) -> None:
        self.streams.pop(prm.streamIdx, None)
        try:
            statistics = self.getStreamStat(prm.streamIdx)  # held: its parts live as long as it does
            self.packets[prm.streamIdx] = statistics.rtcp.txStat.pkt
        except pj.Error:
            self.packets[prm.streamIdx] = 0  # never came to send


class Client:
    """Drives one session from the order to its end."""

    def __init__(self, parent: Parent, order: dict[str, Any], doing: dict[str, str]) -> None:
        self._parent, self._order, self._doing = parent, order, doing
        doing["what"] = "starting the SIP stack"
        self._stack = Stack(order["local_address"], order["transport"], codecs=order["codecs"])
        config = self._stack.account(f"sip:recording-client@{order['local_address']}")
        config.sipConfig.contactParams = ";+sip.src"
        self._account = pj.Account()
        self._account.create(config)
        doing["what"] = "opening the WAVs to play"
        self._players = [player(path) for path in order["wavs"]]
        self._session = _Session(self._account)
        self._due = float("inf")  # when to hang up, on the monotonic clock
        self._hung_up_at_ns: int | None = None

    def run(self) -> None:
        """Make the call; returns when it is over and reported."""
        metadata = self._invite()
        session = self._session
        playing = answered = False
        while session.over_at_ns is None:
            self._stack.poll(int(min(POLL_MS, max(0.0, self._due - time.monotonic()) * 1000)))
            if session.media_ready and not playing:
                playing = True
                self._play()
            if session.answered_at_ns is not None and not answered:
                answered = True
                self._parent.say("answered", at_ns=session.answered_at_ns)
                since = (time.time_ns() - session.answered_at_ns) / 1e9
                self._due = min(self._due, time.monotonic() + self._order["seconds"] - since)
            self._obey()
            if time.monotonic() >= self._due:
                self._hang_up()
        self._conclude(metadata)
        self._stack.poll_for(CLOSING_SECONDS)

    def close(self) -> None:
        """Give everything back in the order that the library survives."""
        del self._players, self._session
        self._account.shutdown()
        del self._account
        self._stack.close()

    def _invite(self) -> Snapshot:
        order = self._order
        target = order["target"]
        if order["transport"] == "tcp" and ";transport=" not in target.lower():
            target += ";transport=tcp"
        invited_at_ns = time.time_ns()
        metadata = snapshot(order["caller"], order["callee"], invited_at_ns)
        self._doing["what"] = "sending the INVITE"
        operation = _invitation(metadata.document, order["headers"])
        self._invited_at_ns = time.time_ns()
        self._session.makeCall(target, operation)
        self._parent.say("invited", at_ns=self._invited_at_ns)
        self._doing["what"] = "in the call"
        return metadata

    def _play(self) -> None:
        """Both sides in the same breath, so that they stay aligned. A side that the recorder refused is left out."""
        self._doing["what"] = "playing into the m-lines"
        for side in sorted(self._session.streams):
            self._players[side].startTransmit(self._session.getAudioMedia(side))
        self._doing["what"] = "in the call"

    def _obey(self) -> None:
        for order in self._parent.take():
            if order["do"] == "press":
                self._doing["what"] = "pressing telephone keys"
                _press(self._session.streams, order["side"], order["digits"])
                self._doing["what"] = "in the call"
            else:
                self._due = 0.0
        if self._parent.gone:
            self._due = 0.0

    def _hang_up(self) -> None:
        if self._session.over_at_ns is not None or self._hung_up_at_ns is not None:
            return
        self._due = float("inf")
        self._doing["what"] = "hanging up"
        self._hung_up_at_ns = time.time_ns()
        self._session.hangup(pj.CallOpParam())

    def _conclude(self, metadata: Snapshot) -> None:
        session = self._session
        if not session.response_seen:
            self._parent.say("failed", what=f"nothing answered the INVITE (status {session.status}, made up here)")
            return
        was_answered = session.answered_at_ns is not None
        hung_up_at_ns = self._hung_up_at_ns or session.over_at_ns
        self._parent.say(
            "over",
            status=session.status,
            invited_at_ns=self._invited_at_ns,
            answered_at_ns=session.answered_at_ns,
            hung_up_at_ns=hung_up_at_ns if was_answered else None,
            packets=session.packets,
            hung_up_by_recorder=was_answered and self._hung_up_at_ns is None,
            traces=sorted({*session.traces, *metadata.traces}),
        )


def _invitation(document: str, headers: list[list[str]]) -> Any:
    """Two sendonly audio m-lines, and the metadata as a second body part (RFC 7866 §9.1)."""
    operation = pj.CallOpParam(True)
    operation.opt.audioCount, operation.opt.videoCount = 2, 0
    operation.opt.flag |= pj.PJSUA_CALL_SET_MEDIA_DIR
    operation.opt.mediaDir.clear()
    for _ in range(2):
        operation.opt.mediaDir.append(pj.PJMEDIA_DIR_ENCODING)
    for name, value in [["Require", "siprec"], *headers]:
        operation.txOption.headers.append(header(name, value))
    operation.txOption.multipartContentType.type = "multipart"
    operation.txOption.multipartContentType.subType = "mixed"
    part = pj.SipMultipartPart()
    part.contentType.type, part.contentType.subType = "application", "rs-metadata+xml"
    part.headers.append(header("Content-Disposition", "recording-session"))
    part.body = document
    operation.txOption.multipartParts.append(part)
    return operation


class _PjString(ctypes.Structure):
    """pj_str_t."""

    _fields_ = (("ptr", ctypes.c_char_p), ("slen", ctypes.c_ssize_t))


def _press(streams: dict[int, int], side: int, digits: str) -> None:
    """Send RFC 4733 events in one side's stream. pjsua2's own call presses on the first m-line only, so this asks the
    stream itself, by the library's C function."""
    if side not in streams:
        return  # refused by the recorder: the key goes nowhere, as on a real telephone
    library = ctypes.CDLL(pj._pjsua2.__file__)
    keys = digits.encode()
    library.pjmedia_stream_dial_dtmf(ctypes.c_void_p(streams[side]), ctypes.byref(_PjString(keys, len(keys))))


def main() -> None:
    """One order, one call."""
    parent = Parent()
    doing = {"what": "starting"}
    with failures_reported(parent, doing):
        client = Client(parent, parent.first(), doing)
        client.run()
        client.close()


if __name__ == "__main__":
    main()
