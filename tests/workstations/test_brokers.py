"""What both brokers must do: the same bodies against mosquitto (deploy/mosquitto) and the embedded one."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from contextlib import suppress

import aiomqtt
import pytest

from capture_client import protocol
from capture_client.protocol import Arm, Discard, FilmState, Presence, Renew, Start, Stop
from sipgate.core.events import PrivateCall, WorkstationDown, WorkstationUp
from sipgate.core.policy import FilmPlan
from sipgate.errors import ConfigurationError
from sipgate.workstations.broker import EmbeddedBroker
from tests.peers.mosquitto import Mosquitto
from tests.peers.workstation import Workstation, leave_rudely
from tests.workstations.conftest import NAMES, Site

Broker = Mosquitto | EmbeddedBroker
RECORDING = "0123456789abcdef" * 2
PUBLIC_KEY = bytes(range(32))
CONNECTION_ACCEPTED = b"\x20\x02\x00\x00"

pytestmark = pytest.mark.peer


def plan(desk: Workstation) -> FilmPlan:
    return FilmPlan(desk.name, "class=SipgateDemo", 10)


async def test_commands_reach_a_ready_workstation_signed_bound_and_in_order(site: Site, broker: Broker) -> None:
    desk = site.desk("desk-1")
    async with site.running(site.link(broker.port)) as link, desk.connected(broker.port):
        await desk.become_ready()
        await site.until(lambda: any(isinstance(e, WorkstationUp) for e in site.said))
        answered = site.now_ns()
        link.start_film(RECORDING, plan(desk), PUBLIC_KEY, answered)
        link.renew_film(RECORDING, desk.name)
        link.stop_film(RECORDING, desk.name, answered + 5)
        link.discard_film(RECORDING, desk.name)
        came = [await desk.obeyed.get() for _ in range(5)]
    assert [type(o.command) for o in came] == [Arm, Start, Renew, Stop, Discard]
    last = 0
    for obeyed in came:
        protocol.check(
            obeyed.binding,
            workstation=desk.name,
            boot=desk.boot,
            last_counter=last,
            server_now_ns=site.now_ns(),
        )
        last = obeyed.binding.counter
    assert isinstance(came[1].command, Start)
    assert came[1].command.answered_at_ns == answered


async def test_the_clock_offset_is_measured_to_a_few_milliseconds(site: Site, broker: Broker) -> None:
    desk = site.desk("desk-1", skew_ns=123_456_789_000)
    async with site.running(site.link(broker.port)) as link, desk.connected(broker.port):
        await desk.become_ready()
        await site.until(lambda: any(s.ready for s in link.states()))
        (state,) = link.states()
    assert state.offset_ns is not None
    assert state.uncertainty_ns is not None
    assert abs(state.offset_ns + desk.skew_ns) <= state.uncertainty_ns + 5_000_000
    assert state.uncertainty_ns < 50_000_000


async def test_a_workstation_hears_nothing_of_another_and_says_nothing_for_it(site: Site, broker: Broker) -> None:
    desk, spy = site.desk("desk-1"), site.desk("desk-2")
    async with (
        site.running(site.link(broker.port)) as link,
        desk.connected(broker.port),
        spy.connected(broker.port) as client,
    ):
        for other in ("#", "sipgate/#", "sipgate/+/command", "sipgate/desk-1/command", "sipgate/desk-1/state"):
            await _try(client.subscribe(other, qos=1))
        await desk.become_ready()
        await site.until(lambda: any(s.ready for s in link.states()))
        link.start_film(RECORDING, plan(desk), PUBLIC_KEY, site.now_ns())
        forged = desk.seal(FilmState(RECORDING, "failed"))
        await _try(client.publish("sipgate/desk-1/state", forged, qos=1))
        await _try(client.publish("sipgate/desk-1/command", b"no envelope", qos=1))
        await _try(client.publish("sipgate/desk-1/state", b"", qos=1, retain=True))
        await desk.next_of(Start)
        await spy.become_ready()  # what was sent to it before has come by now
        assert spy.strays == []
        assert desk.strays == []
        assert link.dropped() == {}


async def test_a_last_will_for_another_is_not_delivered(site: Site, broker: Broker) -> None:
    desk, spy = site.desk("desk-1"), site.desk("desk-2")
    async with site.running(site.link(broker.port)) as link, desk.connected(broker.port):
        await desk.become_ready()
        for topic in ("sipgate/desk-1/command", "sipgate/desk-1/state"):
            will = aiomqtt.Will(topic, desk.seal(Presence(False, "forged")), qos=1)
            client = aiomqtt.Client("127.0.0.1", broker.port, will=will, tls_context=spy.ssl_context(), timeout=2)
            await _try(_come_and_vanish(client))
        await desk.become_ready()
        await site.until(lambda: any(s.ready for s in link.states()))
        assert not any(isinstance(e, WorkstationDown) for e in site.said)
        assert desk.strays == []


async def test_without_a_certificate_nobody_comes_in(site: Site, broker: Broker) -> None:
    desk = site.desk("desk-1")
    assert await _connack(broker.port, desk.ssl_context()) == CONNECTION_ACCEPTED
    assert await _connack(broker.port, desk.ssl_context(shows_certificate=False)) == b""


async def test_a_certificate_of_another_authority_does_not_come_in(site: Site, broker: Broker) -> None:
    stranger = Site(site.folder / "elsewhere").desk("desk-1")
    context = stranger.ssl_context()
    context.load_verify_locations(cadata=site.authority.ca_pem)
    assert await _connack(broker.port, context) == b""


async def test_another_cannot_kick_a_workstation_off_by_its_client_id(site: Site, broker: Broker) -> None:
    desk, rude = site.desk("desk-1"), site.desk("desk-2")
    async with site.running(site.link(broker.port)) as link, desk.connected(broker.port):
        await desk.become_ready()
        async with rude.connected(broker.port, identifier=desk.name):
            await rude.become_ready()
            await site.until(lambda: sum(s.ready for s in link.states()) == 2)
            link.start_film(RECORDING, plan(desk), PUBLIC_KEY, site.now_ns())
            await desk.next_of(Start)
    assert [e.workstation for e in site.said if isinstance(e, WorkstationUp)] == ["desk-1", "desk-2"]


async def test_the_presence_is_retained_and_the_last_will_ends_it(site: Site, broker: Broker) -> None:
    desk = site.desk("desk-1")
    async with desk.connected(broker.port), site.running(site.link(broker.port)) as link:
        await site.until(lambda: [s.online for s in link.states()] == [True])
        await desk.become_ready()
        await site.until(lambda: [s.ready for s in link.states()] == [True])
        desk.vanish()
        await site.until(lambda: any(isinstance(e, WorkstationDown) for e in site.said))
        assert [s.online for s in link.states()] == [False]
    async with site.running(site.link(broker.port)) as link:
        await site.until(lambda: bool(link.states()))
        assert [(s.online, s.ready) for s in link.states()] == [(False, False)]


async def test_after_a_restart_of_the_broker_both_come_back_and_states_again(site: Site, broker: Broker) -> None:
    desk = site.desk("desk-1")
    async with site.running(site.link(broker.port)) as link:
        async with desk.connected(broker.port):
            await desk.become_ready()
            await site.until(lambda: any(isinstance(e, WorkstationUp) for e in site.said))
            await broker.stop()
            await site.until(lambda: not link.connected())
            assert [e.workstation for e in site.said if isinstance(e, WorkstationDown)] == [None]
            assert [s.ready for s in link.states()] == [False]
            link.start_film(RECORDING, plan(desk), PUBLIC_KEY, site.now_ns())
            assert link.unsent == 2
        await broker.start()
        await site.until(link.connected)
        async with desk.connected(broker.port):
            await desk.become_ready()
            await site.until(lambda: [s.ready for s in link.states()] == [True])
            assert [e.boot for e in site.said if isinstance(e, WorkstationUp)] == [desk.boot] * 2
            link.renew_film(RECORDING, desk.name)
            assert type((await desk.next_of(Renew)).command) is Renew  # and nothing of before came first
            assert desk.obeyed.empty()


async def test_forged_and_replayed_reports_are_dropped(site: Site, broker: Broker) -> None:
    desk, stranger = site.desk("desk-1"), site.desk("desk-3", registered=False)
    async with site.running(site.link(broker.port)) as link, desk.connected(broker.port):
        await desk.become_ready()
        await site.until(lambda: any(s.ready for s in link.states()))
        link.start_film(RECORDING, plan(desk), PUBLIC_KEY, site.now_ns())
        said = len(site.said)
        genuine = desk.seal(FilmState(RECORDING, "filming"))
        for payload in (genuine, genuine, desk.seal(FilmState(RECORDING, "failed"), key=stranger.key), b"{}", b"{"):
            await desk.send(payload)
        await desk.report(protocol.NotThisCall("f" * 32))
        async with stranger.connected(broker.port):
            await stranger.report(protocol.NotThisCall(RECORDING))
            await site.until(lambda: sum(link.dropped().values()) >= 7)
        assert link.dropped() == {
            "replayed": 1, "signature": 1, "not an envelope": 1, "not JSON": 1, "not filmed there": 1, "stranger": 2,
        }  # fmt: skip
        assert site.said[said:] == []
        await desk.report(protocol.NotThisCall(RECORDING))
        await site.until(lambda: len(site.said) > said)
        assert site.said[said:] == [PrivateCall(RECORDING, site.said[said].at_ns)]


async def test_an_older_connection_of_a_workstation_ends_before_its_newer_one_counts(
    site: Site, broker: Broker
) -> None:
    desk = site.desk("desk-1")
    async with site.running(site.link(broker.port)) as link, desk.connected(broker.port) as older:
        await desk.become_ready()
        await site.until(lambda: len(site.said) == 1)
        async with desk.connected(broker.port):
            await site.until(older._disconnected.done)  # aiomqtt says it no other way
            await desk.become_ready()
            await site.until(lambda: len(site.said) == 3)
            assert [type(e) for e in site.said] == [WorkstationUp, WorkstationDown, WorkstationUp]
            link.renew_film(RECORDING, desk.name)
            await desk.next_of(Renew)


async def test_who_exceeds_its_keep_alive_is_cut_off_by_the_embedded_broker(site: Site) -> None:
    desk = site.desk("desk-1")
    broker = EmbeddedBroker("127.0.0.1", 0, site.authority.broker_ssl_context(NAMES))
    await broker.start()
    try:
        reader, writer = await _open(broker.port, desk.ssl_context(), keep_alive=1)
        assert await reader.readexactly(4) == CONNECTION_ACCEPTED
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.transport.abort()
    finally:
        await broker.stop()


async def test_a_burst_of_reports_arrives_whole(site: Site, broker: Broker) -> None:
    """As when a few hundred desks come back at once; with mosquitto's own queue limits it loses most of them."""
    desk = site.desk("desk-1")
    async with site.running(site.link(broker.port)) as link, desk.connected(broker.port):
        await desk.become_ready()
        reports = [desk.report(protocol.NotThisCall(f"{number:032x}")) for number in range(400)]
        await asyncio.gather(*reports)
        await site.until(lambda: link.dropped() == {"not filmed there": 400})


