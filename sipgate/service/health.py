"""How it is, in words that name no line, no person and no call: for /readyz, the console, and OPTIONS.

``reasons`` are what keeps calls from being recorded at all (readiness red, OPTIONS 503); ``items`` say how each part
is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import structlog

from sipgate.config import Configuration
from sipgate.console.parts import Health, HealthItem
from sipgate.errors import JournalError
from sipgate.service.finishing import Finishing
from sipgate.service.policy import PolicyKeeper
from sipgate.service.stage import Stage
from sipgate.taps.siprec import SiprecTap
from sipgate.vault.journal_file import Journal
from sipgate.workstations.link import WorkstationLink

log = structlog.get_logger("sipgate")

MINIMUM_FREE_BYTES = 512 * 1024 * 1024


class HealthDesk:
    """Asks the parts. Disk and journal are looked at by ``look`` (it may block), everything else when asked."""

    def __init__(
        self,
        config: Configuration,
        keeper: PolicyKeeper,
        stage: Stage,
        tap: SiprecTap,
        link: WorkstationLink,
        finishing: Finishing,
        journal: Journal,
    ) -> None:
        self._config, self._keeper, self._stage, self._link = config, keeper, stage, link
        self._tap, self._finishing, self._journal = tap, finishing, journal
        self._journal_error: str | None = None
        self._free_bytes = MINIMUM_FREE_BYTES

    def look(self) -> None:
        """Look at the disk and the journal. Not in the event loop."""
        self._free_bytes = _free(self._config.store.data)
        try:
            self._journal.check()
        except JournalError as error:
            if self._journal_error is None:
                log.error("the journal cannot be written: nothing is recorded", reason=str(error))
            self._journal_error = str(error)
        else:
            self._journal_error = None

    def report(self) -> Health:
        """The present state; must not block."""
        return Health(tuple(self._reasons()), tuple(self._items()))

    def _reasons(self) -> Iterator[str]:
        if self._keeper.file_error is not None:
            yield f"the exclusions file cannot be read, so nothing is recorded: {self._keeper.file_error}"
        if self._keeper.register_error is not None:
            yield f"{self._keeper.register_error}, so nothing is recorded"
        if self._journal_error is not None:
            yield f"the journal cannot be written, so nothing is recorded: {self._journal_error}"
        if self._free_bytes < MINIMUM_FREE_BYTES:
            yield f"{self._config.store.data} has less than {MINIMUM_FREE_BYTES >> 20} MiB left: make room"
        if not self._link.connected() and not self._telephone_key:
            yield "the MQTT broker is out of reach and no connection has a telephone_key, so nothing is recorded"

    @property
    def _telephone_key(self) -> bool:
        """Whether any connection lets an employee stop the recorder without a workstation (R11)."""
        return any(c.telephone_key for c in self._config.siprec.connection)

    def _items(self) -> Iterator[HealthItem]:
        gate = self._keeper.policy is not None and self._keeper.policy.gate_open
        yield HealthItem("activation gate", gate, "open" if gate else "closed: nothing is recorded (sipgate gate open)")
        yield self._broker()
        for state in self._link.states():
            yield HealthItem(f"workstation {state.name}", state.ready, _desk_words(state.online, state.ready))
        for connection in self._config.siprec.connection:
            if connection.begins == "early":
                text = "opens its sessions before the answer: they are recorded only where another session shows it"
                yield HealthItem(f"connection {connection.name}", False, text)
            else:
                where = "when their metadata shows it" if connection.begins == "metadata" else "with the answer"
                yield HealthItem(f"connection {connection.name}", True, f"its sessions begin {where}")
        if self._tap.keys_shown:
            who = ", ".join(sorted(self._tap.keys_shown))
            text = (
                f"{who}: offered over SIP that is not encrypted, where whoever reads them can hear the calls: use TLS"
            )
            yield HealthItem("SRTP keys", False, text)
        if self._tap.unreadable:
            text = (
                f"{self._tap.unreadable} named their parties so that nobody could be identified: look at that equipment"
            )
            yield HealthItem("recording sessions", False, text)
        yield from self._refused_codecs()
        if self._finishing.unfinished:
            text = f"{self._finishing.unfinished} could not be finished (see the log): tried again every ten minutes"
            yield HealthItem("recordings", False, text)
        if self._stage.erasures_owed:
            text = f"{self._stage.erasures_owed} erasures that the disk does not let happen: tried again every second"
            yield HealthItem("erasures", False, text)
        if self._stage.open_failures:
            yield HealthItem("disk and ports", False, f"{self._stage.open_failures} calls could not be recorded")

    def _refused_codecs(self) -> Iterator[HealthItem]:
        for connection in self._config.siprec.connection:
            names = {name: n for (of, name), n in sorted(self._tap.refused_codecs.items()) if of == connection.name}
            if names:
                offered = ", ".join(f"{name} ({count} times)" for name, count in names.items())
                text = (
                    f"streams in codecs that cannot be kept were refused: {offered}; let it offer another one as well"
                )
                yield HealthItem(f"codecs of {connection.name}", False, text)

    def _broker(self) -> HealthItem:
        if self._link.connected():
            own = "" if self._config.mqtt.host else "; sipgate's own, for a first try: use mosquitto for more"
            return HealthItem("MQTT broker", True, f"connected{own}")
        sound = "sound goes on where a telephone key can stop it"
        if not self._telephone_key:
            sound = "nothing is recorded without it"
        return HealthItem("MQTT broker", False, f"out of reach: no film is made; {sound}")


def _desk_words(online: bool, ready: bool) -> str:
    if ready:
        return "ready"
    return "connected, its clock not yet known" if online else "not connected"


def _free(path: Path) -> int:
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return 0
