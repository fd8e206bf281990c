"""``sipgate workstations``: which there are, and which are trusted no more. ``sipgate enrol workstation`` adds one."""

from __future__ import annotations

from typing import Annotated

import typer

from sipgate.commands.context import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    moment,
    out,
    print_json,
    stores,
)

app = typer.Typer(no_args_is_help=True, help="Workstations: list, revoke.")


@app.command("list")
def list_workstations(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Every workstation, and whether it is enrolled."""
    with stores(config) as site:
        rows = site.register.workstations.all()
    if json:
        print_json({"workstations": [{"workstation": row.name, "enrolled": row.enrolled} for row in rows]})
        return
    for row in rows:
        state = "enrolled" if row.enrolled else "not enrolled"
        out.print(f"{row.name:24} {state:12} added {moment(row.added_at_ns)}", markup=False)


@app.command()
def revoke(workstation: Annotated[str, typer.Argument(help="its name")], config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Trust a workstation no more: it films nothing until it is enrolled anew."""
    with stores(config) as site:
        site.register.workstations.revoke(workstation)
        out.print(f"{workstation} is trusted no more", markup=False)  # protection does not wait for the journal
        site.journal.append("workstation-revoked", site.now_ns(), workstation=workstation)
