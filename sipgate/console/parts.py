"""What the console is given. It makes nothing itself and keeps no state but rate limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from fastapi import APIRouter
from prometheus_client import CollectorRegistry

from sipgate import config
from sipgate.register.exclusions_file import FileLine
from sipgate.register.register import Register
from sipgate.vault.journal_file import Journal
from sipgate.vault.vault import Vault

Clock = Callable[[], int]
LOOPBACK: tuple[IPv4Network | IPv6Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


@dataclass(frozen=True, slots=True)
class HealthItem:
    """One part's state in words: ``name`` such as "workstation desk-12", ``text`` what is so; ``good`` or not."""

    name: str
    good: bool
    text: str


@dataclass(frozen=True, slots=True)
class Health:
    """Whether calls can be recorded; ``reasons`` in words why not (none: ready). Words name no line and no person."""

    reasons: tuple[str, ...] = ()
    items: tuple[HealthItem, ...] = ()

    @property
    def ready(self) -> bool:
        """Nothing stands in the way."""
        return not self.reasons


@dataclass(frozen=True, slots=True)
class FileLines:
    """The exclusions file as it is in force. ``path`` None: none is configured. ``error``: why it cannot be read now;
    ``lines`` are then the last good ones."""

    path: str | None = None
    lines: tuple[FileLine, ...] = field(default=(), repr=False)
    error: str | None = None


@dataclass(frozen=True)
class ConsoleParts:
    """All that the console stands on.

    ``health`` is called in the event loop, ``file_lines`` from any thread; neither may block. ``policy_changed`` is
    called from a worker thread after a change that could alter the policy (an exclusion, an acknowledgement, a review),
    before the answer is sent: when it returns, the change is in force.
    ``metrics_from``: the networks that may read ``/metrics``; elsewhere it does not exist (an aggregate watched every
    second could tell when somebody's telephone is in use).
    ``routers`` authenticate by themselves (the workstations' uploads) and are mounted beside the console's own.
    """

    register: Register
    vault: Vault
    journal: Journal
    now_ns: Clock
    health: Callable[[], Health]
    site: config.Site
    file_lines: Callable[[], FileLines]
    policy_changed: Callable[[], None]
    metrics: CollectorRegistry
    metrics_from: tuple[IPv4Network | IPv6Network, ...] = LOOPBACK
    routers: tuple[APIRouter, ...] = ()
