"""A SIPREC tap in a process of its own, to be killed: ``python -m tests.peers.tap_process PORT``.

It listens on PORT over UDP and TCP (and over TLS on another, with certificate, key and CA, where they are given), and
takes every session. On standard output it prints a line when it listens, and one for each session: ``Offered`` or
``Ended`` and the session's Call-ID. On standard input ``away`` and ``here`` make it unavailable and available again
(what a full disk does), ``refuse`` and ``accept`` say what policy would; after ``wait`` nothing is decided.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections.abc import Callable

from sipgate.core.events import Offered
from tests.peers.recorder import Recorder, accept, recorder, refuse, wait


class _Service:
    """What the tap's owner decides, and prints."""

    def __init__(self) -> None:
        self.decide = accept
        self._keys: dict[int, str] = {}

    def offered(self, found: Recorder, offered: Offered) -> None:
        self._keys[offered.session] = min(offered.keys)
        _say(f"Offered {min(offered.keys)}")
        self.decide(found, offered)

    def obey(self, found: Recorder, command: str) -> None:
        match command:
            case "away" | "here":
                found.tap.available = command == "here"
            case "refuse":
                self.decide = refuse
            case "accept":
                self.decide = accept
            case "wait":
                self.decide = wait
        _say(f"done {command}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _commands(loop: asyncio.AbstractEventLoop, obey: Callable[[str], None], over: asyncio.Event) -> None:
    for line in sys.stdin:
        loop.call_soon_threadsafe(obey, line.strip())
    loop.call_soon_threadsafe(over.set)


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--tls", type=int)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    options = parser.parse_args()
    listen: list[dict[str, object]] = [{"transport": kind, "port": options.port} for kind in ("udp", "tcp")]
    if options.tls is not None:
        files = {"certificate": options.certificate, "key": options.key}
        listen.append({"transport": "tls", "port": options.tls, **files})
    service, over = _Service(), asyncio.Event()
    async with recorder(service.offered, listen=listen) as found:
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=_commands, args=(loop, lambda c: service.obey(found, c), over), daemon=True)
        thread.start()
        _say("listens")
        await over.wait()


if __name__ == "__main__":
    asyncio.run(_main())
