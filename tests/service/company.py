"""The quickstart's office as a fixture: the real server in a process of its own, real files, an admin's commands.

Commands run in this process (the same code, without a second of start-up each); tests that are about a command itself
start it as ``Office.sipgate`` does.
"""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import numpy.typing as npt
from typer.testing import CliRunner

from deploy.demo.evidence import traces
from deploy.demo.office import TRAINEE_LINE, Office
from deploy.demo.programs import DemoError, free_port, wait_until
from sipgate.__main__ import app
from sipgate.phones.recording_client import RecordedCall
from sipgate.phones.speech import RATE
from tests.peers.speech import Dialogue
from tests.service.invites import Answer, Session, session

CUSTOMER = "sip:+33639980001@carrier.example"
TRAINEE = TRAINEE_LINE[2]
PAGES = ("metrics", "readyz", "healthz")
_CAPACITY = 200


class Company(Office):
    """``changes`` replace words of the configuration file."""

    def __init__(self, folder: Path, stack: ExitStack, changes: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, stack)
        # Not the ports that a quickstart beside this test would take.
        self.sip_port, self.console_port = free_port(), free_port()
        self._changes = changes or {}
        self._visitors: dict[str, httpx.Client] = {}
        self._own = stack
        stack.callback(self._leave)

    # --- setting up ---------------------------------------------------------------------------------------------------

    def sipgate(self, *words: str, login: str | None = None, secret: str | None = None) -> str:
        """One command, in this process."""
        env: dict[str, str | None] = {"SIPGATE_CONFIG": str(self.config), "SIPGATE_PASSWORD": secret}
        if login is not None:
            env |= {"SIPGATE_LOGIN": login, "SIPGATE_PASSWORD": self.accounts[login].password}
        done = CliRunner().invoke(app, list(words), env=env)
        if done.exception is not None and not (isinstance(done.exception, SystemExit) and done.exit_code == 0):
            if isinstance(done.exception, SystemExit):
                raise DemoError(f"`sipgate {' '.join(words[:2])}` ended with {done.exit_code}: {done.output}")
            raise done.exception
        return done.stdout

    def command(self, *words: str, login: str | None = None) -> str:
        """One command, as a process."""
        return super().sipgate(*words, login=login)

    def configure(self) -> None:
        """As the office, with this company's changes."""
        super().configure()
        text = re.sub(r"(?<=\[mqtt\]\nport = )\d+", str(free_port()), self.config.read_text())
        for before, after in self._changes.items():
            assert before in text, before
            text = text.replace(before, after)
        self.config.write_text(text)
        self.sipgate("check-config")

    def enrol_sound(self, *lines: str, capacity: int = _CAPACITY, starts: date | None = None) -> int:
        """A sound enrolment of a month; its number."""
        begins = starts or today()
        said = self.sipgate(
            *("enrol", "sound", "--need", "orders", "--from", str(begins), "--until", str(begins + timedelta(days=30))),
            *("--reviewer", "trainer", "--capacity", str(capacity)),
            *(word for line in lines for word in ("--line", line)),
        )
        return int(found(r"enrolment (\d+) stands", said))

    def open_gate(self) -> None:
        """The DPO signs over what is enrolled."""
        self.sipgate("gate", "open", "--opinion-on", str(today()), "--dpia-version", "1", login="dpo")
        self.until_in_force()

    # --- over the wire ------------------------------------------------------------------------------------------------

    @property
    def target(self) -> str:
        """Where recording sessions are opened."""
        return f"sip:srs@127.0.0.1:{self.sip_port}"

    def call(self, spoken: Dialogue, caller: str = CUSTOMER, callee: str = TRAINEE, **changes: Any) -> RecordedCall:
        """A call to place with the real recording client."""
        seconds = changes.pop("seconds", spoken.seconds)
        return RecordedCall(self.target, caller, callee, spoken.caller, spoken.callee, seconds, **changes)

    def offer(self, caller: str = CUSTOMER, callee: str = TRAINEE, headers: tuple[str, ...] = ()) -> Answer:
        """What the recorder answers to such a session, which is hung up at once if it is accepted."""
        with session(self.sip_port, caller, callee, headers) as opened:
            return opened.answer

    def open_session(self, caller: str = CUSTOMER, callee: str = TRAINEE, **more: Any) -> Session:
        """A session that stays: hang it up."""
        return Session(self.sip_port, caller, callee, **more)

    def until_answered_with(self, status: int, seconds: float = 5.0, caller: str = CUSTOMER) -> float:
        """Wait until sessions get this status; how long it took."""
        began = time.monotonic()
        wait_until(lambda: self.offer(caller).status == status, f"a {status}", seconds)
        return time.monotonic() - began

    # --- what is there ------------------------------------------------------------------------------------------------

    def visit(self, login: str) -> httpx.Client:
        """The API as a person, signed in once."""
        if login not in self._visitors:
            trust = ssl.create_default_context(cafile=str(self.ca))
            client = httpx.Client(base_url=f"{self.url}api/v1", verify=trust, trust_env=False, timeout=10)
            secret = {"login": login, "password": self.accounts[login].password}
            token = good(client.post("/sign-in", json=secret)).json()["token"]
            client.headers["Authorization"] = f"Bearer {token}"
            self._visitors[login] = client
        return self._visitors[login]

    def _leave(self) -> None:
        for client in self._visitors.values():
            client.close()

    def rows(self, login: str = "trainer") -> dict[str, dict[str, Any]]:
        """The recordings that a person sees, by name."""
        listed = good(self.visit(login).get("/recordings")).json()["recordings"]
        return {row["recording"]: row for row in listed}

    def new_recording(self, before: set[str], seconds: float = 30.0) -> dict[str, Any]:
        """The one recording that is not among ``before``, once it is ready."""
        fresh: list[dict[str, Any]] = []

        def ready() -> bool:
            fresh[:] = [row for name, row in self.rows().items() if name not in before and row["state"] == "ready"]
            return bool(fresh)

        assert self.server is not None
        wait_until(ready, "the recording", seconds, self.server)
        (row,) = fresh
        return row

    def health(self) -> dict[str, tuple[bool, str]]:
        """Each part's state as the admin reads it: good or not, and why."""
        items = good(self.visit("admin").get("/health")).json()["items"]
        return {item["name"]: (item["good"], item["text"]) for item in items}

    def metric(self, name: str) -> float:
        """One figure of the metrics page."""
        return float(found(rf"(?m)^{name} (\S+)$", self.page("metrics").text))

    def until_idle(self) -> None:
        """Wait until no permitted call is observed, and all that ended is finished."""
        wait_until(lambda: self.metric("sipgate_calls") == 0, "the end of all calls", 10.0)
        wait_until(lambda: not self.ledger(), "the finishing of all calls", 30.0)

    def journal(self) -> list[dict[str, Any]]:
        """All entries, oldest first."""
        lines = [json.loads(line) for line in self.sipgate("journal", "show").splitlines() if line.strip()]
        return [line for line in lines if "kind" in line]

    def about_calls(self) -> list[dict[str, Any]]:
        """The journal's entries about recordings."""
        return [entry for entry in self.journal() if "recording" in entry["fields"]]

    def found_of(self, *words: str) -> int:
        """How often any of these words stands in what server, client and broker wrote, or on the open pages."""
        return traces(words, self.written, [self.page(path).content for path in PAGES])

    def ledger(self) -> set[str]:
        """Whose entries the crash ledger holds."""
        return {path.name.strip(".").partition(".")[0] for path in (self.folder / "data" / "ledger").iterdir()}

    def verify(self) -> None:
        """Journal and vault are whole; DemoError where they are not."""
        self.sipgate("journal", "verify")
        self.sipgate("vault", "verify")

    @contextmanager
    def excluded(self, line: str) -> Iterator[None]:
        """A line on the console's list, in force; taken off by two people, and that in force too."""
        good(self.visit("admin").post("/exclusions", json={"line": line}))
        try:
            yield
        finally:
            self.include(line)

    def include(self, line: str) -> None:
        """Take a line off the console's list: the admin asks, the DPO confirms."""
        listed = good(self.visit("admin").get("/exclusions")).json()["console"]
        (number,) = [row["id"] for row in listed if row["line"] == line]
        good(self.visit("admin").post(f"/exclusions/{number}/removal"))
        good(self.visit("dpo").post(f"/exclusions/{number}/removal/confirmation"))

    @contextmanager
    def exclusions_file(self) -> Iterator[Path]:
        """The file, to be changed; as it was afterwards, and that in force."""
        path = self.folder / "excluded-lines.txt"
        before = path.read_text()
        try:
            yield path
        finally:
            if path.is_dir():
                path.rmdir()
            path.write_text(before)
            wait_until(lambda: self.page("readyz").is_success, "readiness", 5.0)
            self.until_answered_with(200)
            self.until_idle()


