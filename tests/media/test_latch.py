"""Streams behind a NAT: the first source within the connection's addresses is the stream's own, and nobody after it."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from sipgate.config import Media
from sipgate.core.events import Side, StreamOffer
from sipgate.media import reports
from sipgate.media.receiver import Receiver
from tests.media.conftest import PAYLOAD_TYPES, SECOND, Call, Events, noise, soon
from tests.peers.rtp import PCMU, Voice, packet

HERE = ("192.0.2.0/24", "::/0", "127.0.0.0/8")
ELSEWHERE = ("192.0.2.0/24", "2001:db8::/32")


def described(port: int, networks: tuple[str, ...]) -> StreamOffer:
    """A stream whose description names an address that nobody sees here."""
    to = ("127.0.0.1", port)
    return StreamOffer("1", Side.CALLER, *to, PAYLOAD_TYPES, rtcp_mux=True, rtcp=to, networks=networks)


def opened(call: Call, networks: tuple[str, ...], port: int = 9) -> None:
    (to,) = call.receiver.open(call.recording, [described(port, networks)], call.key, call.folder)
    for voice in call.voices:
        voice.destination = to
    call.begin(ago_ns=SECOND)


def kept_after(call: Call, *voices: Voice) -> list[bytes]:
    """Each says something, one after the other; what each said."""
    said = []
    for voice in voices:
        before = call.receiver.statistics().received
        said.append(noise(0.02))
        voice.send(said[-1])
        soon(lambda before=before: call.receiver.statistics().received > before)  # type: ignore[misc]
    return said


def test_the_first_source_within_the_addresses_is_heard_and_no_other_after_it(call: Call) -> None:
    opened(call, HERE)
    first, other = call.voices
    said = kept_after(call, first, other, first)
    call.finish()
    assert call.receiver.statistics().foreign == 1
    assert call.kept().bytes_of(0) == said[0] + said[2]


@pytest.mark.parametrize("networks", [ELSEWHERE, ()], ids=["other addresses", "not behind a NAT"])
def test_a_source_elsewhere_is_not_heard(call: Call, networks: tuple[str, ...]) -> None:
    opened(call, networks)
    kept_after(call, *call.voices)
    call.finish()
    assert call.receiver.statistics().foreign == 2
    assert call.kept().bytes_of(0) == b""


def test_who_comes_from_where_the_description_says_counts_as_first_too(call: Call) -> None:
    first, other = call.voices
    opened(call, ELSEWHERE, first.port)
    said = kept_after(call, first, other)
    call.finish()
    assert call.kept().bytes_of(0) == said[0]


def test_what_is_no_sound_of_the_offer_chooses_nothing(call: Call) -> None:
    opened(call, HERE)
    stranger, real = call.voices
    for junk in (b"\x80\x00", bytes(200), packet(noise(0.02), payload_type=77), packet(b"")):
        stranger.send_raw(junk)
    soon(lambda: call.receiver.statistics().received == 4)
    said = kept_after(call, real, stranger)
    call.finish()
    assert call.kept().bytes_of(0) == said[0]


def test_a_new_description_lets_it_choose_again(call: Call) -> None:
    opened(call, HERE)
    first, other = call.voices
    said = kept_after(call, first)
    call.receiver.restream(call.recording, [described(10, HERE)])
    said += kept_after(call, other, first)
    call.finish()
    assert call.kept().bytes_of(0) == said[0] + said[1]


def test_it_gets_no_reports(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "INTERVAL_NS", 50_000_000)
    with socket.socket(type=socket.SOCK_DGRAM) as named:
        named.bind(("127.0.0.1", 0))
        named.settimeout(0.7)
        opened(call, HERE, named.getsockname()[1])
        kept_after(call, call.voices[0])
        with pytest.raises(TimeoutError):
            named.recv(2000)


def test_over_ipv6_too(events: Events, tmp_path: Path) -> None:
    receiver = Receiver(Media(address="::1", first_port=23_940, last_port=23_949), time.time_ns, events)
    receiver.start()
    call = Call(receiver, tmp_path, ())
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as first,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other,
    ):
        offer = StreamOffer("1", Side.CALLER, "2001:db8::1", 9, ((PCMU, "PCMU"),), networks=("10.0.0.0/8", "::1/128"))
        (port,) = receiver.open(call.recording, [offer], call.key, tmp_path)
        call.begin(ago_ns=SECOND)
        sound = noise(0.02)
        for number, sock in enumerate((first, other)):
            sock.sendto(packet(sound if sock is first else noise(0.02)), ("::1", port))
            soon(lambda count=number + 1: receiver.statistics().received == count)  # type: ignore[misc]
        call.finish()
    receiver.stop()
    assert call.kept().bytes_of(0) == sound
