"""One call of real telephones on the wire: beside SIP the service sends well-formed reports of what it received."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from sipgate.phones.recording_client import place
from tests.peers.recording_client import needs_pjsua2
from tests.peers.speech import Dialogue
from tests.peers.wire import Frame, capture, dissect, needs_capture
from tests.service.company import Company

pytestmark = [pytest.mark.peer, pytest.mark.long, needs_pjsua2, needs_capture]

SECONDS = 13.0  # at least one report of each side: they come about every 5 s
RTP = ("udp.srcport", "udp.dstport", "rtp.seq", "rtp.ssrc", "rtp.p_type")
RTCP = ("udp.srcport", "udp.dstport", "rtcp.pt", "rtcp.ssrc.identifier", "rtcp.ssrc.ext_high", "rtcp.ssrc.cum_nr")


def test_the_reports_say_what_was_received_and_no_sound_is_sent_back(
    company: Company, long_spoken: Dialogue, tmp_path: Path
) -> None:
    media = tomllib.loads(company.config.read_text())["media"]
    ports = range(media["first_port"], media["last_port"] + 1)
    file = tmp_path / "call.pcapng"
    with capture(file, company.sip_port, ports):
        report = place(company.call(long_spoken, seconds=SECONDS))
        company.until_idle()
    assert report.status == 200
    rules = (f"udp.port=={company.sip_port},sip",)
    answer = next(
        f for f in dissect(file, ("sdp.media.port",), "sip.Status-Code == 200", *rules) if f.all("sdp.media.port")
    )
    opened = {int(port) for port in answer.all("sdp.media.port")}
    assert len(opened) == 2
    rtp = dissect(file, RTP, "rtp", *rules)
    assert {int(frame.one("udp.dstport")) for frame in rtp} == opened
    assert [frame for frame in rtp if int(frame.one("udp.srcport")) in ports] == [], "a recorder sends no sound"
    ours = [f for f in dissect(file, RTCP, "rtcp", *rules) if int(f.one("udp.srcport")) in ports]
    assert [frame.complaints for frame in ours if frame.complaints] == []
    for port in opened:
        (last,) = [f for f in ours if int(f.one("udp.srcport")) in {port, port + 1}][-1:]
        assert {"201", "202"} <= set(last.all("rtcp.pt")), "a receiver report and a description"
        _says_what_came(last, [f for f in rtp if int(f.one("udp.dstport")) == port])


def _says_what_came(report: Frame, stream: list[Frame]) -> None:
    sequence = int(report.one("rtcp.ssrc.ext_high")) & 0xFFFF
    assert str(sequence) in {frame.one("rtp.seq") for frame in stream}
    assert report.one("rtcp.ssrc.identifier") in {frame.one("rtp.ssrc") for frame in stream}
    assert report.one("rtcp.ssrc.cum_nr") == "0"
