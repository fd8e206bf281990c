"""A real telephone (pjsua2) in a process of its own: registers where a PBX asks it to, calls, answers, speaks, listens.

Up to four calls at a time. One thread uses a telephone and its calls. Times are this machine's Unix clock, in
nanoseconds, read where the thing was done. Recordings are 8 kHz 16-bit mono WAVs of what the far end said; they are
whole once the call is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

from sipgate.errors import PeerError
from sipgate.phones.worker import Report, Worker

START_SECONDS = 30.0
ANSWER_SECONDS = 40.0  # RFC 3261 §17.1.1.2: timer B gives up after 32 s
END_SECONDS = 40.0  # likewise, for a BYE


@dataclass(frozen=True)
class Registration:
    """Where a telephone registers, and as whom (digest, RFC 8760). Hidden from ``repr``."""

    registrar: str = field(repr=False)
    username: str = field(repr=False)
    password: str = field(repr=False)
    domain: str = field(repr=False)


@dataclass(frozen=True)
class EndOfCall:
    """``status`` is the final response to the INVITE; times are None where it did not come to that."""

    status: int
    answered_at_ns: int | None
    ended_at_ns: int
    ended_by_far_end: bool


class TelephoneCall:
    """One call of one telephone, made by ``Telephone.call`` and ``Telephone.ringing``."""

    def __init__(self, worker: Worker, name: str, over: Callable[[], None]) -> None:
        self._worker, self._name, self._over = worker, name, over
        self._end: EndOfCall | None = None
        self.answered_at_ns: int | None = None

    def answer(self, play: Path | None = None, record: Path | None = None) -> None:
        """Pick up an incoming call, saying ``play`` once and writing what is heard to ``record``."""
        self._worker.send({"do": "answer", "call": self._name, **_sounds(play, record)})
        self.await_answer()

    def decline(self, status: int = 603) -> EndOfCall:
        """Refuse an incoming call with a final response (300 to 699)."""
        self._worker.send({"do": "decline", "call": self._name, "status": status})
        return self.wait(END_SECONDS)

    def await_answer(self, within: float = ANSWER_SECONDS) -> None:
        """Wait until the call is answered. Raises PeerError with the status when it is over instead."""
        report = self._worker.expect("answered", "over", within=within, call=self._name)
        if report["event"] == "over":
            raise PeerError(f"the call was not answered: status {self._ended(report).status}")
        self.answered_at_ns = report["at_ns"]

    def press(self, digits: str) -> None:
        """Press telephone keys (0-9, *, #), sent as RFC 4733 events. Returns at once."""
        if not digits or set(digits) - set("0123456789*#"):
            raise PeerError("telephone keys are 0 to 9, * and #")
        self._worker.send({"do": "press", "call": self._name, "digits": digits})

    def hear(self, digits: int, within: float = 10.0) -> str:
        """Wait for so many keys of the far end."""
        return "".join(
            str(self._worker.expect("digit", within=within, call=self._name)["digit"]) for _ in range(digits)
        )

    def hang_up(self) -> EndOfCall:
        """End the call (CANCEL, or BYE) unless it is over; returns when the telephone has."""
        if self._end is None:
            self._worker.send({"do": "hang_up", "call": self._name})
        return self.wait(END_SECONDS)

    def wait(self, within: float) -> EndOfCall:
        """Wait until the call is over, whoever ends it."""
        return self._end or self._ended(self._worker.expect("over", within=within, call=self._name))

    def _ended(self, report: Report) -> EndOfCall:
        self._end = EndOfCall(
            report["status"], report["answered_at_ns"], report["ended_at_ns"], report["ended_by_far_end"]
        )
        self.answered_at_ns = self._end.answered_at_ns
        self._over()
        return self._end


class Telephone:
    """One telephone. As a context manager: leaving it hangs up what it still holds. ``address`` is where to call it."""

    def __init__(
        self,
        user: str,
        *,
        registration: Registration | None = None,
        transport: Literal["udp", "tcp"] = "udp",
        local_address: str = "127.0.0.1",
        port: int = 0,
        codecs: tuple[Literal["PCMU", "PCMA"], ...] = ("PCMU", "PCMA"),
    ) -> None:
        order = {
            "user": user,
            "transport": transport,
            "local_address": local_address,
            "port": port,
            "codecs": codecs,
            "registration": None if registration is None else vars(registration),
        }
        self._worker = Worker("telephone", "sipgate.phones.telephone_worker", order)
        self._numbers = count(1)
        self._calls: set[str] = set()
        try:
            ready = self._worker.expect("ready", within=START_SECONDS)
            if registration is not None:
                status = self._worker.expect("registered", within=ANSWER_SECONDS)["status"]
                if status != 200:
                    raise PeerError(f"the telephone cannot register: status {status}")
        except PeerError:
            self._worker.close()
            raise
        suffix = ";transport=tcp" if transport == "tcp" else ""
        self.address = f"sip:{user}@{ready['bound']}{suffix}"

    def __enter__(self) -> Telephone:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, target: str, play: Path | None = None, record: Path | None = None) -> TelephoneCall:
        """Dial ``target`` (a SIP URI); returns at once: ``await_answer`` of what it returns waits."""
        self._calls = {held for held in self._calls if not self._worker.has("over", held)}
        if len(self._calls) == 4:
            raise PeerError("a telephone holds four calls at most: hang up one")
        name = f"outgoing {next(self._numbers)}"
        self._worker.send({"do": "call", "call": name, "target": target, **_sounds(play, record)})
        return self._made(name)

    def ringing(self, within: float = ANSWER_SECONDS) -> TelephoneCall:
        """Wait for the next incoming call."""
        return self._made(str(self._worker.expect("incoming", within=within)["call"]))

    def close(self) -> None:
        """Hang up everything and switch the telephone off."""
        self._worker.close()

    def _made(self, name: str) -> TelephoneCall:
        self._calls.add(name)
        return TelephoneCall(self._worker, name, lambda: self._calls.discard(name))


def _sounds(play: Path | None, record: Path | None) -> dict[str, str | None]:
    if play is not None and not play.is_file():
        raise PeerError(f"{play}: no such WAV to play")
    return {"play": None if play is None else str(play), "record": None if record is None else str(record)}
