"""From a session description to sound that is kept: the tap and the receiver together, over real sockets.

What a client changes in mid-call must lose nothing of the sound that goes on, and take in nothing that is not meant.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sipgate.config import Media
from sipgate.core.events import Offered, StreamsChanged
from sipgate.media import reports, rtcp
from sipgate.media.frames import FILE_NAME
from sipgate.media.receiver import Receiver
from tests.media.conftest import Kept, read, soon
from tests.peers.dialogue import Dialogue, ports_of
from tests.peers.recorder import Recorder, recorder, udp_client
from tests.peers.rtp import packet
from tests.peers.sip_messages import audio, recording_body, sdp, status_of


@dataclass
class Behind:
    """What stands behind the tap here: a receiver, used for one session as the service uses it."""

    receiver: Receiver
    folder: Path
    recording: str = field(default_factory=lambda: secrets.token_hex(16))
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def open(self, tap: Recorder, offered: Offered) -> None:
        """Record every session as if the call had been answered a second before its INVITE: packets that come in a
        burst lie before it, where the last of them says that the first was spoken."""
        ports = self.receiver.open(self.recording, offered.streams, self.key, self.folder)
        self.receiver.begin(self.recording, offered.at_ns - 1_000_000_000)
        tap.tap.accept(offered.session, ports)

    def restream(self, tap: Recorder, changed: StreamsChanged) -> None:
        """Receive what changed."""
        tap.tap.restreamed(changed.session, self.receiver.restream(self.recording, changed.streams))

    def finish(self) -> Kept:
        """Hang up; what was kept."""
        self.receiver.finish(self.recording, time.time_ns())
        return read(self.folder / FILE_NAME, self.key)


@dataclass
class Source:
    """One stream's sender."""

    sock: socket.socket
    port: int
    number: int = 0

    def send(self, port: int) -> bytes:
        """One packet of sound that occurs once."""
        sound = os.urandom(160)
        datagram = packet(sound, sequence=self.number, timestamp=160 * self.number, ssrc=self.port)
        self.sock.sendto(datagram, (self.sock.getsockname()[0], port))
        self.number += 1
        return sound


