"""Kamailio, as deploy/kamailio configures it, before two recorders in processes of their own, over UDP and over TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from tests.peers.certificates import TestAuthority
from tests.peers.kamailio import DEPLOYED, Dispatcher, RecorderProcess, needs_kamailio, until
from tests.peers.recorder import UdpClient, udp_client
from tests.peers.sip_messages import (
    MIXED,
    TWO_STREAMS,
    field_of,
    metadata,
    multipart,
    recording_body,
    request,
    status_of,
    tag_of,
)
from tests.peers.sipp import needs_sipp
from tests.peers.sipp_answering import free_port
from tests.peers.sipp_dialects import Tls, answers_to, needs_socat, play, tls_bridge

pytestmark = [pytest.mark.peer, needs_kamailio, needs_sipp]

PING_SECONDS = 1
RESPONSE_SECONDS = 1.0  # RESPONSE_MS of the configuration
NUMBERS = ("+33612345678", "33612345678", "2001")


@dataclass(frozen=True)
class Site:
    """Two recorders and what stands before them."""

    kamailio: Dispatcher
    recorders: tuple[RecorderProcess, RecorderProcess]
    tls: Tls

    def offered(self) -> int:
        return sum(len(recorder.offered) for recorder in self.recorders)

    def state(self, recorder: RecorderProcess) -> str:
        """A, T or I."""
        return self.kamailio.flags.get(recorder.tls or recorder.port, "?")[0]

    def until_state(self, recorder: RecorderProcess, state: str) -> None:
        until(lambda: self.state(recorder) == state, f"state {state}", 15.0)

    def other(self, recorder: RecorderProcess) -> RecorderProcess:
        return self.recorders[self.recorders[0] is recorder]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("kamailio")
    authority = TestAuthority(folder)
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    one, two = RecorderProcess(), RecorderProcess(authority.issue("recorder", loopback))
    own = authority.issue("dispatcher", loopback)
    tls = folder / "tls.cfg"
    files = f"method=TLSv1.2+\ncertificate={own[0]}\nprivate_key={own[1]}\nca_list={authority.ca}\n"
    tls.write_text(f"[server:default]\n{files}[client:default]\n{files}verify_certificate=yes\n")
    listed = [f"sip:127.0.0.1:{one.port}", f"sip:127.0.0.1:{two.tls};transport=tls"]
    defines = {"PING_SECONDS": str(PING_SECONDS), "WITH_TLS": "", "TLS_CONFIGURATION": f'"{tls}"'}
    port = free_port()
    defines["SIPREC_TLS"] = f"tls:127.0.0.1:{port}"
    kamailio = Dispatcher(folder, listed, defines)
    try:
        for recorder in (one, two):
            recorder.begin()
        for recorder in (one, two):
            recorder.until_listening()
        kamailio.start()
        yield Site(kamailio, (one, two), Tls(port, authority.ca, *own, "dispatcher"))
    finally:
        kamailio.stop()
        for recorder in (one, two):
            recorder.kill()


@dataclass(frozen=True)
class Asked:
    """The final response to an INVITE, and how long it took."""

    answer: bytes
    seconds: float


@asynccontextmanager
async def _client(site: Site) -> AsyncIterator[UdpClient]:
    async with udp_client(site.kamailio.port) as client:
        yield client


async def _final(client: UdpClient, method: str) -> bytes:
    async with asyncio.timeout(10):
        while True:
            answer = await client.received.get()
            if status_of(answer) >= 200 and field_of(answer, "CSeq").endswith(method):
                return answer


async def _ask(site: Site, client: UdpClient, story: str) -> Asked:
    """A recording session of the call ``story``, under a Call-ID of its own; hung up when it was accepted."""
    document = metadata(("a", f"sip:{NUMBERS[0]}@pbx.example", ["1"]), ("b", "sip:2001@pbx.example", ["2"]))
    document = document.replace(b"call-1@pbx", story.encode())
    mark = secrets.token_hex(6)
    common = {"sent_by": client.sent_by, "call_id": f"{mark}@client", "from_tag": mark}
    before, began = site.offered(), time.monotonic()
    client.send(
        request(branch=f"z9hG4bK{mark}", body=recording_body(TWO_STREAMS, document), content_type=MIXED, **common)  # type: ignore[arg-type]
    )
    answer = await _final(client, "INVITE")
    asked = Asked(answer, time.monotonic() - began)
    tag = tag_of(field_of(answer, "To"))
    if status_of(answer) >= 300:
        client.send(request("ACK", branch=f"z9hG4bK{mark}", to_tag=tag, **common))  # type: ignore[arg-type]
        return asked
    until(lambda: site.offered() == before + 1, "the recorder's word of it")
    routes = _routes(answer)
    target = field_of(answer, "Contact").partition("<")[2].partition(">")[0]
    client.send(request("ACK", uri=target, branch=f"z9hG4bK{mark}a", to_tag=tag, extra=routes, **common))  # type: ignore[arg-type]
    bye = request("BYE", uri=target, branch=f"z9hG4bK{mark}b", sequence=2, to_tag=tag, extra=routes, **common)  # type: ignore[arg-type]
    client.send(bye)
    assert status_of(await _final(client, "BYE")) == 200
    return asked


def _routes(answer: bytes) -> list[str]:
    """The route set of a client (RFC 3261 §12.1.2): Record-Route in reverse."""
    head = answer.partition(b"\r\n\r\n")[0].decode()
    found = [line.partition(":")[2] for line in head.split("\r\n") if line.startswith("Record-Route:")]
    return [f"Route:{route}" for route in reversed(found)]


async def _story_of(site: Site, client: UdpClient, recorder: RecorderProcess) -> str:
    """A call whose sessions go to this recorder as long as it takes calls."""
    for number in range(40):
        before, story = len(recorder.offered), f"story-{number}"
        assert status_of((await _ask(site, client, story)).answer) == 200
        if len(recorder.offered) > before:
            return story
    raise AssertionError("no call reaches this recorder")


@pytest.mark.parametrize("transport", ["udp", "tcp", pytest.param("tls", marks=needs_socat)])
async def test_calls_are_spread_and_every_request_of_a_session_reaches_the_recorder_that_has_it(
    site: Site, tmp_path: Path, transport: str
) -> None:
    before = [len(recorder.offered) for recorder in site.recorders]
    # A re-INVITE or a BYE at the wrong recorder would get 481 and fail SIPp.
    async with AsyncExitStack() as stack:
        port = site.kamailio.port if transport != "tls" else await stack.enter_async_context(tls_bridge(site.tls))
        messages = await play(tmp_path, "ribbon", port, transport=transport, calls=16)
    until(lambda: site.offered() == sum(before) + 16, "the recorders' word of them")
    after = [len(recorder.offered) for recorder in site.recorders]
    gained = [now - then for then, now in zip(before, after, strict=True)]
    assert all(gained)
    first = [answer for answer in answers_to(messages, "INVITE") if answer.header("CSeq") == "1 INVITE"]
    assert len(first) == 16
    for answer in first:
        assert (
            f"Record-Route: <sip:127.0.0.1:{site.tls.port if transport == 'tls' else site.kamailio.port}" in answer.text
        )


async def test_the_two_voices_of_a_cucm_telephone_reach_one_recorder(site: Site, tmp_path: Path) -> None:
    before = [len(recorder.offered) for recorder in site.recorders]
    await play(tmp_path, "cucm", site.kamailio.port, calls=6)
    until(lambda: site.offered() == sum(before) + 6, "the recorders' word of them")
    gained = sorted(len(recorder.offered) - then for recorder, then in zip(site.recorders, before, strict=True))
    assert gained == [0, 6]


async def test_the_sessions_of_one_call_reach_one_recorder_whatever_their_call_ids(site: Site) -> None:
    async with _client(site) as client:
        for recorder in site.recorders:
            story = await _story_of(site, client, recorder)
            before = len(recorder.offered)
            for _ in range(5):
                assert status_of((await _ask(site, client, story)).answer) == 200
            assert len(recorder.offered) == before + 5


@pytest.mark.parametrize("which", [0, 1], ids=["over UDP", "over TLS"])
async def test_a_killed_recorders_calls_go_to_the_other_and_come_back_when_it_does(site: Site, which: int) -> None:
    killed = site.recorders[which]
    async with _client(site) as client:
        story = await _story_of(site, client, killed)
        killed.kill()
        first = await _ask(site, client, story)
        assert status_of(first.answer) == 200
        assert first.seconds < RESPONSE_SECONDS + 2
        assert field_of(first.answer, "Contact").partition(":")[2].partition(">")[0].startswith("127.0.0.1:")
        site.until_state(killed, "I")
        again = await _ask(site, client, story)
        assert status_of(again.answer) == 200
        assert again.seconds < RESPONSE_SECONDS, "the dead one is asked no more"
        killed.start()
        site.until_state(killed, "A")
        assert status_of((await _ask(site, client, story)).answer) == 200
        assert len(killed.offered) == 1


async def test_a_frozen_recorders_calls_go_to_the_other(site: Site) -> None:
    frozen = site.recorders[1]
    async with _client(site) as client:
        story = await _story_of(site, client, frozen)
        own, other = len(frozen.offered), len(site.other(frozen).offered)
        frozen.freeze()  # its kernel still takes the connection and the INVITE
        try:
            asked = await _ask(site, client, story)
        finally:
            frozen.thaw()
        assert status_of(asked.answer) == 200
        assert asked.seconds < RESPONSE_SECONDS + 2
        assert len(site.other(frozen).offered) == other + 1
    until(lambda: len(frozen.offered) == own + 1, "the session that nobody waits for any more")
    site.until_state(frozen, "A")


@pytest.mark.parametrize("which", [0, 1], ids=["over UDP", "over TLS"])
async def test_a_recorders_own_request_reaches_the_client(site: Site, which: int) -> None:
    recorder = site.recorders[which]
    async with _client(site) as client:
        story = await _story_of(site, client, recorder)
        document = metadata(("a", f"sip:{NUMBERS[0]}@pbx.example", [])).replace(b"call-1@pbx", story.encode())
        session = {"sent_by": client.sent_by, "call_id": f"own-{which}@client", "from_tag": "own"}
        offerless = multipart(("application/rs-metadata+xml", document))
        client.send(request(branch="z9hG4bKown", body=offerless, content_type=MIXED, **session))  # type: ignore[arg-type]
        answer = await _final(client, "INVITE")
        assert b"m=audio 30000 " in answer
        target = field_of(answer, "Contact").partition("<")[2].partition(">")[0]
        more = {"to_tag": tag_of(field_of(answer, "To")), "extra": _routes(answer), **session}
        client.send(request("ACK", uri=target, branch="z9hG4bKownack", **more))  # type: ignore[arg-type]
        # Our ACK brings no answer to its offer, so it hangs up.
        async with asyncio.timeout(5):
            while not (bye := await client.received.get()).startswith(b"BYE "):
                pass
        assert bye.startswith(f"BYE sip:src@{client.sent_by} SIP/2.0".encode())
        assert field_of(bye, "Call-ID") == f"own-{which}@client"


async def test_a_cancelled_session_is_cancelled_at_its_recorder(site: Site) -> None:
    for recorder in site.recorders:
        recorder.command("wait")
    try:
        async with _client(site) as client:
            before = site.offered()
            same = {"sent_by": client.sent_by, "call_id": "cancelled@client", "branch": "z9hG4bKcancelled"}
            client.send(request(body=recording_body(), content_type=MIXED, **same))  # type: ignore[arg-type]
            until(lambda: site.offered() == before + 1, "the recorder's word of it")
            client.send(request("CANCEL", **same))  # type: ignore[arg-type]
            assert status_of(await _final(client, "CANCEL")) == 200
            assert status_of(await _final(client, "INVITE")) == 487
            client.send(request("ACK", to_tag="x", **same))  # type: ignore[arg-type]
        assert site.offered() == before + 1
    finally:
        for recorder in site.recorders:
            recorder.command("accept")


async def test_a_recorder_that_answers_503_is_passed_over_at_once(site: Site) -> None:
    full = site.recorders[1]
    async with _client(site) as client:
        story = await _story_of(site, client, full)
        full.command("away")  # as a full disk or the declared capacity does
        other = len(site.other(full).offered)
        asked = await _ask(site, client, story)
        assert status_of(asked.answer) == 200
        assert asked.seconds < RESPONSE_SECONDS
        assert len(site.other(full).offered) == other + 1
        site.until_state(full, "I")
        full.command("here")
        site.until_state(full, "A")
        before = len(full.offered)
        assert status_of((await _ask(site, client, story)).answer) == 200
        assert len(full.offered) == before + 1


async def test_when_no_recorder_takes_calls_the_client_hears_503_and_when_to_ask_again(site: Site) -> None:
    for recorder in site.recorders:
        recorder.command("away")
    async with _client(site) as client:
        for asked in (await _ask(site, client, "early"), await _ask(site, client, "later")):
            assert status_of(asked.answer) == 503
            assert field_of(asked.answer, "Retry-After") == "5"
        for recorder in site.recorders:
            site.until_state(recorder, "I")
        client.send(request("OPTIONS", branch="z9hG4bKaway", call_id="away", sent_by=client.sent_by))
        assert status_of(await _final(client, "OPTIONS")) == 503
        for recorder in site.recorders:
            recorder.command("here")
            site.until_state(recorder, "A")
        client.send(request("OPTIONS", branch="z9hG4bKhere", call_id="here", sent_by=client.sent_by))
        assert status_of(await _final(client, "OPTIONS")) == 200


async def test_a_refusal_by_policy_is_final_and_no_other_recorder_is_asked(site: Site) -> None:
    for recorder in site.recorders:
        recorder.command("refuse")
    try:
        async with _client(site) as client:
            before = site.offered()
            assert status_of((await _ask(site, client, "refused")).answer) == 603
            until(lambda: site.offered() > before, "a recorder's word of it")
            assert site.offered() == before + 1
    finally:
        for recorder in site.recorders:
            recorder.command("accept")
    assert {site.state(recorder) for recorder in site.recorders} == {"A"}


async def test_strangers_get_no_answer(site: Site) -> None:
    loop = asyncio.get_running_loop()
    remote = ("127.0.0.1", site.kamailio.port)
    transport, stranger = await loop.create_datagram_endpoint(UdpClient, ("127.0.0.9", 0), remote)
    stranger.send(request("OPTIONS", branch="z9hG4bKs", call_id="stranger", sent_by=stranger.sent_by))
    async with _client(site) as client:
        client.send(request("OPTIONS", branch="z9hG4bKf", call_id="friend", sent_by=client.sent_by))
        assert status_of(await _final(client, "OPTIONS")) == 200
    assert stranger.received.empty()
    transport.close()


def _damaged(seed: int) -> bytes:
    """A recording session's INVITE with pieces of its header replaced, and a Route that nobody can read."""
    rng = random.Random(seed)
    lines = [f"Route: <sip:2001@[{seed};lr>"] if seed % 3 == 0 else []
    call = {"call_id": f"{NUMBERS[0]}-{seed}", "branch": f"z9hG4bK{seed}", "extra": lines}
    data = bytearray(request(uri="sip:2001@pbx.example", body=recording_body(), content_type=MIXED, **call))  # type: ignore[arg-type]
    for _ in range(rng.randint(1, 5)):
        start = rng.randrange(data.index(b"\r\n\r\n"))
        data[start : start + rng.choice([0, 1, 2, 20])] = rng.randbytes(rng.choice([0, 1, 2, 8]))
    return bytes(data)


