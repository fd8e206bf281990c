"""A site of files alone, and its commands in this process, with the exit status that ``sipgate`` itself would give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from sipgate.__main__ import app
from sipgate.config import load
from sipgate.errors import SipgateError
from sipgate.register.rows import Role
from sipgate.service.stores import Stores, open_stores

PASSWORD = "correct horse battery"
NEW_PASSWORD = "another horse entirely"
PEOPLE = (
    ("tess", Role.TRAINEE),
    ("tom", Role.TRAINER),
    ("ada", Role.TELEPHONY_ADMIN),
    ("alan", Role.TELEPHONY_ADMIN),
    ("dora", Role.DPO),
)


@dataclass(frozen=True)
class Said:
    """What a command ended with, and what it said on both streams."""

    status: int
    text: str

    @property
    def document(self) -> Any:
        """Of ``--json``."""
        return json.loads(self.text)


class Desk:
    """An admin at a shell of the server."""

    def __init__(self, config: Path) -> None:
        self.config = config

    def __call__(self, *words: str, keys: str | None = None, **variables: str) -> Said:
        """``sipgate words``; ``keys``: what is typed. Passwords are everybody's, unless ``variables`` say otherwise."""
        env: dict[str, str | None] = {
            "SIPGATE_CONFIG": str(self.config),
            "SIPGATE_PASSWORD": PASSWORD,
            "SIPGATE_NEW_PASSWORD": NEW_PASSWORD,
            "SIPGATE_LOGIN": None,
        }
        done = CliRunner().invoke(app, list(words), input=keys, env=env | variables)
        if isinstance(done.exception, SipgateError):
            assert len(str(done.exception).splitlines()) == 1
            return Said(done.exception.exit_status, str(done.exception))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Said(done.exit_code, done.output)

    @contextmanager
    def stores(self) -> Iterator[Stores]:
        """What is behind the commands."""
        site = open_stores(load(self.config))
        try:
            yield site
        finally:
            site.register.close()

    def journal(self) -> list[tuple[str, dict[str, Any]]]:
        """Each entry's kind and fields."""
        with self.stores() as site:
            lines = [json.loads(line) for line in site.journal.lines()]
        return [(line["kind"], line["fields"]) for line in lines if "kind" in line]

    def pseudonym(self, login: str) -> str:
        """What stands in the journal for a person."""
        with self.stores() as site:
            person = site.register.people.by_login(login)
            assert person is not None
            return site.register.people.pseudonym(person.id)


def empty(folder: Path) -> Desk:
    """A site in which nobody has an account."""
    config = folder / "sipgate.toml"
    config.write_text('[site]\ndomains = ["pbx.example"]\n')
    return Desk(config)


def staffed(folder: Path) -> Desk:
    """A site with ``PEOPLE``, whose password is ``PASSWORD``."""
    desk = empty(folder)
    with desk.stores() as site:
        for login, role in PEOPLE:
            site.register.people.add(login, login.title(), PASSWORD, {role})
    return desk
