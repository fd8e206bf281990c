"""Receiver reports on the wire: to whom, from where, when, and what they say of what was really received."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sipgate.core.events import Side, StreamOffer
from sipgate.media import reports, rtcp
from sipgate.media.receiver import Receiver
from sipgate.media.rtcp import Block, Description, Goodbye, Packet, ReceiverReport, SenderReport
from tests.media.conftest import PAYLOAD_TYPES, Call, noise, soon
from tests.peers.rtp import Voice, packet

GSTREAMER = Path(__file__).parent.parent / "peers/gstreamer_sender.py"
SOON = 3.0
NEVER = 0.7
"""Seconds in which many reports would have come."""


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report every tick or so, and not every 5 s."""
    monkeypatch.setattr(reports, "INTERVAL_NS", 100_000_000)


@contextmanager
def listening(port: int = 0) -> Iterator[socket.socket]:
    """Where a peer hears RTCP on a port of its own."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", port))
        sock.settimeout(SOON)
        yield sock


def offered(voice: Voice, *, mux: bool, to: int | None, address: str = "127.0.0.1") -> StreamOffer:
    control = None if to is None else ("127.0.0.1", to)
    return StreamOffer("1", Side.CALLER, address, voice.port, PAYLOAD_TYPES, rtcp_mux=mux, rtcp=control)


def opened(call: Call, *, mux: bool, to: int | None = None, begin: bool = True) -> tuple[Voice, int]:
    """A call of one stream; its voice hears on its own port, or another does at ``to``."""
    voice = call.voices[0]
    offer = offered(voice, mux=mux, to=voice.port if to is None else to)
    (voice.destination,) = call.receiver.open(call.recording, [offer], call.key, call.folder)
    if begin:
        call.begin(ago_ns=1_000_000_000)
    return voice, voice.destination


def heard(sock: socket.socket, seconds: float = SOON) -> tuple[tuple[Packet, ...], int]:
    """The next compound packet, and the port whence it came."""
    sock.settimeout(seconds)
    datagram, source = sock.recvfrom(2000)
    return rtcp.parse(datagram), source[1]


def block_of(sock: socket.socket, seconds: float = SOON) -> Block:
    """The next report with a block."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        packets, _ = heard(sock, seconds)
        assert isinstance(packets[0], ReceiverReport)
        if packets[0].blocks:
            return packets[0].blocks[0]
    raise TimeoutError


def block_after(voice: Voice, sock: socket.socket | None = None) -> Block:
    """The next report with a block, after one more packet."""
    voice.send(noise(0.02))
    return block_of(sock or voice.socket)


def silent(sock: socket.socket) -> bool:
    """Whether nothing comes, once what was under way is taken."""
    sock.settimeout(0.05)
    try:
        while True:
            sock.recv(2000)
    except TimeoutError:
        sock.settimeout(NEVER)
    try:
        sock.recv(2000)
    except TimeoutError:
        return True
    return False