async def test_its_log_is_about_recorders_alone_whatever_is_sent(site: Site) -> None:
    """Kamailio's usual level quotes what it cannot parse; the numbers of protected lines would be in it."""
    broken = [_damaged(seed) for seed in range(300)]
    broken += [b"INVITE sip:2001", b"INVITE sip:2001@x SIP/2.0\r\nFrom: <sip:+33612345678@x\r\n\r\n", b"\x00" * 10]
    before = len(site.kamailio.log)
    async with _client(site) as client, _client(site) as other:
        for message in broken:
            client.send(message)
            _, writer = await asyncio.open_connection("127.0.0.1", site.kamailio.port)
            writer.write(message + b"\r\n\r\n")
            writer.close()
        await asyncio.sleep(PING_SECONDS + 0.5)
        other.send(request("OPTIONS", branch="z9hG4bKlives", call_id="lives", sent_by=other.sent_by))
        assert status_of(await _final(other, "OPTIONS")) == 200
    assert len(site.kamailio.log) == before, "what is sent takes no recorder out"
    lines = site.kamailio.log
    assert any("recorder out:" in line for line in lines)
    assert any("recorder back:" in line for line in lines)
    assert all(re.search(r"recorder (out|back): sip:127\.0\.0\.1:\d+(;transport=tls)? ", line) for line in lines), lines
    assert not any(number in line for number in NUMBERS for line in lines)


