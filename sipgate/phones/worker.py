"""A parent's handle on a worker process: orders and reports as JSON lines on its standard input and output.

pjsua2 aborts the process that misuses it and holds four calls at most (LAB.md §1), so each of its users here is a
process of its own, and what dies with it is one call. The first line to a worker is its order (addresses and
numbers never stand in an argument list, where ``ps`` shows them); closing its standard input ends it.

Reports are objects with the key ``event``. ``failed`` carries ``what``: a sentence without identities, raised here
as PeerError.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import IO, Any, cast

from sipgate.errors import PeerError

Report = dict[str, Any]


def require_pjsua2() -> None:
    """Raise PeerError, saying what to do, where the wheel is not installed (it ends at CPython 3.12)."""
    if find_spec("pjsua2") is None:
        version = ".".join(str(part) for part in sys.version_info[:2])
        raise PeerError(
            f"pjsua2 is not installed for Python {version}, and telephones need it: with Python 3.11 or 3.12, "
            "run pip install 'sipgate[phones]'"
        )


class Worker:
    """One worker process of ``module``. ``name`` stands in errors. Use as a context manager: leaving it ends it."""

    def __init__(self, name: str, module: str, order: Mapping[str, object]) -> None:
        require_pjsua2()
        self._name = name
        self._reports: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._kept: list[Report] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.process_id = self._process.pid
        self._orders = cast("IO[str]", self._process.stdin)
        self._lines = cast("IO[str]", self._process.stdout)
        self._reader = threading.Thread(target=self._read, name=f"{name}-reports", daemon=True)
        self._reader.start()
        self.send(order)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, order: Mapping[str, object]) -> None:
        """Hand over one order. Raises PeerError when the process is gone."""
        try:
            self._orders.write(json.dumps(order) + "\n")
            self._orders.flush()
        except (OSError, ValueError) as error:  # ValueError: closed by ourselves
            raise PeerError(f"the {self._name} no longer takes orders") from error

    def expect(self, *events: str, within: float, call: str | None = None) -> Report:
        """The first report, already here or still to come, of one of ``events``; others are kept for later.

        ``call`` narrows it to the reports of one call. Raises PeerError on ``failed``, on the process' death, and
        after ``within`` seconds.
        """

        def awaited(report: Report) -> bool:
            return report["event"] in events and (call is None or report.get("call") == call)

        for report in self._kept:
            if awaited(report):
                self._kept.remove(report)
                return report
        deadline = time.monotonic() + within
        while True:
            report = self._next(deadline, " or ".join(events))
            if awaited(report):
                return report
            self._kept.append(report)

    def has(self, event: str, call: str) -> bool:
        """Whether a report of ``event`` for ``call`` has come that nobody has taken yet."""
        with suppress(queue.Empty):
            while True:
                self._kept.append(self._checked(self._reports.get_nowait(), event))
        return any(report["event"] == event and report.get("call") == call for report in self._kept)

    def close(self, within: float = 10.0) -> None:
        """End the process: politely by closing its input, by force when it has not gone after ``within`` seconds."""
        with suppress(OSError):  # it died with an order on its way
            self._orders.close()
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._lines.close()

    def _next(self, deadline: float, awaited: str) -> Report:
        try:
            report = self._reports.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise PeerError(f"the {self._name} did not report {awaited!r} in time") from None
        return self._checked(report, awaited)

    def _checked(self, report: Report | None, awaited: str) -> Report:
        if report is None:
            self._reports.put(None)  # whoever asks again is told the same
            raise PeerError(f"the {self._name} ended with status {self._process.wait()} before reporting {awaited!r}")
        if report["event"] == "failed":
            raise PeerError(f"the {self._name} failed: {report['what']}")
        return report

    def _read(self) -> None:
        for line in self._lines:
            self._reports.put(json.loads(line))
        self._reports.put(None)
