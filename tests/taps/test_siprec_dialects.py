"""Each vendor's dialect as SIPp plays it (tests/peers/sipp/VENDOR.xml), over UDP, TCP and TLS.

The scenarios say what each request must get (status, m-lines, labels, directions, timers); here is what the tap told.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509

from sipgate.core.events import Ended, Event, Offered, PartiesChanged, Side, StreamsChanged
from tests.peers.certificates import TestAuthority
from tests.peers.recorder import Recorder, recorder
from tests.peers.sipp import needs_sipp
from tests.peers.sipp_dialects import Line, Tls, answers_to, lines_of, needs_socat, play, tls_bridge

pytestmark = [pytest.mark.peer, needs_sipp]

CALLS = 2
CALLER, CALLEE = "+33612345678", "2001"
TRANSPORTS = ["udp", "tcp", pytest.param("tls", marks=needs_socat)]


@dataclass(frozen=True)
class Dialect:
    """``answers``: label, port and direction by m-line, of the answer to each INVITE of one call.

    ``events``: what the tap tells of one call. ``others``: who is seen without a side, so that exclusion sees them.
    """

    sides: Mapping[str, Side | None]
    answers: tuple[tuple[tuple[str | None, int, str], ...], ...]
    connection: Mapping[str, object] = field(default_factory=dict)
    events: tuple[type[Event], ...] = (Offered, Ended)
    others: frozenset[str] = frozenset()


def _both(
    one: str | None, other: str | None, *ways: str, first: int = 30000
) -> tuple[tuple[str | None, int, str], ...]:
    ways = ways if len(ways) == 2 else ways * 2
    return (one, first, ways[0]), (other, first + 2, ways[1])


TWO = {"1": Side.CALLER, "2": Side.CALLEE}
ON = _both("1", "2", "recvonly")
ORACLE = ("16777326", "16777327")
WORDS = ("caller-leg", "callee-leg")
OFF, CUBE = _both(None, None, "inactive"), _both(None, None, "recvonly")
DIALECTS = {
    "audiocodes": Dialect(TWO, (_both("1", "2", "inactive"), ON)),
    "broadworks": Dialect(TWO, (ON,)),
    "ribbon": Dialect(TWO, (ON, ON), {"crossed_streams": True}),
    "oracle": Dialect(
        dict(zip(ORACLE, Side, strict=True)),
        (_both(*ORACLE, "recvonly", "inactive"), _both(*ORACLE, "recvonly")),
        {"begins": "early"},
        others=frozenset({"2100"}),
    ),
    "cisco_cube": Dialect({"#0": Side.CALLER, "#1": Side.CALLEE}, (OFF, CUBE, OFF, CUBE)),
    # Held by 0.0.0.0 there is nobody to send receiver reports to: a change of streams (new ports here).
    "netsapiens": Dialect(
        dict(zip(WORDS, Side, strict=True)),
        (_both(*WORDS, "recvonly"), _both(*WORDS, "recvonly", first=30100)),
        events=(Offered, StreamsChanged, Ended),
    ),
    "metaswitch": Dialect({"1": None}, ((("1", 30000, "recvonly"),),)),
    "webex": Dialect(TWO, (ON,)),
    "opensips": Dialect(
        {"1": Side.CALLER, "0": Side.CALLEE},
        (_both("1", "0", "recvonly"), _both("1", "0", "recvonly", "inactive"), _both("1", "0", "recvonly")),
    ),
}


@asynccontextmanager
async def _heard(folder: Path, transport: str, **connection: object) -> AsyncIterator[tuple[Recorder, int]]:
    """A recorder, and the port at which SIPp reaches it; over TLS it must show a certificate of its own."""
    if transport != "tls":
        async with recorder(connections=[connection]) as found:
            yield found, found.port(transport)
        return
    authority = TestAuthority(folder)
    certificate, key = authority.issue("recorder", x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    files = {"certificate": str(certificate), "key": str(key), "client_ca": str(authority.ca)}
    listen = [{"transport": "tls", "port": 0, **files}]
    async with recorder(listen=listen, connections=[{"certificate": "sbc.example", **connection}]) as found:
        shown = authority.issue("sbc.example")
        async with tls_bridge(Tls(found.port("tls"), authority.ca, *shown)) as port:
            yield found, port


def _of_one(events: list[Event], session: int) -> list[Event]:
    return [
        e for e in events if isinstance(e, Offered | Ended | PartiesChanged | StreamsChanged) if e.session == session
    ]


def _identities(offered: Offered | PartiesChanged, side: Side | None) -> set[str]:
    return {str(i) for party in offered.parties if party.side is side for i in party.identities}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("vendor", DIALECTS)
async def test_a_dialect(tmp_path: Path, vendor: str, transport: str) -> None:
    dialect = DIALECTS[vendor]
    async with _heard(tmp_path, transport, **dialect.connection) as (found, port):
        messages = await play(tmp_path, vendor, port, transport=transport, calls=CALLS)
        for _ in range(CALLS):
            await found.wait_for(Ended, CALLS)
    answers = answers_to(messages, "INVITE")
    by_call = {m.header("Call-ID"): [a for a in answers if a.header("Call-ID") == m.header("Call-ID")] for m in answers}
    assert len(by_call) == CALLS
    for of_one in by_call.values():
        lines = [tuple(Line("audio", port, label, way) for label, port, way in line) for line in dialect.answers]
        assert [lines_of(answer) for answer in of_one] == lines
    for offered in found.all(Offered):
        assert {stream.label: stream.side for stream in offered.streams} == dialect.sides
        assert CALLER in _identities(offered, Side.CALLER)
        assert CALLEE in _identities(offered, Side.CALLEE)
        assert dialect.others <= _identities(offered, None)
        assert [type(event) for event in _of_one(found.events, offered.session)] == list(dialect.events)
    assert all(ended.established for ended in found.all(Ended))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_avaya_whose_participants_are_named_by_an_update(tmp_path: Path, transport: str) -> None:
    async with _heard(tmp_path, transport) as (found, port):
        await play(tmp_path, "avaya", port, transport=transport, calls=CALLS)
        await found.wait_for(Ended, CALLS)
    for offered, changed in zip(found.all(Offered), found.all(PartiesChanged), strict=True):
        assert _identities(offered, Side.CALLER) | _identities(offered, Side.CALLEE) == set()
        assert CALLER in _identities(changed, Side.CALLER)
        assert CALLEE in _identities(changed, Side.CALLEE)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_cucms_two_voices_in_two_sessions_with_one_key(tmp_path: Path, transport: str) -> None:
    async with _heard(tmp_path, transport) as (found, port):
        messages = await play(tmp_path, "cucm", port, transport=transport, calls=2)
        await found.wait_for(Ended, 2)
    near, far = sorted(found.all(Offered), key=lambda offered: offered.streams[0].side is Side.CALLER)
    assert [(s.label, s.side) for s in near.streams + far.streams] == [("#0", Side.CALLEE), ("#0", Side.CALLER)]
    assert "x-refci=102@pbx.example" in near.keys & far.keys
    for offered in (near, far):
        assert offered.half
        assert CALLER in _identities(offered, Side.CALLER)
        assert CALLEE in _identities(offered, Side.CALLEE)
    offers = [lines_of(answer) for answer in answers_to(messages, "INVITE")]
    assert offers == [(Line("audio", 30000, None, "recvonly"),)] * 2
    assert [stream.port for changed in found.all(StreamsChanged) for stream in changed.streams] == [40000, 40000]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("available", "status"), [(True, "200"), (False, "503")])
async def test_genesys_pings_hear_whether_calls_can_be_taken(
    tmp_path: Path, transport: str, available: bool, status: str
) -> None:
    async with _heard(tmp_path, transport) as (found, port):
        found.tap.available = available
        messages = await play(tmp_path, "genesys", port, transport=transport)
    answers = answers_to(messages, "OPTIONS")
    assert [answer.text.split()[1] for answer in answers] == [status] * 3
    assert all(("Retry-After:" in answer.text) is not available for answer in answers)
    assert found.events == []
