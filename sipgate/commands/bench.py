"""``sipgate bench``: what this machine carries, measured on it."""

from __future__ import annotations

from typing import Annotated

import typer

from sipgate.commands.context import JsonOption, out, print_json

app = typer.Typer(no_args_is_help=True, help="Measure: how many calls this machine records.")


@app.callback()
def _group() -> None:
    """Keep ``bench`` a group while it has one command."""


@app.command()
def media(
    calls: Annotated[
        int, typer.Option(min=1, help="concurrent calls, two streams each, generated on this machine")
    ] = 100,
    seconds: Annotated[float, typer.Option(min=1.0, help="how long")] = 30.0,
    json: JsonOption = False,
) -> None:
    """Record so many calls for so long, and say what was lost and what it cost."""
    from sipgate.media import bench

    figures = bench.run(calls, seconds)
    if json:
        print_json(figures)
        return
    for name, value in figures.items():
        out.print(f"{name:28} {value}", markup=False)
