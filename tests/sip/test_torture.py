"""The messages of RFC 4475 and RFC 5118: a smoke test over all. They may not be copied: read where they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipgate.errors import SipgateError
from sipgate.sip.message import Flow, check, split
from sipgate.sip.uas import UserAgentServer
from tests.peers.sip_messages import status_of

CASES = Path(__file__).parents[3] / "shared" / "cases"
# The messages that their RFC calls valid, for an element of RFC 3261 (RFC 4475 §3.1.1, RFC 5118 §4).
VALID = [
    *("rfc4475/wsinv.dat", "rfc4475/intmeth.dat", "rfc4475/esc01.dat", "rfc4475/escnull.dat", "rfc4475/esc02.dat"),
    *("rfc4475/lwsdisp.dat", "rfc4475/longreq.dat", "rfc4475/dblreq.dat", "rfc4475/semiuri.dat"),
    *("rfc4475/transports.dat", "rfc4475/mpart01.dat", "rfc4475/unreason.dat", "rfc4475/noreason.dat"),
    *("rfc5118/ipv6-good", "rfc5118/port-ambiguous", "rfc5118/port-unambiguous", "rfc5118/ipv4-mapped-ipv6"),
    *("rfc5118/via-received-param-with-delim", "rfc5118/mult-ip-in-header", "rfc5118/mult-ip-in-sdp"),
]
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="the RFCs' messages do not lie beside this checkout")


@needs_cases
def test_no_message_of_the_rfcs_raises_anything_undocumented() -> None:
    files = [path for name in ("rfc4475", "rfc5118") for path in sorted((CASES / name).iterdir())]
    assert len(files) >= 60
    for path in files:
        uas = UserAgentServer(lambda: "drawn", lambda flow: "<sip:srs@h.example>", lambda flow: "UDP h.example")
        for flow in (Flow("udp", 1, "192.0.2.1", 5060), Flow("tcp", 2, "192.0.2.1", 5060)):
            uas.receive(path.read_bytes(), flow, 0)
            assert all(status_of(data) != 500 for data, _ in uas.outgoing()), path.name


@needs_cases
@pytest.mark.parametrize("name", VALID)
def test_what_the_rfcs_call_valid_is_understood(name: str) -> None:
    try:
        check(split((CASES / name).read_bytes()))
    except SipgateError as error:
        pytest.fail(f"{name}: {error}")
