"""``sipgate enrol``: who may be recorded, on which line, for which need, until when (R4, R5); and workstations."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sipgate.commands.context import (
    DEFAULT_CONFIG,
    LARGEST,
    ConfigOption,
    JsonOption,
    day,
    journalled,
    out,
    person,
    print_json,
    stores,
    warn,
)
from sipgate.core.lines import Selector
from sipgate.errors import ConfigurationError, UsageError, WorkstationError
from sipgate.register.rows import Enrolled
from sipgate.service.stores import Stores
from sipgate.workstations.pki import Authority, check_workstation_name

app = typer.Typer(no_args_is_help=True, help="Who may be recorded, for which training need; workstations.")

Need = Annotated[str, typer.Option(help="the training need, in words: there is no other purpose")]
From = Annotated[str, typer.Option("--from", help="first day, YYYY-MM-DD")]
Until = Annotated[str, typer.Option("--until", help="last day, YYYY-MM-DD; at most 183 days in all")]
Reviewer = Annotated[str, typer.Option(help="login of the trainer who will go through the recordings")]
Capacity = Annotated[int, typer.Option(help="how many unreviewed recordings the reviewer can have at once")]


@app.command()
def film(
    trainee: Annotated[str, typer.Option(help="login of the trainee, who holds the line")],
    workstation: Annotated[str, typer.Option(help="name of the trainee's workstation")],
    application: Annotated[
        str,
        typer.Option(help="the one application that is filmed: program=…,class=…,title=… (program or class at least)"),
    ],
    need: Need,
    starts: From,
    ends: Until,
    reviewer: Reviewer,
    line: Annotated[list[str] | None, typer.Option(help="only these identities of the trainee's lines")] = None,
    capacity: Capacity = 5,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Film and sound of one trainee's calls."""
    with stores(config) as site:
        enrolled = site.register.enrolments.add_film(
            trainee=person(site, trainee).id,
            lines=tuple(line or ()),
            workstation=workstation,
            application=application,
            need=need,
            starts_on=day(starts),
            ends_on=day(ends),
            reviewer=person(site, reviewer).id,
            capacity=capacity,
            at_ns=site.now_ns(),
            file_exclusions=_file_exclusions(site),
            first=journalled(site, "enrolment-added", "enrolment", form="film"),
        )
        _report(enrolled)


@app.command()
def sound(
    line: Annotated[list[str], typer.Option(help="a number, range (2000-2999), pattern or SIP address; repeatable")],
    need: Need,
    starts: From,
    ends: Until,
    reviewer: Reviewer,
    capacity: Capacity = 5,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Sound of the calls of a line or a range; each recording belongs to whoever holds the line."""
    with stores(config) as site:
        enrolled = site.register.enrolments.add_sound(
            lines=tuple(line),
            need=need,
            starts_on=day(starts),
            ends_on=day(ends),
            reviewer=person(site, reviewer).id,
            capacity=capacity,
            at_ns=site.now_ns(),
            file_exclusions=_file_exclusions(site),
            first=journalled(site, "enrolment-added", "enrolment", form="sound"),
        )
        _report(enrolled)


@app.command()
def workstation(
    name: Annotated[str, typer.Argument(help="the workstation's name, as its certificate will carry it")],
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """A code, good once and for a day, for ``capture-client enrol`` on that workstation."""
    try:
        check_workstation_name(name)
    except WorkstationError as error:
        raise UsageError(str(error)) from error
    with stores(config) as site:
        secret = site.register.workstations.add(name, site.now_ns())
        code = f"{secret}-{Authority(site.configuration.store.keys).fingerprint}"
        site.journal.append("workstation-invited", site.now_ns(), workstation=name)
        console = site.configuration.console
        server = f"https://{console.names[0]}:{console.port}"
    if json:
        print_json({"workstation": name, "code": code, "server": server})
        return
    out.print(f"on {name}, within a day:\n  capture-client enrol --server {server} --code {code}", markup=False)


@app.command("list")
def list_enrolments(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """All enrolments, with their backlog of unreviewed recordings."""
    with stores(config) as site:
        rows = site.register.enrolments.all()
    if json:
        print_json(
            {"enrolments": [{**asdict(r), "starts_on": str(r.starts_on), "ends_on": str(r.ends_on)} for r in rows]}
        )
        return
    for row in rows:
        state = "ended" if row.ended_at_ns else f"{row.starts_on} to {row.ends_on}"
        backlog = f"backlog {row.backlog}/{row.capacity}"
        out.print(f"{row.id:4} {row.kind:5} {', '.join(row.lines):24} {state}  {backlog}  {row.need}", markup=False)


@app.command()
def end(
    number: Annotated[int, typer.Argument(min=1, max=LARGEST, help="the enrolment's number")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """End an enrolment now: its calls under way stop being recorded."""
    with stores(config) as site:
        site.register.enrolments.end(number, site.now_ns())
        out.print(f"enrolment {number} has ended")  # protection does not wait for the journal
        site.journal.append("enrolment-ended", site.now_ns(), enrolment=number)


def _file_exclusions(site: Stores) -> tuple[Selector, ...]:
    try:
        return tuple(selector for row in site.file_lines() for selector in row.selectors)
    except ConfigurationError as error:
        warn((str(error),))
        return ()


def _report(enrolled: Enrolled) -> None:
    warn(enrolled.warnings)
    out.print(f"enrolment {enrolled.id} stands")
    if enrolled.gate_closed:
        out.print("it is wider than what the DPO signed: the gate is closed until `sipgate gate open`")