def test_the_lists_as_they_are_deployed_are_read(tmp_path: Path) -> None:
    files = {"RECORDERS": "dispatcher.list", "RECORDING_CLIENTS": "recording-clients.list"}
    sample = Dispatcher(tmp_path, [], {name: f'"{DEPLOYED / file}"' for name, file in files.items()})
    sample.start()
    try:
        assert sorted(sample.listed) == [f"sip:192.0.2.{host}:5060;transport=tcp" for host in (11, 12)]
        clients = sample.ask("permissions.addressDump")
    finally:
        sample.stop()
    assert "192.0.2.20" in clients


async def test_the_tls_configuration_as_it_is_deployed_takes_its_files(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    certificate, key = authority.issue("dispatcher")
    text = (DEPLOYED / "tls.cfg").read_text()
    for name, file in (("dispatcher.pem", certificate), ("dispatcher.key", key), (r"\w+-ca.pem", authority.ca)):
        text = re.sub(rf"/etc/kamailio/siprec/{name}", str(file), text)
    (tmp_path / "tls.cfg").write_text(text)
    port = free_port()
    defines = {"WITH_TLS": "", "SIPREC_TLS": f"tls:127.0.0.1:{port}", "TLS_CONFIGURATION": f'"{tmp_path}/tls.cfg"'}
    sample = Dispatcher(tmp_path, [f"sip:127.0.0.1:{free_port()};transport=tls"], defines)
    sample.start()
    try:
        context = authority.client()
        context.check_hostname = False
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        assert writer.get_extra_info("ssl_object").version() in {"TLSv1.2", "TLSv1.3"}
        writer.close()
    finally:
        sample.stop()
