"""Brings core the policy in force: the register, the exclusions file, the declared connections.

Four times a second the file's stamp and the register's revision are looked at (a stat and a query of one row), so that
what an editor, another host or the command line changes is in force within a second, on calls under way too.
What cannot be read fails closed: the last good exclusions go on refusing, and nothing is recorded (DESIGN decision 9).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from sipgate.config import Configuration
from sipgate.core import events as ev
from sipgate.core.lines import Selector, SelectorSet
from sipgate.core.policy import Connection, Policy
from sipgate.errors import ConfigurationError, SipgateError
from sipgate.register.exclusions_file import FileLine, read_exclusions
from sipgate.register.register import Register
from sipgate.service.clock import SteadyClock
from sipgate.vault.together import Together

log = structlog.get_logger("sipgate")

CHECK_SECONDS = 0.25


class PolicyKeeper:
    """Keeps core's policy fresh. ``post`` takes PolicyChanged from any thread."""

    def __init__(
        self, config: Configuration, clock: SteadyClock, register: Register, post: Callable[[ev.Event], None]
    ) -> None:
        self._config, self._clock, self._register, self._post = config, clock, register, post
        self._connections = {c.name: Connection(c.name, c.telephone_key) for c in config.siprec.connection}
        self._file: tuple[FileLine, ...] = ()
        self._file_seen: tuple[int, int, int] | None = None
        self._revision: int | None = None
        self._last: Policy | None = None
        self._refreshing = threading.Lock()  # else a policy read before a change could be given after the one with it
        self._refreshed = Together(self._refresh_alone)  # many recordings may be kept at the same moment
        self.file_error: str | None = None
        self.register_error: str | None = None

    @property
    def file_lines(self) -> tuple[FileLine, ...]:
        """The exclusions file's rows in force (the last good ones while ``file_error`` is set)."""
        return self._file

    @property
    def policy(self) -> Policy | None:
        """The policy that core was last given."""
        return self._last

    async def run(self) -> None:
        """Look for changes until cancelled."""
        while True:
            await asyncio.to_thread(self.check)
            await asyncio.sleep(CHECK_SECONDS)

    def check(self) -> None:
        """Bring core a new policy if anything changed. Blocks on the disk: not in the event loop."""
        with self._refreshing:
            self._check()

    def refresh(self) -> None:
        """Build the policy afresh and give it to core. In force, for calls under way too, once core has handled it."""
        self._refreshed.run()

    def _refresh_alone(self) -> None:
        with self._refreshing:
            self._refresh()

    def _check(self) -> None:
        file_changed = self._file_changed()
        try:
            revision = self._register.revision()
        except (SQLAlchemyError, SipgateError) as error:
            self._register_failed(error)
            return
        if file_changed or revision != self._revision or self.register_error:
            self._refresh()

    def _refresh(self) -> None:
        self._read_file()
        try:
            self._revision = self._register.revision()
            policy = self._register.policy(
                now_ns=self._clock(),
                connections=self._connections,
                file_exclusions=self._selectors(),
                file_readable=self.file_error is None,
                frames_per_second=self._config.film.frames_per_second,
                domains=frozenset(self._config.site.domains),
            )
        except (SQLAlchemyError, SipgateError) as error:
            self._register_failed(error)
            return
        self.register_error = None
        self._give(policy)

    def _give(self, policy: Policy) -> None:
        self._last = policy
        self._post(ev.PolicyChanged(policy, self._clock()))

    def _register_failed(self, error: Exception) -> None:
        if self.register_error is None:
            log.error("the register cannot be read: nothing is recorded", reason=type(error).__name__)
        self.register_error = "the register cannot be read"
        last = self._last
        exclusions = last.exclusions if last is not None else SelectorSet(self._selectors())
        self._give(Policy(exclusions=exclusions, exclusions_readable=False, gate_open=False))

    def _selectors(self) -> tuple[Selector, ...]:
        return tuple(selector for row in self._file for selector in row.selectors)

    def _file_changed(self) -> bool:
        path = self._config.lines.exclusions_file
        return path is not None and (_stamp(path) != self._file_seen or self.file_error is not None)

    def _read_file(self) -> None:
        path = self._config.lines.exclusions_file
        if path is None:
            return
        self._file_seen = _stamp(path)
        try:
            self._file = read_exclusions(path, self._config.site.country)
        except ConfigurationError as error:
            if self.file_error is None:
                log.error("the exclusions file cannot be read: nothing is recorded", reason=str(error))
            self.file_error = str(error)
            return
        if self.file_error is not None:
            log.info("the exclusions file can be read again")
        self.file_error = None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
