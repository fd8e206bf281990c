"""The command line. Exit status: 0 done, 1 the thing asked for is not so, 2 wrong use or configuration."""

from __future__ import annotations

import sys

try:
    import typer

    from sipgate.commands import bench, enrol, evidence, governance, lines, people, recordings, serve, workstations
    from sipgate.commands.context import err
    from sipgate.errors import SipgateError
except ModuleNotFoundError as missing:  # a workstation has the base install, and this command with it
    if missing.name is None or missing.name.partition(".")[0] in ("sipgate", "capture_client"):
        raise
    print(
        f"sipgate: {missing.name} is not installed: the server needs more than a workstation does, "
        "install sipgate with its extra [server], that is: pip install 'sipgate[server]'",
        file=sys.stderr,
    )
    sys.exit(2)

app = typer.Typer(
    name="sipgate",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Records telephone calls with one business window, for training only, by the CNIL's rules.",
)
app.command("serve")(serve.serve)
app.command("check-config")(serve.check_config)
app.add_typer(people.app, name="people")
app.add_typer(lines.app, name="lines")
app.add_typer(enrol.app, name="enrol")
app.add_typer(workstations.app, name="workstations")
app.add_typer(governance.notice, name="notice")
app.add_typer(governance.gate, name="gate")
app.add_typer(recordings.app, name="recordings")
app.add_typer(evidence.journal, name="journal")
app.add_typer(evidence.vault, name="vault")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run; errors that are meant for a person end as one line on standard error."""
    try:
        app()
    except SipgateError as error:
        err.print(f"sipgate: {error}", style="red", markup=False)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
