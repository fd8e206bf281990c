"""``./deploy/quickstart``: a small company in one folder; a call that is recorded, and one that leaves nothing.

Standard output stays empty, but for the one JSON document of ``--once``; what happens is told on standard error.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from deploy.demo.evidence import read_film, traces
from deploy.demo.office import DELEGATE_LINE, TOP, TRAINEE_LINE, Office
from deploy.demo.programs import DemoError
from sipgate.errors import SipgateError
from sipgate.phones.recording_client import CallReport, RecordedCall, place
from sipgate.phones.speech import write_dialogue
from sipgate.phones.worker import require_pjsua2

CALL_SECONDS = 12.0
CUSTOMER, OTHER_CUSTOMER = "+33639980001", "+33639984107"
_DECLINED = 603
_CLOCKS_AGREE_SECONDS = 0.1


class Story:
    """Tells the steps as they happen."""

    def __init__(self) -> None:
        self.screen = Console(stderr=True, highlight=False)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """One step: shown while it is done, then ticked."""
        with self.screen.status(f"{text} …"):
            yield
        self.screen.print(f"[green]✓[/] {text}")


def main() -> int:
    """Run; 0 when all of it was seen, 1 when something was not, with one line that says what."""
    parser = argparse.ArgumentParser(prog="./deploy/quickstart")
    parser.add_argument("--once", action="store_true", help="two calls, one JSON document on standard output, end")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    story = Story()
    try:
        require_pjsua2()  # said now, not after minutes of setting up
        with ExitStack() as stack:
            folder = TOP / ".quickstart"
            stack.enter_context(_lock(TOP / ".quickstart.lock"))
            shutil.rmtree(folder, ignore_errors=True)
            _tell(Office(folder, stack), story, once=options.once)
    except (DemoError, SipgateError) as error:
        story.screen.print(f"[red]failed:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        story.screen.print("ended; `rm -r .quickstart` removes all that it wrote")
    return 0


@contextmanager
def _lock(path: Path) -> Iterator[IO[str]]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError("a quickstart is running already in this folder: end it first (Ctrl-C there)") from error
        yield file


def _tell(office: Office, story: Story, *, once: bool) -> None:
    with story.step("configuration, and the lines that are never recorded"):
        office.configure()
    with story.step("sipgate serve: SIP, broker, CA, register, console"):
        office.serve()
    with story.step("people; the trainee's line; the notice, acknowledged by the trainee"):
        office.hire()
    with story.step("a desk: business window, capture client, enrolled by code"):
        office.furnish()
    with story.step("the enrolment; the DPO opens the activation gate over it"):
        office.enrol()
    recorded = _permitted_call(office, story)
    excluded = _excluded_call(office, story)
    if once:
        print(json.dumps({"recorded": recorded, "excluded": excluded}))
        return
    _stay(office, story, recorded)


def _call(office: Office, caller: str, callee: str) -> CallReport:
    speech = office.folder / "pbx"
    speech.mkdir(exist_ok=True)
    caller_wav, callee_wav = speech / "caller.wav", speech / "callee.wav"
    write_dialogue(caller_wav, callee_wav, CALL_SECONDS)
    target = f"sip:srs@127.0.0.1:{office.sip_port}"
    return place(RecordedCall(target, caller, callee, caller_wav, callee_wav, CALL_SECONDS))


def _permitted_call(office: Office, story: Story) -> dict[str, Any]:
    before = office.kept()
    with story.step(f"a call of {CALL_SECONDS:.0f} s with speech on both sides: answered, filmed, hung up"):
        report = _call(office, f"sip:{CUSTOMER}@carrier.example", TRAINEE_LINE[2])
        if report.answered_at_ns is None or report.hung_up_at_ns is None:
            raise DemoError(f"the permitted call was not recorded: the recorder answered {report.status}")
    with story.step("the recording: sound and film in one file, exported by the trainer"):
        row = office.wait_for_recording(before)
        export = office.export(row["recording"], office.folder / "export.webm")
    with story.step("the film, decoded: every frame lies between answer and hangup"):
        film = read_film(export)
        _agree("answer", row["answered_at"], report.answered_at_ns / 1e9)
        _agree("hangup", row["ended_at"], report.hung_up_at_ns / 1e9)
        if not row["answered_at"] <= film.first_frame_at <= film.last_frame_at <= row["ended_at"]:
            raise DemoError("a frame of the film lies outside the call")
    return {
        "recording": row["recording"],
        "answered_at": row["answered_at"],
        "hung_up_at": row["ended_at"],
        "first_frame_at": round(film.first_frame_at, 6),
        "last_frame_at": round(film.last_frame_at, 6),
        "frames": film.frames,
        "audio_seconds": round(film.audio_seconds, 6),
        "export": str(export),
    }


def _agree(what: str, server: float, telephone: float) -> None:
    if abs(server - telephone) > _CLOCKS_AGREE_SECONDS:
        raise DemoError(f"the {what} that the telephone saw and the one in the recording differ by more than 0.1 s")


def _excluded_call(office: Office, story: Story) -> dict[str, Any]:
    before = office.kept()
    with story.step("a call from a staff representative's line: declined by the recorder"):
        report = _call(office, DELEGATE_LINE[2], f"sip:{OTHER_CUSTOMER}@carrier.example")
        if report.status != _DECLINED:
            raise DemoError(f"the recorder answered {report.status} to the excluded call, not 603")
    with story.step("every file that server, client and broker wrote, searched for its numbers, Call-ID and tags"):
        words = [DELEGATE_LINE[0], "33199020417", "0199020417", OTHER_CUSTOMER, OTHER_CUSTOMER[1:], "0639984107"]
        pages = [office.page(path).content for path in ("metrics", "readyz", "healthz")]
        found = traces([*words, *report.traces], office.written, pages)
    return {"recordings": len(office.kept() - before), "traces": found}


def _stay(office: Office, story: Story, recorded: dict[str, Any]) -> None:
    rows = "\n".join(f"  {a.login:8} {a.password}   {a.role}" for a in office.accounts.values())
    text = (
        f"The console: {office.url}\n"
        f"Its certificate is of this site's own CA ({office.ca.relative_to(TOP)}): your browser will ask once.\n\n"
        f"Sign in as the trainer or the trainee to watch the call; the admin sees the excluded lines, no recording:\n"
        f"{rows}\n\n"
        f"The same film as a file: {Path(recorded['export']).relative_to(TOP)}\n"
        f"Command line: SIPGATE_CONFIG={office.config.relative_to(TOP)} .venv/bin/sipgate --help\n\n"
        "Ctrl-C ends it."
    )
    story.screen.print(Panel(text, title="it works", expand=False))
    signal.pause()


if __name__ == "__main__":
    sys.exit(main())
