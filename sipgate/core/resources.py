"""What calls take and give back: places in an enrolment's backlog (R5), and workstations that film one call at a time.

Kept up to date with every call, so that a decision costs the same however many calls there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from sipgate.core import effects as fx
from sipgate.core.call import Call, State
from sipgate.core.policy import FilmPlan

_K = TypeVar("_K")

RENEW_NS = 1_500_000_000
"""How often a film's lease (5 s) is renewed: two renewals may be lost."""


def _count(table: dict[_K, int], key: _K, by: int) -> None:
    table[key] = table.get(key, 0) + by
    if not table[key]:
        del table[key]


class Places:
    """``taken``, by enrolment: calls under way, and recordings that its backlog does not count yet."""

    def __init__(self) -> None:
        self.taken: dict[int, int] = {}
        self._uncounted: dict[str, Call] = {}

    def take(self, call: Call) -> None:
        """A call under way takes one."""
        _count(self.taken, call.permit.enrolment, 1)

    def give_back(self, call: Call) -> None:
        """It is not under way any more."""
        _count(self.taken, call.permit.enrolment, -1)

    def keep(self, recording: str, call: Call) -> None:
        """Its recording takes one until it is counted, or erased."""
        self._uncounted[recording] = call
        self.take(call)

    def kept(self, recording: str) -> Call | None:
        """The call of a recording that is not counted yet."""
        return self._uncounted.get(recording)

    def uncount(self, recording: str) -> None:
        """The backlog counts it now, or it is erased."""
        call = self._uncounted.pop(recording, None)
        if call is not None:
            self.give_back(call)


class Desks:
    """The workstations that can be commanded, by their boots, and which calls they film."""

    def __init__(self) -> None:
        self._boots: dict[str, str] = {}
        self._filming: dict[str, int] = {}  # calls being filmed, by workstation

    def up(self, workstation: str, boot: str) -> bool:
        """It can be commanded; whether that is news."""
        rebooted = self._boots.get(workstation) != boot
        self._boots[workstation] = boot
        return rebooted

    def down(self, workstation: str | None) -> set[str]:
        """Which of them cannot be commanded any more."""
        gone = set(self._boots) if workstation is None else {workstation}
        for one in gone:
            self._boots.pop(one, None)
        return gone

    def is_up(self, workstation: str) -> bool:
        """Whether it can be commanded."""
        return workstation in self._boots

    def free_for(self, call: Call | None) -> frozenset[str]:
        """Those that could film now; ``call`` may go on where it is being filmed."""
        own = call.filming.workstation if call is not None and call.filming else None
        return frozenset(self._boots) - {desk for desk, calls in self._filming.items() if calls > (desk == own)}

    def start(self, call: Call, at_ns: int) -> Iterator[fx.Effect]:
        """Film a call that is being recorded, if it may be filmed; again when the workstation has come back."""
        plan, recording, answered_at_ns = call.permit.film, call.recording, call.answered_at_ns
        if plan is None or recording is None or answered_at_ns is None or call.state is not State.RECORDING:
            return
        if not self.is_up(plan.workstation):
            return  # when it comes back, this call is decided again
        self._set(call, plan)
        call.filmed_on, call.renew_at_ns = plan.workstation, at_ns + RENEW_NS
        yield fx.StartFilm(recording, plan, answered_at_ns)

    def lapse(self, call: Call) -> None:
        """Its workstation is out of reach: the workstation's own lease ends the film."""
        self._set(call, None)

    def end(self, call: Call, how: type[fx.StopFilm] | type[fx.DiscardFilm], at_ns: int) -> Iterator[fx.Effect]:
        """Film it no more."""
        stopped = call.permit.film is None
        self._set(call, None)
        call.permit = replace(call.permit, film=None)
        if call.filmed_on is None or call.recording is None:
            return
        if how is fx.DiscardFilm:
            yield fx.DiscardFilm(call.recording, call.filmed_on)
        elif not stopped:
            yield fx.StopFilm(call.recording, call.filmed_on, at_ns)

    @staticmethod
    def renew(calls: Iterable[Call], now_ns: int) -> list[fx.Effect]:
        """The leases that are due."""
        due = [c for c in calls if c.filming and c.renew_at_ns <= now_ns]
        for call in due:
            call.renew_at_ns = now_ns + RENEW_NS
        return [fx.RenewFilm(c.recording, c.filming.workstation) for c in due if c.filming and c.recording]

    def _set(self, call: Call, plan: FilmPlan | None) -> None:
        if call.filming is not None:
            _count(self._filming, call.filming.workstation, -1)
        if plan is not None:
            _count(self._filming, plan.workstation, 1)
        call.filming = plan
