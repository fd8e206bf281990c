"""``sipgate recordings``: as a person, through the running server; export and erasure are journalled first (R7)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from sipgate.commands.api import signed_in
from sipgate.commands.context import DEFAULT_CONFIG, AsOption, ConfigOption, JsonOption, out, print_json
from sipgate.errors import StoreError, UsageError

app = typer.Typer(no_args_is_help=True, help="Your recordings: list, show, export, erase. You sign in as yourself.")

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
    force: Annotated[bool, typer.Option("--force", help="write over a file that is there")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write the recording as one WebM: left the caller, right the called, and the film."""
    # The file first: an export that has nowhere to go is not asked for, and not journalled.
    with _whole_file(to, force=force) as file, signed_in(config, login) as api:
        viewing = api.post(f"/recordings/{recording}/viewings", {"reason": reason, "kind": "export"}).json()
        size = api.save(viewing["media"].removeprefix("/api/v1"), file)
    out.print(f"{to}: {size} bytes", markup=False)


@app.command()
def erase(
    recording: Recording,
    login: AsOption,
    sure: Annotated[bool, typer.Option("--yes", help="do not ask whether you are sure")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Erase your own recording, or as its reviewer: at once, for everybody, for good. Nobody asks why."""
    if not sure:
        typer.confirm("it cannot be brought back: erase it?", abort=True, err=True)
    with signed_in(config, login) as api:
        api.delete(f"/recordings/{recording}")
    out.print("the recording is erased")


@contextmanager
def _whole_file(to: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file (0600) that bears the name ``to`` once it is whole and on the disk; before, and after an error, it is not
    there. Raises UsageError where it cannot be, StoreError when the disk fails."""
    _check_free(to, force=force)
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UsageError(f"{to}: cannot be written there: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _check_free(to, force=force)
        part.replace(to)
    except OSError as error:
        raise StoreError(f"{to}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def _check_free(to: Path, *, force: bool) -> None:
    if to.is_dir() or not to.name:
        raise UsageError(f"{to}: is a folder: name a file in it")
    if not force and os.path.lexists(to):
        raise UsageError(f"{to}: is there already: give --force to write over it")


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "recording": row["recording"],
        "story": row["story"],
        "answered_at": row["answered_at"],
        "ended_at": row["ended_at"],
        "audio_seconds": row["seconds"],
        "channels": row["channels"],
        "film": row["film"],
        "frames": row["frames"],
        "state": row["state"],
    }


def _line(row: dict[str, Any]) -> str:
    when = datetime.fromtimestamp(row["answered_at"], UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    film = f"film of {row['frames']} frames" if row["film"] else "sound only"
    return f"{row['recording']}  {when}  {row['seconds']:8.2f} s  {film:22} {row['owner']}"