def today() -> date:
    """The server's local day."""
    return date.today()  # noqa: DTZ011 - enrolments count the server's local days


def found(pattern: str, text: str) -> str:
    """The first group of the pattern."""
    match = re.search(pattern, text)
    assert match is not None, pattern
    return match[1]


def good(answer: httpx.Response) -> httpx.Response:
    """An answer that is no error."""
    assert answer.is_success, answer.text
    return answer


def read_sound(export: Path) -> npt.NDArray[np.int16]:
    """Both sides of an export at 8 kHz: (2, samples), left the caller."""
    resampler = av.AudioResampler(format="s16", layout="stereo", rate=RATE)
    blocks = []
    with av.open(str(export)) as container:
        for frame in container.decode(audio=0):
            blocks += [part.to_ndarray() for part in resampler.resample(frame)]
        blocks += [part.to_ndarray() for part in resampler.resample(None)]
    return np.concatenate(blocks, axis=1).reshape(-1, 2).T.astype(np.int16)


def staffed(folder: Path, stack: ExitStack, changes: Mapping[str, str] | None = None) -> Company:
    """A company with its people, a running server, nothing enrolled."""
    company = Company(folder, stack, changes)
    company.configure()
    company.serve()
    company.hire()
    return company


def recording_company(folder: Path, stack: ExitStack, changes: Mapping[str, str] | None = None) -> Company:
    """A company whose lines 2000 to 2999 are enrolled for sound, gate open, recording."""
    company = staffed(folder, stack, changes)
    company.enrol_sound("2000-2999")
    company.open_gate()
    company.until_answered_with(200)
    company.until_idle()
    return company
