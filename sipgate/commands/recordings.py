"""``sipgate recordings``: as a person, through the running server; every export is journalled first (R7)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sipgate.commands.api import signed_in
from sipgate.commands.context import DEFAULT_CONFIG, AsOption, ConfigOption, JsonOption, out, print_json

app = typer.Typer(no_args_is_help=True, help="Your recordings: list, show, export. You sign in as yourself.")

Recording = Annotated[str, typer.Argument(help="the recording's name, from `sipgate recordings list`")]


@app.command("list")
def list_recordings(login: AsOption, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """The recordings that you may see, newest first."""
    with signed_in(config, login) as api:
        rows = api.get("/recordings")["recordings"]
    if json:
        print_json({"recordings": [_entry(row) for row in rows]})
        return
    for row in rows:
        out.print(_line(row), markup=False)


@app.command()
def show(
    recording: Recording, login: AsOption, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False
) -> None:
    """What the index says of one recording."""
    with signed_in(config, login) as api:
        row = api.get(f"/recordings/{recording}")
    if json:
        print_json(_entry(row))
    else:
        out.print(_line(row), markup=False)


@app.command()
def export(
    recording: Recording,
    login: AsOption,
    reason: Annotated[str, typer.Option(prompt="why do you export it", help="journalled before the first byte")],
    to: Annotated[Path, typer.Option(help="the file to write, .webm")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write the recording as one WebM: left the caller, right the called, and the film."""
    with signed_in(config, login) as api:
        viewing = api.post(f"/recordings/{recording}/viewings", {"reason": reason, "kind": "export"}).json()
        size = api.save(viewing["media"].removeprefix("/api/v1"), to)
    out.print(f"{to}: {size} bytes", markup=False)


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "recording": row["recording"],
        "story": row["recording"],
        "answered_at": row["answered_at"],
        "ended_at": row["ended_at"],
        "audio_seconds": row["seconds"],
        "channels": 2,
        "film": row["film"],
        "frames": row["frames"],
        "state": row["state"],
    }


def _line(row: dict[str, Any]) -> str:
    when = datetime.fromtimestamp(row["answered_at"], UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    film = f"film of {row['frames']} frames" if row["film"] else "sound only"
    return f"{row['recording']}  {when}  {row['seconds']:8.2f} s  {film:22} {row['owner']}"
