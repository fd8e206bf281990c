"""A company with a desk: business window and capture client on a virtual display, mosquitto as in deploy/mosquitto."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np

from deploy.demo.bars import read_bars
from deploy.demo.office import APPLICATION, BIN
from deploy.demo.programs import Program, wait_until
from sipgate.workstations.pki import Authority
from tests.peers.mosquitto import Mosquitto
from tests.peers.xserver import wait_for_window, x_server
from tests.service.company import Company, today

KEYLESS = "127.0.0.2"
"""Calls from here come over a connection that has no telephone key."""
_KEYLESS = """[[siprec.connection]]
name = "keyless-pbx"
addresses = ["127.0.0.2/32"]
begins = "answer"
announcement = "before-answer"

[media]
"""


class FilmedCompany(Company):
    """Its broker can be stopped and started, its client killed and started."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack, {"[media]\n": _KEYLESS})
        self.broker = Mosquitto(folder, Authority(folder / "keys"))
        self.display = ""

    @property
    def written(self) -> tuple[Path, ...]:
        return (*super().written, self.broker.folder)

    def configure(self) -> None:
        super().configure()
        text = re.sub(r"\[mqtt\]\nport = \d+", f'[mqtt]\nhost = "localhost"\nport = {self.broker.port}', _read(self))
        self.config.write_text(text)
        self.sipgate("check-config")

    def start_broker(self) -> None:
        """Start it, or start it again."""
        asyncio.run(self.broker.start())

    def stop_broker(self) -> None:
        """As a power cut does."""
        asyncio.run(self.broker.stop())

    def until_filming_is_possible(self) -> None:
        """Broker and desk are there."""
        wait_until(lambda: self.metric("sipgate_workstations_ready") == 1, "the desk", 30.0, *self._programs())

    def _programs(self) -> list[Program]:
        return [program for program in (self.server, self.client) if program is not None]

    def furnish(self, python: str = "/usr/bin/python3") -> None:
        self.display = self._own.enter_context(x_server())
        with mock.patch.dict(os.environ, DISPLAY=self.display):
            super().furnish(python)
        wait_for_window(self.display, "SipgateDemo")

    def start_client(self) -> None:
        """Start the capture client again."""
        command = [str(BIN / "capture-client"), "run", "--folder", str(self.desk)]
        self.client = Program("capture-client", command, self.logs / "desk-1.log", {"DISPLAY": self.display})
        self._own.callback(self.client.stop)

    def enrol(self) -> None:
        self.sipgate(
            *("enrol", "film", "--trainee", "trainee", "--workstation", "desk-1", "--application", APPLICATION),
            *("--need", "new order form", "--from", str(today()), "--until", str(today() + timedelta(days=30))),
            *("--reviewer", "trainer", "--capacity", "100"),
        )
        self.open_gate()

    def film_folder(self, recording: str) -> Path:
        """Where the server keeps the sealed segments of a call."""
        return self.folder / "data" / "media" / recording / "film"

    def until_filmed(self, recording: str, segments: int = 1) -> None:
        """Wait until so many segments have been uploaded."""
        folder = self.film_folder(recording)
        wait_until(lambda: len(list(folder.glob("*/*.seg"))) >= segments, "the film", 20.0, *self._programs())

    def whole(self, before: set[str], to: Path) -> tuple[dict[str, Any], Film]:
        """The new recording's row, once its film is in, and its film, exported and decoded."""
        row: dict[str, Any] = self.new_recording(before)
        self.export(row["recording"], to)
        return row, decode(to)


@dataclass(frozen=True)
class Film:
    """``shown``: (time of the picture in the file, time that its bars show or None), seconds; ``canary_pixels``: how
    many of all pixels of all pictures have the canary's colour."""

    shown: tuple[tuple[float, float | None], ...]
    canary_pixels: int

    @property
    def times(self) -> list[float]:
        """When the window painted what is seen: Unix seconds, ascending, each once."""
        return sorted({at for _, at in self.shown if at is not None})


def decode(export: Path) -> Film:
    """Decode every picture."""
    shown: list[tuple[float, float | None]] = []
    canary = 0
    with av.open(str(export)) as container:
        for frame in container.decode(video=0) if container.streams.video else ():
            picture = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            bars = read_bars(picture)
            shown.append((float(frame.time or 0), bars / 1e9 if bars is not None else None))
            red, green, blue = (picture[..., channel].astype(np.int16) for channel in range(3))
            canary += int(((red - green > 60) & (blue - green > 60)).sum())
    return Film(tuple(shown), canary)


def _read(company: Company) -> str:
    return company.config.read_text()


@contextmanager
def filmed_company(folder: Path) -> Iterator[FilmedCompany]:
    """All of it running, the trainee's line enrolled for film."""
    with ExitStack() as stack:
        company = FilmedCompany(folder, stack)
        company.configure()
        company.start_broker()
        stack.callback(company.stop_broker)
        company.serve()
        company.hire()
        company.furnish()
        company.enrol()
        company.until_filming_is_possible()
        yield company
