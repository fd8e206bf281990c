"""A call that is, or is to be, kept: what its crash ledger entry says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EndedCall:
    """What ``finishing`` needs to know of a call that is to be kept: the crash ledger's entry."""

    recording: str
    owner: int
    enrolment: int
    workstation: str | None
    answered_at_ns: int
    ended_at_ns: int | None
    story: str

    def entry(self) -> dict[str, int | str | None]:
        """As the ledger writes it."""
        return {
            "owner": self.owner,
            "enrolment": self.enrolment,
            "workstation": self.workstation,
            "answered_at_ns": self.answered_at_ns,
            "ended_at_ns": self.ended_at_ns,
            "story": self.story,
        }
