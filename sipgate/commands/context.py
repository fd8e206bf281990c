"""What every command needs: the configuration, the stores, who acts, and how to print."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from sipgate import config
from sipgate.errors import AccessError, UsageError
from sipgate.register.database import First
from sipgate.register.rows import Person
from sipgate.service.stores import Stores, open_stores

ConfigOption = Annotated[
    Path, typer.Option("--config", envvar="SIPGATE_CONFIG", help="the configuration file", show_default=True)
]
AsOption = Annotated[
    str, typer.Option("--as", envvar="SIPGATE_LOGIN", help="who you are; your password is asked (or SIPGATE_PASSWORD)")
]
JsonOption = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]
LARGEST = 2**53
"""Of the numbers of rows: more does not fit into the register."""
DEFAULT_CONFIG = Path("sipgate.toml")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def stores(path: Path) -> Iterator[Stores]:
    """The stores that the configuration at ``path`` names, closed at the end."""
    opened = open_stores(config.load(path))
    try:
        yield opened
    finally:
        opened.register.close()


def person(site: Stores, login: str) -> Person:
    """The person of this login, without asking a password: to name somebody, not to act as them."""
    found = site.register.people.by_login(login)
    if found is None:
        raise UsageError(f"nobody has the login {login}: see `sipgate people list`")
    return found


def sign_in(site: Stores, login: str) -> Person:
    """The person of this login, who has given the password."""
    found = site.register.people.authenticate(login, password(f"password of {login}"))
    if found is None:
        raise AccessError(f"not signed in: login {login} and this password do not go together")
    return found


def journalled(site: Stores, kind: str, name: str, by: Person | None = None, **fields: str | int) -> First:
    """What the register is to do before an act stands that weakens protection or widens recording: the journal's entry,
    in which ``name`` is the act's row. Raises JournalError, and then nothing is done."""
    who = {"person": site.register.people.pseudonym(by.id)} if by is not None else {}

    def first(row: int) -> None:
        site.journal.append(kind, site.now_ns(), **{name: row}, **who, **fields)

    return first


def password(prompt: str) -> str:
    """The password of whoever acts: from SIPGATE_PASSWORD, or asked without echo."""
    return os.environ.get("SIPGATE_PASSWORD") or _asked(prompt, twice=False)


def new_password(*, signed_in: bool) -> str:
    """A new one: from SIPGATE_NEW_PASSWORD, or asked twice without echo.

    SIPGATE_PASSWORD serves as well, unless somebody ``signed_in`` with it: theirs must not become another's.
    """
    given = os.environ.get("SIPGATE_NEW_PASSWORD") or (None if signed_in else os.environ.get("SIPGATE_PASSWORD"))
    return given or _asked("new password", twice=True)


def _asked(prompt: str, *, twice: bool) -> str:
    return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True))


def print_json(document: Any) -> None:
    """One document on standard output, and nothing else there."""
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def day(text: str) -> date:
    """A date as YYYY-MM-DD."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text}: write a date as YYYY-MM-DD") from error


def moment(at_ns: int) -> str:
    """A time for people: local, to the second."""
    return datetime.fromtimestamp(at_ns / 1e9, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def warn(lines: tuple[str, ...]) -> None:
    """Warnings on standard error."""
    for line in lines:
        err.print(f"[yellow]warning:[/] {escape(line)}")
