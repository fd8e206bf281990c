"""``sipgate notice`` and ``sipgate gate``: what must stand before anything is recorded (R9, R13)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sipgate.commands.context import (
    DEFAULT_CONFIG,
    AsOption,
    ConfigOption,
    day,
    journalled,
    moment,
    out,
    sign_in,
    stores,
)
from sipgate.errors import UsageError

notice = typer.Typer(no_args_is_help=True, help="The notice that employees acknowledge before they are recorded (R9).")
gate = typer.Typer(no_args_is_help=True, help="The activation gate: works council, DPIA, DPO (R13).")


@notice.command()
def publish(
    file: Annotated[Path, typer.Argument(help="the notice's text, UTF-8")], config: ConfigOption = DEFAULT_CONFIG
) -> None:
    """Publish a new version. Nobody is recorded until they have acknowledged this one."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from error
    with stores(config) as site:
        version = site.register.notices.publish(text, site.now_ns())
        site.journal.append("notice-published", site.now_ns(), version=version)
        out.print(f"notice version {version} is in force; everybody has to acknowledge it")


@notice.command("show")
def show_notice(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """The notice in force."""
    with stores(config) as site:
        current = site.register.notices.current()
    if current is None:
        raise typer.Exit(_say("no notice is published: nobody can be recorded"))
    out.print(f"version {current.version}, published {moment(current.published_at_ns)}\n")
    out.print(current.text, markup=False)


@notice.command()
def acknowledge(login: AsOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Read the notice in force and acknowledge it, as yourself."""
    with stores(config) as site:
        current = site.register.notices.current()
        if current is None:
            raise typer.Exit(_say("no notice is published"))
        out.print(current.text, markup=False)
        person = sign_in(site, login)
        first = journalled(site, "notice-acknowledged", "version", person)
        site.register.notices.acknowledge(person.id, current.version, site.now_ns(), first=first)
        out.print(f"\nversion {current.version} is acknowledged")


@gate.command("open")
def open_gate(
    opinion_on: Annotated[str, typer.Option(help="date of the works council's opinion, YYYY-MM-DD")],
    dpia_version: Annotated[str, typer.Option(help="version of the data protection impact assessment")],
    login: AsOption,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Sign, as the DPO, that recording may start, over what is enrolled now. A wider scope closes it again."""
    given_on = day(opinion_on)
    with stores(config) as site:
        scope = site.register.gate.scope(site.now_ns())
        out.print(f"applications: {', '.join(scope.applications) or 'none'}", markup=False)
        out.print(f"lines: {', '.join(scope.lines) or 'none'}", markup=False)
        person = sign_in(site, login)
        first = journalled(site, "gate-opened", "gate", person, dpia=dpia_version.strip())
        site.register.gate.open(given_on, dpia_version, person.id, site.now_ns(), first=first)
        out.print("the gate is open over this scope")


@gate.command("close")
def close_gate(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Withdraw: nothing is recorded any more, calls under way included."""
    with stores(config) as site:
        site.register.gate.close(site.now_ns())
        out.print("the gate is closed: nothing is recorded")  # protection does not wait for the journal
        site.journal.append("gate-closed", site.now_ns())


@gate.command("show")
def show_gate(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Whether the gate is open, over what, and on what grounds."""
    with stores(config) as site:
        current = site.register.gate.current()
    if current is None:
        raise typer.Exit(_say("the gate is closed: nothing is recorded"))
    out.print(
        f"open since {moment(current.signed_at_ns)}: opinion of {current.opinion_on}, DPIA {current.dpia_version}"
    )
    out.print(f"applications: {', '.join(current.applications)}", markup=False)
    out.print(f"lines: {', '.join(current.lines)}", markup=False)


def _say(text: str) -> int:
    out.print(text)
    return 1
