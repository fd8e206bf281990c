"""A real SIPREC recording client (RFC 7866), made of a SIP stack that nobody here wrote (pjsua2).

``place`` makes one recorded call from the INVITE to the end. ``OngoingCall`` is the same call for those who act while
it lasts. Each call is a process of its own (``recording_client_worker``); all times are this machine's Unix clock, in
nanoseconds, read where the thing was done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sipgate.errors import PeerError
from sipgate.phones.worker import Worker

START_SECONDS = 30.0  # a Python process and a SIP stack, on a busy machine
ANSWER_SECONDS = 40.0  # RFC 3261 §17.1.1.2: timer B gives up after 32 s
END_SECONDS = 20.0

Codec = Literal["PCMU", "PCMA", "G722", "GSM", "iLBC"]
_SIDES = {"caller": 0, "callee": 1}


@dataclass(frozen=True)
class RecordedCall:
    """A call between two parties, as the recorder is to see it. Identities stay out of ``repr``.

    ``target`` is the recorder's SIP URI; ``caller`` and ``callee`` are the parties' addresses of record. The WAVs
    (16 bit, mono) are played once, from the answer on, into the m-lines labelled 1 (caller) and 2 (callee); then
    silence is sent. ``seconds`` run from the answer to the BYE. ``codecs`` are offered in this order; ``headers``
    (name, value) are added to the INVITE.
    """

    target: str = field(repr=False)
    caller: str = field(repr=False)
    callee: str = field(repr=False)
    caller_wav: Path
    callee_wav: Path
    seconds: float
    transport: Literal["udp", "tcp"] = "udp"
    local_address: str = "127.0.0.1"
    codecs: tuple[Codec, ...] = ("PCMU", "PCMA")
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class CallReport:
    """What was measured. ``status`` is the recorder's final response to the INVITE.

    ``invited_at_ns``: makeCall was issued; ``answered_at_ns``: the 200 was received; ``hung_up_at_ns``: the BYE was
    sent, or received where ``hung_up_by_recorder``. None where it did not come to that. ``packets`` are RTP packets
    sent for (caller, callee). ``traces`` are the Call-ID, tags and metadata ids of this call: what must be found
    nowhere when the call was not to be recorded.
    """

    status: int
    invited_at_ns: int
    answered_at_ns: int | None
    hung_up_at_ns: int | None
    packets: tuple[int, int]
    hung_up_by_recorder: bool = False
    traces: tuple[str, ...] = field(default=(), repr=False)


class OngoingCall:
    """One recorded call while it lasts. As a context manager: entered when answered (or refused), hung up on leaving.

    Raises PeerError, saying what failed, when the recorder gives no answer at all or the process dies.
    """

    def __init__(self, call: RecordedCall) -> None:
        self._call = call
        self._worker: Worker | None = None
        self._report: CallReport | None = None
        self.invited_at_ns: int | None = None
        self.answered_at_ns: int | None = None

    def __enter__(self) -> OngoingCall:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._worker is not None and self._report is None:
                self.hang_up()
        finally:
            if self._worker is not None:
                self._worker.close()

    def start(self, until: Literal["invited", "answered"] = "answered") -> None:
        """Send the INVITE; return when it is sent (``invited``) or has got its final response (``answered``)."""
        if self._worker is not None:
            raise PeerError("this call was started before: make another OngoingCall")
        call = self._call
        _require_wavs(call)
        order = {name: value for name, value in vars(call).items() if not name.endswith("_wav")}
        order["wavs"] = [str(call.caller_wav), str(call.callee_wav)]
        self._worker = Worker("recording client", "sipgate.phones.recording_client_worker", order)
        try:
            self.invited_at_ns = self._worker.expect("invited", within=START_SECONDS)["at_ns"]
            if until == "answered":
                report = self._worker.expect("answered", "over", within=ANSWER_SECONDS)
                if report["event"] == "over":
                    self._report = _call_report(report)
                else:
                    self.answered_at_ns = report["at_ns"]
        except PeerError:
            self._worker.close()
            raise

    def press(self, digits: str, side: Literal["caller", "callee"] = "callee") -> None:
        """Press telephone keys (0-9, *, #) on one side, as RFC 4733 events in that side's stream. Returns at once."""
        if not digits or set(digits) - set("0123456789*#"):
            raise PeerError("telephone keys are 0 to 9, * and #")
        self._started().send({"do": "press", "digits": digits, "side": _SIDES[side]})

    def hang_up(self) -> CallReport:
        """Send BYE (CANCEL before the answer) now, unless the call is over already."""
        if self._report is None:
            self._started().send({"do": "hang_up"})
        return self.wait(within=ANSWER_SECONDS)

    def wait(self, within: float | None = None) -> CallReport:
        """Wait for the call's own end: ``seconds`` after the answer, a refusal, or the recorder's BYE."""
        if self._report is None:
            worker = self._started()
            longest = self._call.seconds + ANSWER_SECONDS + END_SECONDS if within is None else within
            try:
                self._report = _call_report(worker.expect("over", within=longest))
            finally:
                worker.close()
        return self._report

    @property
    def report(self) -> CallReport:
        """What was measured, once the call is over."""
        if self._report is None:
            raise PeerError("the call is not over yet: hang_up() or wait() first")
        return self._report

    @property
    def process_id(self) -> int:
        """Of the process that makes the call, for those who want it dead."""
        return self._started().process_id

    def _started(self) -> Worker:
        if self._worker is None:
            raise PeerError("the call was not started")
        return self._worker


def place(call: RecordedCall) -> CallReport:
    """Make the whole call; blocks until its end. Raises PeerError naming what failed; a refusal is no error."""
    with OngoingCall(call) as ongoing:
        return ongoing.wait()


def _require_wavs(call: RecordedCall) -> None:
    for path in (call.caller_wav, call.callee_wav):
        if not path.is_file():
            raise PeerError(f"{path}: no such WAV to play")


def _call_report(report: dict[str, object]) -> CallReport:
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in report.items()}
    del fields["event"]
    return CallReport(**fields)  # type: ignore[arg-type]  # the worker writes exactly these fields
