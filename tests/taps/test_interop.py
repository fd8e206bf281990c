"""What INTEROP.md says of recording clients in general; the table in README.md says which test shows which line.

What a vendor's own dialect is stands in test_vendors.py and, as SIPp plays it, in test_siprec_dialects.py.
"""

from __future__ import annotations

import ast
import asyncio
import re
from functools import cache
from pathlib import Path

import pytest

from sipgate.core.events import Ended, Offered
from tests.peers.conversation import Sent, conversing
from tests.peers.dialogue import Dialogue, ports_of
from tests.peers.recorder import recorder, udp_client
from tests.peers.sip_messages import (
    MIXED,
    TWO_STREAMS,
    metadata,
    multipart,
    recording_body,
    request,
    status_of,
)

TESTS = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("README.md")
SDP = "application/sdp"


@pytest.mark.parametrize(
    ("contact", "extra", "body", "kind"),
    [
        pytest.param("<sip:src@127.0.0.1>;+sip.src", [], TWO_STREAMS, SDP, id="+sip.src"),
        pytest.param("<sip:src@127.0.0.1>;src", [], TWO_STREAMS, SDP, id="a bare src (AudioCodes)"),
        pytest.param("<sip:src@127.0.0.1>", ["Require: siprec"], TWO_STREAMS, SDP, id="Require: siprec"),
        pytest.param("<sip:src@127.0.0.1>", [], recording_body(), MIXED, id="the metadata"),
    ],
)
async def test_any_one_mark_makes_a_recording_session(contact: str, extra: list[str], body: bytes, kind: str) -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        header = [f"Contact: {contact}", *extra]
        answer = await Dialogue(client).ask(body=body, content_type=kind, drop=["Contact"], extra=header)
        assert (status_of(answer), ports_of(answer)) == (200, [30000, 30002])
        assert len(found.all(Offered)) == 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("size", [2_800, 30_000])
async def test_an_invite_beyond_the_mtu_is_read_to_its_end(transport: str, size: int) -> None:
    padding = f"<x:pad xmlns:x='urn:x'>{'p' * size}</x:pad><x:last xmlns:x='urn:x'>sip:2100@pbx.example</x:last>"
    document = metadata(
        ("a", "sip:+33612345678@pbx.example", ["1"]), ("b", "sip:2001@pbx.example", ["2"]), extra=padding
    )
    async with recorder() as found, conversing(transport, Sent(found.port(transport))) as client:
        assert await client.ask("long", "INVITE", 1, recording_body(TWO_STREAMS, document)) == 200
        parties = found.all(Offered)[0].parties
    assert "2100" in {str(identity) for identity in parties[-1].identities}


async def test_after_a_503_the_next_try_under_another_call_id_is_known_to_be_the_same_call() -> None:
    """OpenSIPS tries its second URI within 0.2 ms, under a new Call-ID; so does whoever has a recorder in reserve."""
    async with recorder() as found, udp_client(found.port("udp")) as client:
        found.tap.available = False
        assert status_of(await Dialogue(client).ask(body=recording_body())) == 503
        found.tap.available = True
        for call in ("second", "third"):
            data = request(body=recording_body(), content_type=MIXED, call_id=call, branch=f"z9hG4bK{call}")
            assert status_of(await client.ask(data)) == 200
    second, third = found.all(Offered)
    assert "call-1@pbx" in second.keys & third.keys


async def test_opensips_whose_call_is_over_acknowledges_the_200_and_hangs_up_at_once() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        assert status_of(await dialogue.ask(body=recording_body())) == 200  # its ACK is on the way, unread
        assert status_of(await dialogue.ask("BYE")) == 200
        assert [type(event) for event in found.events] == [Offered, Ended]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_opensips_answers_our_bye_with_405_and_the_session_is_over_all_the_same(transport: str) -> None:
    offerless = multipart(("application/rs-metadata+xml", metadata(("a", "sip:2001@pbx.example", []))))
    async with recorder() as found, conversing(transport, Sent(found.port(transport))) as client:
        assert await client.ask("kept", "INVITE", 1, offerless) == 200  # the ACK brings no answer: we hang up
        bye = await client.expect("BYE")
        await found.wait_for(Ended)
        client.answer(bye, "405 Method Not Allowed")
        await asyncio.sleep(0.7)  # over UDP a BYE is repeated after half a second
        assert client.received.empty()
        assert await client.ask("kept", "UPDATE", 2, recording_body()) == 481
        assert len(found.all(Ended)) == 1


# --- the table --------------------------------------------------------------------------------------------------------


def _rows() -> list[tuple[str, list[tuple[str, str]]]]:
    """Each row of the table: the line of INTEROP.md, and (file, name) of the tests that show it."""
    rows = [line for line in TABLE.read_text().splitlines() if line.startswith("| ")][1:]
    named = re.compile(r"`([a-z_/]+\.py)::(test_\w+)`")
    return [(line.split("|")[1].strip(), [(m[1], m[2]) for m in named.finditer(line)]) for line in rows]


@cache
def _tests_of(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_row_of_the_table_names_tests_that_exist() -> None:
    rows = _rows()
    assert len(rows) >= 30
    for line, named in rows:
        assert named, line
        for file, name in named:
            assert name in _tests_of(file), f"{line}: {file} has no {name}"
