"""What the client would film now, and whether it could, without filming anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from capture_client.enrolment import Enrolment
from capture_client.errors import ClientError
from capture_client.indicator import Sign
from capture_client.protocol import Application, ProtocolViolation
from capture_client.windows import open_desktop


def examine(folder: Path, pattern: str | None) -> int:
    """Print what is found; 0 when all is well, 1 when something is amiss, 2 when the pattern is no pattern."""
    try:
        application = Application.parse(pattern) if pattern else None
    except ProtocolViolation as error:
        print(f"--application: {error}")
        return 2
    checks: tuple[Callable[[], str], ...] = (
        lambda: f"enrolled as {Enrolment.load(folder).workstation}",
        _sign,
        lambda: _windows(application),
    )
    amiss = 0
    for check in checks:
        try:
            print(f"  ok  {check()}")
        except ClientError as error:
            amiss = 1
            print(f"  !!  {error}")
    return amiss


def _sign() -> str:
    sign = Sign(os.environ.get("DISPLAY", ""), lambda: None, lambda: None, lambda: None)
    sign.close()
    return "the sign can be shown; " + (
        "Ctrl+Alt+P is free for 'not this call'"
        if sign.key_taken
        else "Ctrl+Alt+P is taken (by a running client, or another program): the click on the sign works"
    )


def _windows(application: Application | None) -> str:
    desktop = open_desktop()
    try:
        seen = desktop.windows(application)
    finally:
        desktop.close()
    lines = [
        f"      {'would be filmed' if s.matches else 'not filmed'}: "
        f"program={s.program or '?'},class={s.window_class},title={s.title}"
        for s in seen
    ]
    if application is None:
        head = "nothing is filmed but what an enrolment names; give --application to see what it would match"
    else:
        head = f"{sum(s.matches for s in seen)} window(s) would be filmed during a call"
    return "\n".join([head, *lines])