async def test_noise_and_floods_of_one_leave_the_others_alone(site: Site, broker: Broker) -> None:
    desk, noisy = site.desk("desk-1"), site.desk("desk-2")
    async with site.running(site.link(broker.port)), desk.connected(broker.port):
        for noise in (b"\x10", b"\x10\xff\xff\xff\xff\xff", b"\x10\xff\xff\xff\x7f", b"\x30\x02\x00\x00", bytes(64)):
            _, writer = await asyncio.open_connection("127.0.0.1", broker.port, ssl=noisy.ssl_context())
            writer.write(noise)
            await writer.drain()
            writer.transport.abort()
        reader, writer = await _open(broker.port, noisy.ssl_context())
        assert await reader.readexactly(4) == CONNECTION_ACCEPTED
        writer.write(b"\xc0\x00" * 5000)  # PINGREQ
        await desk.become_ready()
        await site.until(lambda: any(isinstance(e, WorkstationUp) for e in site.said))
        writer.transport.abort()


async def test_nothing_of_topics_names_or_recordings_is_logged(
    site: Site, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    desk = site.desk("desk-1")
    async with site.running(site.link(broker.port)) as link, desk.connected(broker.port) as client:
        await desk.become_ready()
        await site.until(lambda: any(s.ready for s in link.states()))
        link.start_film(RECORDING, plan(desk), PUBLIC_KEY, site.now_ns())
        await desk.next_of(Start)
        await _try(client.publish("sipgate/desk-2/command", RECORDING, qos=1))
        desk.vanish()
        await site.until(lambda: any(isinstance(e, WorkstationDown) for e in site.said))
    await _connack(broker.port, desk.ssl_context(shows_certificate=False))
    await broker.stop()
    written = caplog.text + (broker.log if isinstance(broker, Mosquitto) else "")
    for private in ("sipgate/", "desk-", RECORDING, "127.0.0.1"):
        assert private not in written


async def test_the_link_speaks_mqtt_5_too(site: Site) -> None:
    desk, broker = site.desk("desk-1"), Mosquitto(site.folder, site.authority)
    await broker.start()
    try:
        async with site.running(site.link(broker.port, "5")) as link, desk.connected(broker.port):
            await desk.become_ready()
            await site.until(lambda: any(s.ready for s in link.states()))
            link.renew_film(RECORDING, desk.name)
            await desk.next_of(Renew)
    finally:
        await broker.stop()


async def test_a_workstation_that_is_no_longer_registered_is_refused_by_the_embedded_broker(site: Site) -> None:
    desk = site.desk("desk-1", registered=False)
    context = site.authority.broker_ssl_context(NAMES)
    broker = EmbeddedBroker("127.0.0.1", 0, context, admits=lambda name: name in site.registered)
    await broker.start()
    try:
        assert await _connack(broker.port, desk.ssl_context()) == b""
        site.registered[desk.name] = desk.public_key
        assert await _connack(broker.port, desk.ssl_context()) == CONNECTION_ACCEPTED
    finally:
        await broker.stop()


async def test_a_port_that_is_taken_is_said_to_be(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        broker = EmbeddedBroker("127.0.0.1", port, site.authority.broker_ssl_context(NAMES))
        with pytest.raises(ConfigurationError, match=rf"mqtt\.port: {port} "):
            await broker.start()


async def _try(attempt: object) -> None:
    """Brokers may refuse, ignore, or hang up: what counts is what is delivered."""
    assert asyncio.iscoroutine(attempt)
    with suppress(aiomqtt.MqttError):
        await attempt


async def _come_and_vanish(client: aiomqtt.Client) -> None:
    async with client:
        leave_rudely(client)


async def _open(
    port: int, context: ssl.SSLContext, keep_alive: int = 60
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has sent CONNECT."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    body = struct.pack(">H", 4) + b"MQTT\x04\x02" + struct.pack(">HH", keep_alive, 4) + b"desk"
    writer.write(bytes([0x10, len(body)]) + body)
    return reader, writer


async def _connack(port: int, context: ssl.SSLContext) -> bytes:
    """What the broker answers to a CONNECT; empty when it hangs up."""
    try:
        reader, writer = await _open(port, context)
    except OSError:
        return b""
    try:
        async with asyncio.timeout(5):
            return await reader.read(4)
    except OSError:
        return b""
    finally:
        writer.transport.abort()
