"""``sipgate journal`` and ``sipgate vault``: the checks that a DPO or an auditor runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sipgate.commands.context import DEFAULT_CONFIG, ConfigOption, JsonOption, out, print_json, stores
from sipgate.core.journal import verify
from sipgate.errors import UsageError
from sipgate.vault.verify import verify as verify_vault

journal = typer.Typer(no_args_is_help=True, help="The journal: chained, signed, pseudonyms only (R17).")
vault = typer.Typer(no_args_is_help=True, help="What is kept: sealed files and the keys apart from them.")


@journal.command("verify")
def verify_journal(
    checkpoint: Annotated[
        Path | None, typer.Option(help="a checkpoint kept elsewhere: without one, a cut-off end cannot be seen")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Check the whole chain. Exit status 1 when it was altered: the message names the entry."""
    try:
        kept = checkpoint.read_text(encoding="utf-8") if checkpoint is not None else None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{checkpoint}: cannot be read: {error}") from error
    with stores(config) as site:
        entries = verify(site.journal.lines(), site.journal_key.public_key(), kept).entries
    if json:
        print_json({"verified": True, "entries": entries, "against_checkpoint": kept is not None})
        return
    note = "" if kept is not None else " (give --checkpoint to show that its end was not cut off)"
    out.print(f"{entries} entries, unaltered{note}")


@journal.command("show")
def show_journal(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """The entries, as they stand in the file."""
    with stores(config) as site:
        for line in site.journal.lines():
            typer.echo(line.decode().rstrip())


@journal.command("checkpoint")
def make_checkpoint(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """A signed checkpoint of the journal's head, to keep elsewhere (the works council's drawer)."""
    with stores(config) as site:
        typer.echo(site.journal.checkpoint(site.now_ns()), nl=False)


@vault.command("verify")
def verify_files(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Open every sealed file of every recording. Exit status 1 when one does not open."""
    from sipgate.media.frames import FILE_NAME

    with stores(config) as site:
        problems = verify_vault(site.vault, {FILE_NAME: _open_every_window})
        count = len(site.vault.recordings())
    if json:
        found = [{"recording": p.recording, "file": p.file, "problem": p.text} for p in problems]
        print_json({"recordings": count, "problems": found})
    else:
        for problem in problems:
            out.print(f"{problem.recording}/{problem.file}: {problem.text}", markup=False)
        out.print(f"{count} recordings, {len(problems)} problems")
    raise typer.Exit(1 if problems else 0)


def _open_every_window(path: Path, data_key: bytes) -> None:
    """Raises SealError or StoreError when a frame of the live sound file does not open."""
    from sipgate.media.frames import LiveFileReader, sealed_length_ns

    length_ns = sealed_length_ns(path, data_key)
    with LiveFileReader(path, data_key) as reader:
        for _ in reader.windows(length_ns):
            pass
