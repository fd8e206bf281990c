"""``sipgate serve`` and ``sipgate check-config``."""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
from typing import TYPE_CHECKING

import structlog

from sipgate import config as configuration
from sipgate.commands.context import DEFAULT_CONFIG, ConfigOption, out, warn
from sipgate.register.exclusions_file import read_exclusions
from sipgate.service.hardening import harden
from sipgate.service.stores import open_stores
from sipgate.taps.tls import context_for
from sipgate.workstations.pki import alternative_names

if TYPE_CHECKING:
    from sipgate.service.server import Server


SWITCH_SECONDS = 0.0005
"""How long a thread that computes keeps the others waiting, at most. The loop lets go of the interpreter with every
system call: at Python's 5 ms, signalling would wait that long many times a call while a recording is being finished."""


def serve(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Observe calls, record those that may be, serve the console. Stops at SIGTERM or Ctrl-C."""
    from sipgate.service.server import Server

    harden()
    sys.setswitchinterval(SWITCH_SECONDS)
    _log_to_stderr()
    stores = open_stores(configuration.load(config))
    try:
        asyncio.run(_serve(Server(stores, _announce)))
    finally:
        stores.register.close()


async def _serve(server: Server) -> None:
    await server.run()


def _announce(server: Server) -> None:
    log = structlog.get_logger("sipgate")
    for transport, address, port in server.sip:
        log.info("listening for recording sessions", transport=transport, address=address, port=port)
    log.info("the console is at", url=server.console_url)


def _log_to_stderr() -> None:
    """One line an event, on standard error. Libraries are heard from warnings on, and never with a payload."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # as it is when a line is written
    )


def check_config(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Read the configuration and the files that it names, and say what is wrong with them."""
    found = configuration.load(config)
    alternative_names(found.console.names)
    for place, listen in enumerate(found.siprec.listen):
        if listen.transport == "tls":
            context_for(listen, f"siprec.listen.{place}", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    path = found.lines.exclusions_file
    rows = read_exclusions(path, found.site.country) if path is not None else ()
    warn(tuple(w for row in rows for w in row.warnings))
    if not found.siprec.connection:
        warn(("no [[siprec.connection]] is configured: nobody may open a recording session",))
    if not found.site.domains:
        warn(("site.domains is not given: extension 2001 of any company is taken for this site's own",))
    out.print(f"{config} is right: {len(found.siprec.connection)} connections, {len(rows)} rows of excluded lines")