@contextmanager
def sources(count: int, address: str = "127.0.0.1") -> Iterator[list[Source]]:
    """So many senders."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(count)]
        for sock in found:
            sock.bind((address, 0))
            sock.settimeout(5)
        yield [Source(sock, int(sock.getsockname()[1])) for sock in found]


@contextmanager
def behind(folder: Path, address: str = "127.0.0.1") -> Iterator[Behind]:
    """A receiver that runs."""
    receiver = Receiver(Media(address=address, first_port=28_100, last_port=28_999), time.time_ns, lambda _: None)
    receiver.start()
    try:
        yield Behind(receiver, folder)
    finally:
        receiver.stop()


def offer(*lines: tuple[Source, str, str], extra: str = "", connection: str = "c=IN IP4 127.0.0.1") -> bytes:
    """An offer of (sender, label, direction) each, always with the same o= line."""
    media = (audio(source.port, label, direction=direction) + extra for source, label, direction in lines)
    return recording_body(sdp(*media, connection=connection))


async def test_inactive_and_sendonly_in_any_order_lose_no_sound_though_the_version_of_o_never_changes(
    tmp_path: Path,
) -> None:
    """Cisco and Oracle flip before the answer and after; OpenSIPS holds so, and RTP may go on meanwhile (INTEROP)."""
    turns = ["inactive", "sendonly", "inactive", "inactive", "sendonly", "sendonly"]
    with behind(tmp_path) as media, sources(2) as (caller, callee):
        async with (
            recorder(media.open, restream=media.restream) as found,
            udp_client(found.port("udp")) as client,
        ):
            dialogue, said = Dialogue(client), [b"", b""]
            for direction in turns:
                answer = await dialogue.ask(body=offer((caller, "1", direction), (callee, "2", "sendonly")))
                ports = ports_of(answer)
                expected = b"a=inactive" if direction == "inactive" else b"a=recvonly"
                assert answer.count(expected) == (1 if direction == "inactive" else 2)
                for leg, source in enumerate((caller, callee)):
                    said[leg] += source.send(ports[leg])
            soon(lambda: media.receiver.statistics().kept == 2 * len(turns))
        kept = media.finish()
    assert [kept.bytes_of(0), kept.bytes_of(1)] == said


async def test_a_hold_by_the_null_address_and_back_loses_nothing(tmp_path: Path) -> None:
    with behind(tmp_path) as media, sources(2) as (caller, callee):
        async with recorder(media.open, restream=media.restream) as found, udp_client(found.port("udp")) as client:
            dialogue, said = Dialogue(client), b""
            both = (caller, "1", "sendonly"), (callee, "2", "sendonly")
            for connection in ("127.0.0.1", "0.0.0.0", "127.0.0.1"):
                answer = await dialogue.ask(body=offer(*both, connection=f"c=IN IP4 {connection}"))
                said += caller.send(ports_of(answer)[0])
            soon(lambda: media.receiver.statistics().kept == 3)
        assert media.finish().bytes_of(0) == said


async def test_a_stream_that_is_added_is_heard_and_one_that_is_removed_is_not_while_the_other_goes_on(
    tmp_path: Path,
) -> None:
    with behind(tmp_path) as media, sources(3) as (caller, callee, third):
        async with recorder(media.open, restream=media.restream) as found, udp_client(found.port("udp")) as client:
            dialogue = Dialogue(client)
            answer = await dialogue.ask(body=offer((caller, "1", "sendonly")))
            (first,) = ports_of(answer)
            said = [caller.send(first), b""]
            answer = await dialogue.ask(body=offer((caller, "1", "sendonly"), (callee, "2", "sendonly")))
            assert ports_of(answer)[0] == first
            second = ports_of(answer)[1]
            said[0] += caller.send(first)
            said[1] += callee.send(second)
            soon(lambda: media.receiver.statistics().kept == 3)
            removed = sdp(audio(caller.port, "1"), audio(0, "2"))
            answer = await dialogue.ask(body=recording_body(removed))
            assert ports_of(answer) == [first, 0]
            callee.send(second)
            said[0] += caller.send(first)
            soon(lambda: media.receiver.statistics().kept == 4)
            soon(lambda: media.receiver.statistics().foreign == 1)
            back = offer((caller, "1", "sendonly"), (third, "2", "sendonly"))
            answer = await dialogue.ask(body=back)
            assert ports_of(answer) == [first, second]
            said[1] += third.send(second)
            soon(lambda: media.receiver.statistics().kept == 5)
        kept = media.finish()
    assert [kept.bytes_of(0), kept.bytes_of(1)] == said


@pytest.mark.parametrize("mux", [True, False])
async def test_ipv6_from_the_description_to_the_sound_and_the_report(
    mux: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "INTERVAL_NS", 100_000_000)
    with behind(tmp_path, "::1") as media, sources(3, "::1") as (caller, callee, control):
        async with recorder(media.open, restream=media.restream) as found, udp_client(found.port("udp")) as client:
            extra = "\na=rtcp-mux" if mux else f"\na=rtcp:{control.port} IN IP6 ::1"
            both = (caller, "1", "sendonly"), (callee, "2", "sendonly")
            answer = await Dialogue(client).ask(body=offer(*both, extra=extra, connection="c=IN IP6 ::1"))
            assert status_of(answer) == 200
            ports = ports_of(answer)
            said = [caller.send(ports[0]), callee.send(ports[1])]
            soon(lambda: media.receiver.statistics().kept == 2)
            datagram, source = (caller if mux else control).sock.recvfrom(2000)
        kept = media.finish()
    assert [kept.bytes_of(0), kept.bytes_of(1)] == said
    report = rtcp.parse(datagram)[0]
    assert isinstance(report, rtcp.ReceiverReport)
    assert report.blocks[0].source in {caller.port, callee.port}
    assert source[1] in (set(ports) if mux else {port + 1 for port in ports})
