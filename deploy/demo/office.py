"""The quickstart's little company: its server, its people, one desk, one PBX. All of it by an admin's commands."""

from __future__ import annotations

import json
import secrets
import ssl
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from deploy.demo.programs import DemoError, Program, display, free_port, run, wait_until

BIN = Path(sys.executable).parent
TOP = Path(__file__).resolve().parents[2]

TRAINEE_LINE = ("2001", "+33 1 99 00 20 01", "sip:2001@pbx.example")
DELEGATE_LINE = ("20417", "+33 1 99 02 04 17", "sip:20417@pbx.example")
APPLICATION = "class=SipgateDemo"
NOTICE = """Your calls on the line that is assigned to you, and the window of the order application on your workstation,
are recorded while you are on the telephone, from the answer to the hangup, to train you on that application and for
nothing else. You see a sign on your screen while it films. "Not this call" on that sign, Ctrl+Alt+P, or *9 on the
telephone erases the call at once, and nobody asks why. You can view, export and have erased what concerns you."""

_CONFIGURATION = """\
[site]
name = "Quickstart"
country = "FR"
domains = ["pbx.example"]

[store]
data = "data"
keys = "keys"

[[siprec.listen]]
transport = "udp"
port = {sip}

[[siprec.listen]]
transport = "tcp"
port = {sip}

[[siprec.connection]]
name = "demo-pbx"
addresses = ["127.0.0.1/32"]
begins = "answer"
announcement = "before-answer"
telephone_key = "*9"

[media]
first_port = {rtp}
last_port = {rtp_last}

[lines]
exclusions_file = "excluded-lines.txt"

[mqtt]
port = {mqtt}

[console]
port = {console}
"""


@dataclass(frozen=True)
class Account:
    """Who can sign in."""

    login: str
    name: str
    role: str
    password: str


def _accounts() -> tuple[Account, ...]:
    # The DPO last: from then on accounts like these take a DPO's signature.
    people = (
        ("admin", "Ada Admin", "telephony_admin"),
        ("trainer", "Tom Trainer", "trainer"),
        ("trainee", "Tess Trainee", "trainee"),
        ("dpo", "Dora Dpo", "dpo"),
    )
    return tuple(Account(login, name, role, secrets.token_urlsafe(12)) for login, name, role in people)


