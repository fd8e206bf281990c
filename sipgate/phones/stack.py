"""What the workers stand on: pjsua2 set up the one way that works headless, and the talk with the parent.

Imported by worker processes only. The choices are LAB.md §1's: polling (every callback runs on the thread that polls,
inside ``poll``), a null audio device as the clock, G.711 unless told otherwise, no echo canceller, no silence
suppression. Callbacks only note what they saw; deciding is done between polls, since an exception inside a callback
ends the process.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pjsua2 as pj

POLL_MS = 10
CLOSING_SECONDS = 0.3  # after a BYE, for its answer to come
_SIP_TRANSPORTS = {"udp": pj.PJSIP_TRANSPORT_UDP, "tcp": pj.PJSIP_TRANSPORT_TCP}
_CODECS = {
    "PCMU": "PCMU/8000/1",
    "PCMA": "PCMA/8000/1",
    "G722": "G722/16000/1",
    "GSM": "GSM/8000/1",
    "iLBC": "iLBC/8000/1",
}


class Stack:
    """One endpoint with one transport bound to ``address``; ``port`` 0 is any free one."""

    def __init__(self, address: str, transport: str, port: int = 0, codecs: Sequence[str] = ("PCMU", "PCMA")) -> None:
        self._address = address
        self.endpoint = pj.Endpoint()
        self.endpoint.libCreate()
        self.endpoint.libInit(_endpoint_config())
        binding = pj.TransportConfig()
        binding.boundAddress, binding.port = address, port
        self._transport = self.endpoint.transportCreate(_SIP_TRANSPORTS[transport], binding)
        self.bound = str(self.endpoint.transportGetInfo(self._transport).localName)
        self.endpoint.libStart()
        self.endpoint.audDevManager().setNullDev()
        for known in self.endpoint.codecEnum2():
            self.endpoint.codecSetPriority(known.codecId, 0)
        for priority, name in enumerate(reversed(codecs), start=254):
            self.endpoint.codecSetPriority(_CODECS[name], priority)

    def account(self, uri: str) -> Any:
        """An AccountConfig that changes nothing behind the peer's back: no re-INVITE of its own, no NAT guesses."""
        config = pj.AccountConfig()
        config.idUri = uri
        config.sipConfig.transportId = self._transport
        config.callConfig.timerUse = pj.PJSUA_SIP_TIMER_INACTIVE
        config.natConfig.contactRewriteUse = 0
        config.natConfig.viaRewriteUse = False
        config.natConfig.sdpNatRewriteUse = 0
        config.mediaConfig.lockCodecEnabled = False
        config.mediaConfig.transportConfig.boundAddress = self._address
        # Even ports, below Linux' ephemeral range and away from sipgate's own; the library skips taken ones.
        config.mediaConfig.transportConfig.port = 12000 + 4 * secrets.randbelow(4000)
        return config

    def poll(self, milliseconds: int = POLL_MS) -> None:
        """Let the stack work; returns at once after an event."""
        self.endpoint.libHandleEvents(milliseconds)

    def poll_for(self, seconds: float) -> None:
        """Poll for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.poll()

    def close(self) -> None:
        """End the library. Calls, accounts and players must be gone by then."""
        self.endpoint.libDestroy()


class Parent:
    """The talk with the parent process (see ``worker``)."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the library writes its greeting to standard output
        os.set_blocking(0, False)
        self._rest = b""
        self.gone = False

    def say(self, event: str, **fields: object) -> None:
        """Report; a parent that is gone reads nothing, and is noticed by ``take``."""
        try:
            os.write(self._out, json.dumps({"event": event, **fields}).encode() + b"\n")
        except BrokenPipeError:
            self.gone = True

    def first(self) -> dict[str, Any]:
        """Wait for the first order. Leaves the process when there is none."""
        while not self.gone:
            for order in self.take():
                return order
            select.select([0], [], [], 1.0)
        sys.exit(0)

    def take(self) -> Iterator[dict[str, Any]]:
        """Orders that have come since, without waiting. Sets ``gone`` when the parent has closed its end."""
        try:
            while block := os.read(0, 65536):
                self._rest += block
            self.gone = True
        except BlockingIOError:
            pass
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            yield json.loads(line)


@contextmanager
def failures_reported(parent: Parent, doing: Mapping[str, str]) -> Iterator[None]:
    """Turn the library's error into a ``failed`` report that says what ``doing["what"]`` was, without identities, and
    end the process."""
    try:
        yield
    except pj.Error as error:
        parent.say("failed", what=f"{doing['what']}: {error.reason}")
        os._exit(1)  # taking the library down from here would only add an abort


def player(path: Path | str) -> Any:
    """A player of a 16-bit WAV that plays it once, then nothing. Starts when it is first connected."""
    made = pj.AudioMediaPlayer()
    made.createPlayer(str(path), pj.PJMEDIA_FILE_NO_LOOP)
    return made


def recorder(path: str) -> Any:
    """A writer of a 16-bit WAV. Its header is right once the last reference is dropped."""
    made = pj.AudioMediaRecorder()
    made.createRecorder(path)
    return made


def header(name: str, value: str) -> Any:
    """A SIP header, for lists of the library's."""
    made = pj.SipHeader()
    made.hName, made.hValue = name, value
    return made


def _endpoint_config() -> Any:
    config = pj.EpConfig()
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    config.uaConfig.maxCalls = 4
    config.uaConfig.userAgent = "sipgate-phones"
    config.logConfig.level = config.logConfig.consoleLevel = 0
    config.medConfig.clockRate = config.medConfig.sndClockRate = 8000
    config.medConfig.audioFramePtime = config.medConfig.ptime = 20
    config.medConfig.noVad = True
    config.medConfig.ecTailLen = 0
    return config