def test_on_one_port_the_report_comes_from_the_port_of_the_sound_and_says_what_was_lost(call: Call) -> None:
    voice, port = opened(call, mux=True)
    for number in range(20):
        if number in {4, 5, 6, 7, 8}:
            voice.skip(1, 160)
        else:
            voice.send(noise(0.02))
    packets, source = heard(voice.socket)
    assert source == port
    report, description = packets
    assert isinstance(report, ReceiverReport)
    assert isinstance(description, Description)
    ((whose, cname),) = description.cnames
    assert (whose, len(cname)) == (report.sender, rtcp.CNAME_CHARACTERS)
    (block,) = report.blocks
    assert (block.source, block.lost, block.fraction) == (voice.ssrc, 5, 5 * 256 // 20)
    assert block.highest == 65_530 + 19  # the sequence began before its wrap: extended, RFC 3550 §6.4.1
    assert (block.last_sr, block.delay) == (0, 0)


def test_the_next_report_tells_the_fraction_of_its_own_interval(call: Call) -> None:
    voice, _ = opened(call, mux=True)
    voice.send(noise(0.02))
    voice.skip(1, 160)
    voice.send(noise(0.02))
    assert block_of(voice.socket).lost == 1
    for _ in range(3):
        voice.send(noise(0.02))
    later = block_of(voice.socket)
    assert (later.lost, later.fraction) == (1, 0)


def test_on_two_ports_it_comes_from_the_port_above_to_the_one_that_was_named(call: Call) -> None:
    with listening() as control:
        voice, port = opened(call, mux=False, to=control.getsockname()[1])
        voice.send(noise(0.02))
        _, source = heard(control)
        assert port % 2 == 0
        assert source == port + 1
        assert silent(voice.socket)


@pytest.mark.parametrize("mux", [True, False])
def test_a_sender_report_comes_back_as_lsr_and_dlsr(call: Call, mux: bool) -> None:
    with listening() as control:
        voice, port = opened(call, mux=mux, to=None if mux else control.getsockname()[1])
        hears, destination = (voice.socket, port) if mux else (control, port + 1)
        hears.sendto(
            rtcp.build([SenderReport(voice.ssrc, 0x1111_2222_3333_4444, 0, 1, 160)]), ("127.0.0.1", destination)
        )
        sent = time.monotonic()
        voice.send(noise(0.02))
        soon(lambda: block_after(voice, hears).last_sr == 0x2222_3333)
        voice.send(noise(0.02))
        block = block_of(hears)
        assert block.last_sr == 0x2222_3333
        assert 0 < block.delay / 65_536 <= time.monotonic() - sent


@pytest.mark.parametrize("mux", [True, False])
def test_rtcp_from_elsewhere_is_dropped(call: Call, mux: bool) -> None:
    with listening() as control, listening() as stranger:
        voice, port = opened(call, mux=mux, to=None if mux else control.getsockname()[1])
        false = rtcp.build([SenderReport(voice.ssrc, 1 << 40, 0, 1, 160), Goodbye((voice.ssrc,))])
        stranger.sendto(false, ("127.0.0.1", port if mux else port + 1))
        voice.send(noise(0.02))
        hears = voice.socket if mux else control
        assert block_of(hears).last_sr == 0
        voice.send(noise(0.02))
        assert block_of(hears).last_sr == 0


def test_rtcp_is_never_sound_and_keeps_no_recording_awake(call: Call) -> None:
    voice, _ = opened(call, mux=True)
    sound = noise(0.02)
    voice.send(sound)
    soon(lambda: call.receiver.statistics().kept == 1)
    heard_at = call.receiver.heard_at_ns(call.recording)
    for _ in range(5):
        voice.send_raw(rtcp.build([SenderReport(voice.ssrc, 1 << 32, 0, 1, 160), Description(((voice.ssrc, "x"),))]))
    soon(lambda: call.receiver.statistics().control == 5)
    assert call.receiver.heard_at_ns(call.recording) == heard_at
    call.finish()
    assert call.kept().bytes_of(0) == sound
    assert call.kept().lost == (0, 0)


def test_a_payload_type_that_looks_like_rtcp_is_sound_where_it_was_offered(call: Call) -> None:
    voice = call.voices[0]
    offer = StreamOffer("1", Side.CALLER, "127.0.0.1", voice.port, ((73, "PCMU"),))
    (voice.destination,) = call.receiver.open(call.recording, [offer], call.key, call.folder)
    call.begin(ago_ns=1_000_000_000)
    sound = noise(0.02)
    voice.send_raw(packet(sound, payload_type=73, mark=True))
    soon(lambda: call.receiver.statistics().kept == 1)
    call.finish()
    assert call.kept().bytes_of(0) == sound


def test_after_bye_the_source_is_no_more_told_of_and_a_new_one_is_while_the_recording_goes_on(call: Call) -> None:
    voice, _ = opened(call, mux=True)
    voice.send(noise(0.02))
    assert block_of(voice.socket).source == voice.ssrc
    voice.send(noise(0.02))
    voice.send_raw(rtcp.build([ReceiverReport(voice.ssrc), Goodbye((voice.ssrc,))]))
    soon(lambda: call.receiver.statistics().control == 1)
    told = [heard(voice.socket)[0][0] for _ in range(3)]
    assert isinstance(told[-1], ReceiverReport)
    assert told[-1].blocks == ()
    voice.ssrc, new = 0x9999, noise(0.02)
    voice.send(new)
    assert block_of(voice.socket).source == 0x9999
    call.finish()
    assert call.kept().bytes_of(0).endswith(new)


def test_while_nothing_comes_a_report_has_no_block(call: Call) -> None:
    voice, _ = opened(call, mux=True)
    voice.send(noise(0.02))
    block_of(voice.socket)
    report = heard(voice.socket)[0][0]
    assert isinstance(report, ReceiverReport)
    assert report.blocks == ()


def test_before_the_answer_and_before_anything_was_heard_nothing_is_sent(call: Call) -> None:
    voice, _ = opened(call, mux=True, begin=False)
    voice.send(noise(0.02))
    assert silent(voice.socket)
    call.begin()
    assert block_after(voice).source == voice.ssrc


def test_a_peer_that_never_sent_gets_nothing(call: Call) -> None:
    voice, _ = opened(call, mux=True)
    assert silent(voice.socket)


@pytest.mark.parametrize("end", ["finish", "discard", "release", "hold", "port 0", "unwanted"])
def test_after_the_end_of_a_stream_or_on_hold_nothing_is_sent(call: Call, end: str) -> None:
    voice, _ = opened(call, mux=True)
    block_after(voice)
    if end == "finish":
        call.finish()
    elif end == "discard":
        call.receiver.discard(call.recording)
    elif end == "release":
        call.receiver.release(call.recording)
    else:
        on_hold = offered(voice, mux=True, to=voice.port, address="0.0.0.0")
        gone = StreamOffer("1", Side.CALLER, "127.0.0.1", 0, PAYLOAD_TYPES, True, ("127.0.0.1", voice.port))
        unwanted = offered(voice, mux=True, to=None)
        call.receiver.restream(call.recording, [{"hold": on_hold, "port 0": gone, "unwanted": unwanted}[end]])
    voice.send(noise(0.02))
    assert silent(voice.socket)


def test_a_stream_that_is_back_from_hold_is_reported_again(call: Call) -> None:
    voice, _ = opened(call, mux=True)
    block_after(voice)
    call.receiver.restream(call.recording, [offered(voice, mux=True, to=voice.port, address="0.0.0.0")])
    assert silent(voice.socket)
    call.receiver.restream(call.recording, [offered(voice, mux=True, to=voice.port)])
    assert block_after(voice).source == voice.ssrc


def test_nothing_that_a_peer_sends_as_rtcp_stops_the_reports(call: Call) -> None:
    voice, _ = opened(call, mux=True)
    for junk in (b"\x80\xc8\x00\x01" + bytes(8), b"\xa0\xcb\x00\x00" + bytes(8), struct.pack("!BBH", 0x9F, 202, 9)):
        voice.send_raw(junk + bytes(4))
    assert block_after(voice).source == voice.ssrc


def test_the_interval_is_random_around_that_of_the_rfc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    drawn = [reports._interval() / 1e9 for _ in range(2000)]
    assert 5 * 0.5 / 1.21828 <= min(drawn) < 2.2
    assert 6 < max(drawn) <= 5 * 1.5 / 1.21828
    assert 3.9 < sum(drawn) / len(drawn) < 4.3


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has."""
    socks = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(count)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    found = [int(sock.getsockname()[1]) for sock in socks]
    for sock in socks:
        sock.close()
    return found


@pytest.mark.peer
def test_gstreamer_reads_our_reports_and_finds_its_round_trip_by_them(call: Call) -> None:
    rtp, control = free_ports(2)
    offer = StreamOffer("1", Side.CALLER, "127.0.0.1", rtp, PAYLOAD_TYPES, rtcp=("127.0.0.1", control))
    (port,) = call.receiver.open(call.recording, [offer], call.key, call.folder)
    call.begin()
    command = ["/usr/bin/python3", str(GSTREAMER), *(str(n) for n in (rtp, control, port, port + 1))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdin is not None
        assert sender.stdout is not None

        def told() -> dict[str, int]:
            print(file=sender.stdin, flush=True)
            answer: dict[str, int] = json.loads(sender.stdout.readline()) if sender.stdout else {}
            return answer

        try:
            soon(lambda: told()["rb-round-trip"] > 0, 20)
            found = told()
        finally:
            sender.stdin.close()
    assert (found["rb-packetslost"], found["rb-fractionlost"]) == (0, 0)
    assert found["rb-exthighestseq"] > 0
    assert found["rb-lsr"] > 0
    assert found["rb-round-trip"] < 65_536  # 1/65536 s: less than a second on one machine, though we read it later
    assert call.receiver.statistics().control == 0  # its RTCP came on the port above


def test_of_a_flood_of_rtcp_only_the_last_are_read_and_sound_beside_it_is_kept(
    call: Call, idle_receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading one takes as long as a hundred packets of sound."""
    call.receiver = idle_receiver
    voice, _ = opened(call, mux=True)
    read = list[int]()
    parse = rtcp.parse

    def reads(datagram: bytes) -> tuple[Packet, ...]:
        (found,) = parse(datagram)
        assert isinstance(found, SenderReport)
        read.append(found.packets)
        return (found,)

    monkeypatch.setattr(rtcp, "parse", reads)
    sound = noise(0.02)
    for number in range(500):
        voice.send_raw(rtcp.build([SenderReport(voice.ssrc, 1, 0, number, 160)]))
    voice.send(sound)
    call.finish()
    assert call.receiver.statistics().control == 500
    assert read[-1] == 499
    assert len(read) < 50
    assert call.kept().bytes_of(0) == sound