class Office:
    """Set up step by step; ``folder`` is empty at first."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.accounts = {account.login: account for account in _accounts()}
        self.sip_port, self.console_port = free_port(5070), free_port(8443)
        self.config = folder / "sipgate.toml"
        self.logs = folder / "logs"
        self.desk = folder / "desk-1"
        self.server: Program | None = None
        self.client: Program | None = None
        for path in (folder, self.logs):
            path.mkdir(parents=True, exist_ok=True)

    @property
    def written(self) -> tuple[Path, ...]:
        """Where server, client and broker write."""
        return (self.folder / "data", self.folder / "keys", self.logs, self.desk)

    @property
    def url(self) -> str:
        """The console's address."""
        return f"https://localhost:{self.console_port}/"

    @property
    def ca(self) -> Path:
        """The certificate of the site's own CA."""
        return self.folder / "keys" / "pki" / "ca.crt"

    # --- an admin's commands ------------------------------------------------------------------------------------------

    def sipgate(self, *words: str, login: str | None = None, secret: str | None = None) -> str:
        """One ``sipgate`` command; as a person where ``login`` is given."""
        env = {"SIPGATE_CONFIG": str(self.config)}
        if login is not None:
            env |= {"SIPGATE_LOGIN": login, "SIPGATE_PASSWORD": self.accounts[login].password}
        if secret is not None:
            env["SIPGATE_PASSWORD"] = secret
        return run([str(BIN / "sipgate"), *words], env)

    def configure(self) -> None:
        """Write sipgate.toml and the excluded lines, and have them checked."""
        rtp = free_port()
        rtp = 30000 if rtp > 65000 else rtp - rtp % 2
        ports = {"sip": self.sip_port, "rtp": rtp, "rtp_last": rtp + 199}
        text = _CONFIGURATION.format(**ports, mqtt=free_port(8883), console=self.console_port)
        self.config.write_text(text)
        rows = f"# lines that are never recorded\n{', '.join(DELEGATE_LINE)}   # works council\n"
        (self.folder / "excluded-lines.txt").write_text(rows)
        self.sipgate("check-config")

    def serve(self) -> None:
        """Start the server and wait until it is ready."""
        log = self.logs / "sipgate.log"
        command = [str(BIN / "sipgate"), "serve", "--config", str(self.config)]
        self.server = Program("sipgate serve", command, log)
        self._stack.callback(self.server.stop)
        wait_until(self._ready, "the server's readiness", 60.0, self.server)

    def _ready(self) -> bool:
        if not self.ca.exists():
            return False
        try:
            return self.page("readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def page(self, path: str) -> httpx.Response:
        """A page of the server that needs no sign-in."""
        trust = ssl.create_default_context(cafile=str(self.ca))
        return httpx.get(self.url + path, verify=trust, trust_env=False)

    def hire(self) -> None:
        """Accounts, the line's assignment, the notice and its acknowledgement."""
        for account in self.accounts.values():
            words = ("people", "add", account.login, "--name", account.name, "--role", account.role)
            self.sipgate(*words, secret=account.password)
        notice = self.folder / "notice.txt"
        notice.write_text(NOTICE)
        self.sipgate("lines", "assign", "trainee", *TRAINEE_LINE)
        self.sipgate("notice", "publish", str(notice))
        self.sipgate("notice", "acknowledge", login="trainee")

    def furnish(self, python: str = "/usr/bin/python3") -> None:
        """The desk: a display, the business window, the capture client, enrolled and running."""
        shown = self._stack.enter_context(display(self.folder / "xvfb.log"))
        env = {"DISPLAY": shown}
        window = [python, str(TOP / "deploy" / "demo" / "business_window.py")]
        self._stack.callback(Program("the business window", window, self.folder / "window.log", env).stop)
        invitation: dict[str, Any] = json.loads(self.sipgate("enrol", "workstation", "desk-1", "--json"))
        client = str(BIN / "capture-client")
        server = ["--server", f"https://localhost:{self.console_port}", "--code", invitation["code"]]
        run([client, "enrol", *server, "--folder", str(self.desk)], env)
        self.client = Program(
            "capture-client", [client, "run", "--folder", str(self.desk)], self.logs / "desk-1.log", env
        )
        self._stack.callback(self.client.stop)
        wait_until(
            lambda: b"sipgate_workstations_ready 1.0" in self.page("metrics").content, "the client", 30.0, self.client
        )

    def enrol(self) -> None:
        """The training need, and the gate's signature over it."""
        today = datetime.now().astimezone().date()
        until = today + timedelta(days=30)
        self.sipgate(
            *("enrol", "film", "--trainee", "trainee", "--workstation", "desk-1", "--application", APPLICATION),
            *("--need", "new order form", "--from", str(today), "--until", str(until), "--reviewer", "trainer"),
        )
        opinion = ("--opinion-on", str(today), "--dpia-version", "1")
        self.sipgate("gate", "open", *opinion, login="dpo")
        self.until_in_force()

    def until_in_force(self) -> None:
        """Wait until the server goes by the gate's signature: it looks for changes four times a second."""
        programs = [self.server] if self.server is not None else []
        wait_until(lambda: b"sipgate_gate_open 1.0" in self.page("metrics").content, "the open gate", 10.0, *programs)

    # --- what came of it ----------------------------------------------------------------------------------------------

    def recordings(self) -> list[dict[str, Any]]:
        """What the trainer sees."""
        found: dict[str, Any] = json.loads(self.sipgate("recordings", "list", "--json", login="trainer"))
        return list(found["recordings"])

    def kept(self) -> set[str]:
        """The names of all recordings of which anything exists on the disk, whoever may see them."""
        data, keys = self.folder / "data", self.folder / "keys"
        found = [*(data / "media").glob("*"), *(data / "ledger").glob("*"), *(keys / "recordings").glob("*")]
        # Also a file that is just being written: .<name>.entry.tmp-…
        return {path.name.strip(".").partition(".")[0] for path in found}

    def wait_for_recording(self, others: set[str]) -> dict[str, Any]:
        """The recording that is not among ``others``, once it is ready."""
        found: list[dict[str, Any]] = []

        def ready() -> bool:
            found[:] = [r for r in self.recordings() if r["recording"] not in others and r["state"] == "ready"]
            return bool(found)

        programs = [p for p in (self.server, self.client) if p is not None]
        wait_until(ready, "the recording", 60.0, *programs)
        if len(found) != 1:
            raise DemoError(f"one call gave {len(found)} recordings")
        return found[0]

    def export(self, recording: str, to: Path) -> Path:
        """Export as the trainer, with a reason."""
        words = ("recordings", "export", recording, "--reason", "quickstart: is it all there?", "--to", str(to))
        self.sipgate(*words, login="trainer")
        return to
