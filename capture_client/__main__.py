"""``capture-client enrol|run|doctor``. Exit status: 0 done, 1 not so, 2 wrong use or not enrolled."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from capture_client.enrolment import Enrolment, default_folder, enrol
from capture_client.errors import ClientError


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "enrol":
                enrolment = enrol(options.server, options.code, options.folder)
                print(f"enrolled as {enrolment.workstation}; start it with: capture-client run")
            case "run":
                asyncio.run(_run(options.folder))
            case "doctor":
                from capture_client.doctor import examine

                return examine(options.folder, options.application)
    except ClientError as error:
        print(f"capture-client: {error}", file=sys.stderr)
        return error.exit_status
    return 0


async def _run(folder: Path) -> None:
    from capture_client.client import Client

    await Client(Enrolment.load(folder)).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="capture-client", description="Films one application's window during a call.")
    commands = parser.add_subparsers(dest="command", required=True)
    enrolling = commands.add_parser("enrol", help="join a server, once, with a code from its administrator")
    enrolling.add_argument("--server", required=True, help="https://host:port")
    enrolling.add_argument("--code", required=True)
    running = commands.add_parser("run", help="wait for the server's commands")
    examining = commands.add_parser("doctor", help="say what would be filmed now, without filming")
    examining.add_argument("--application", help="as in the enrolment, e.g. program=crm,class=Crm,title=Orders*")
    for command in (enrolling, running, examining):
        command.add_argument("--folder", type=Path, default=default_folder(), help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
