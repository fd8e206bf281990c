"""SIPp (Debian ``sip-tester``) as a recording client: scenarios of our own, on free ports, in a folder of the test's.

A scenario is a list of steps, each the XML of one SIPp command; ``run`` raises PeerError with SIPp's own report when
it did not go as written.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from sipgate.errors import PeerError
from tests.peers.sip_messages import BOUNDARY, MIXED, recording_body

needs_sipp = pytest.mark.skipif(shutil.which("sipp") is None, reason="no SIPp: apt-get install sip-tester")

_VIA = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch={branch}"
_BODY = recording_body().decode()
_BRANCH = "z9hG4bK-[pid]-[call_number]-{name}"


def send(
    method: str,
    sequence: int,
    *,
    name: str | None = None,
    in_dialog: bool = False,
    remembered: bool = False,
    body: bool = False,
    cseq_method: str | None = None,
    extra: Sequence[str] = (),
) -> str:
    """Send a request. ``name`` makes its branch: the same name, the same transaction.

    ``in_dialog``: with the tag of the last response; ``remembered``: with the tag that ``remember`` took.
    """
    tag = "[peer_tag_param]" if in_dialog else ";tag=[$tag]" if remembered else ""
    lines = [
        f"{method} sip:srs@[remote_ip]:[remote_port] SIP/2.0",
        _VIA.format(branch=_BRANCH.format(name=name or f"{method}{sequence}")),
        "From: <sip:src@[local_ip]:[local_port]>;tag=[call_number]",
        f"To: <sip:srs@[remote_ip]:[remote_port]>{tag}",
        "Call-ID: [call_id]",
        f"CSeq: {sequence} {cseq_method or method}",
        "Max-Forwards: 70",
        "Contact: <sip:src@[local_ip]:[local_port];transport=[transport]>;+sip.src",
        *extra,
    ]
    if body:
        lines += ["Require: siprec", f"Content-Type: {MIXED}"]
    lines += ["Content-Length: [len]", "", _BODY if body else ""]
    return f"<send><![CDATA[\n{chr(10).join(lines)}\n]]></send>"


def invite(**changes: str) -> str:
    """The INVITE of a recording session."""
    return send("INVITE", 1, body=True, **changes)  # type: ignore[arg-type]


def receive(status: int, *, optional: bool = False) -> str:
    """Expect a response; anything else fails the call."""
    return f'<recv response="{status}" optional="{str(optional).lower()}" rrs="true"/>'


def remember(status: int) -> str:
    """Expect a response and keep its To tag for later requests."""
    find = '<ereg regexp=";tag=(.*)" search_in="hdr" header="To:" check_it="true" assign_to="all,tag"/>'
    return f'<recv response="{status}"><action>{find}<log message="[$all]"/></action></recv>'


def expect(method: str) -> str:
    """Expect a request."""
    return f'<recv request="{method}"/>'


def pause(milliseconds: int) -> str:
    """Wait."""
    return f'<pause milliseconds="{milliseconds}"/>'


ACK = send("ACK", 1, name="ACK", in_dialog=True)
BYE = send("BYE", 2, in_dialog=True)


async def run(
    folder: Path,
    port: int,
    steps: Sequence[str],
    *,
    transport: str = "udp",
    calls: int = 1,
    rate: int = 10,
    repeat: bool = True,
    seconds: int = 20,
) -> None:
    """Play a scenario ``calls`` times against 127.0.0.1:port. ``repeat`` False: SIPp repeats nothing by itself."""
    file = folder / "scenario.xml"
    boundary = f"<!-- bodies are delimited by {BOUNDARY} -->"
    scenario = "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', f'<scenario name="SRC">{boundary}', *steps])
    file.write_text(scenario + "\n</scenario>\n", encoding="utf-8")
    command = ["sipp", f"127.0.0.1:{port}", "-sf", str(file), "-i", "127.0.0.1", "-p", str(_free_port())]
    command += ["-m", str(calls), "-r", str(rate)]
    command += ["-t", "u1" if transport == "udp" else "t1", "-nostdin", "-timeout", f"{seconds}s", "-timeout_error"]
    command += ["-trace_err", "-error_file", str(folder / "errors.log"), *([] if repeat else ["-nr"])]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(seconds + 10):
            _, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        errors = folder / "errors.log"
        report = errors.read_text(encoding="utf-8", errors="replace") if errors.exists() else ""
        raise PeerError(f"SIPp ended with {process.returncode}:\n{report}{stderr.decode('utf-8', 'replace')}")


def _free_port() -> int:
    """A port that is free over UDP and TCP just now; SIPp's own choice is 5060."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port: int = udp.getsockname()[1]
            try:
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
