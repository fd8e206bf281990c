"""``sipgate bench``: what this machine carries, measured on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from sipgate.commands.context import JsonOption, out, print_json

app = typer.Typer(no_args_is_help=True, help="Measure: how many calls this machine records.")


@app.command()
def media(
    calls: Annotated[
        int, typer.Option(min=1, help="concurrent calls, two streams each, generated on this machine")
    ] = 1000,
    seconds: Annotated[float, typer.Option(min=1.0, help="how long each of three runs is measured")] = 8.0,
    srtp: Annotated[bool, typer.Option("--srtp", help="every stream encrypted; without other recorders")] = False,
    json: JsonOption = False,
) -> None:
    """Record so many calls at once and say what was lost and what it cost; beside it, what other recorders cost."""
    from sipgate.media import bench

    _show(bench.run(calls, seconds, srtp=srtp), json)


@app.command()
def sip(
    calls: Annotated[int, typer.Option(min=100, help="calls for the throughput, as fast as they are answered")] = 5000,
    seconds: Annotated[float, typer.Option(min=1.0, help="how long 200 calls a second are set up")] = 10.0,
    held: Annotated[int, typer.Option(min=100, help="calls that stand at once, for the memory")] = 2000,
    json: JsonOption = False,
) -> None:
    """Set up recording sessions, and say how many a core takes, how fast, and what one costs in memory."""
    from sipgate.service import bench as whole
    from sipgate.taps import bench

    _show(bench.run(calls, seconds, held) | whole.run(held, min(seconds, 3.0)), json)


def _show(figures: Mapping[str, Any], json: bool) -> None:
    if json:
        print_json(dict(figures))
        return
    for name, value in figures.items():
        out.print(f"{name:28} {value}", markup=False)
