"""GStreamer's rtpbin as an RTP sender, in Debian's Python: it reads receiver reports and says what they told it.

``/usr/bin/python3 gstreamer_sender.py RTP_PORT RTCP_PORT TO_RTP TO_RTCP``: sends a tone as PCMU and sender reports from
the first two ports of 127.0.0.1 to the last two. For each line on standard input it prints one JSON line: what the
report blocks said that came last, all of 0 until one has come.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import gi  # type: ignore[import-not-found,unused-ignore]

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # type: ignore[import-not-found,unused-ignore]  # noqa: E402

PIPELINE = """
rtpbin name=bin
audiotestsrc is-live=true ! mulawenc ! rtppcmupay min-ptime=20000000 max-ptime=20000000 ! bin.send_rtp_sink_0
bin.send_rtp_src_0 ! udpsink host=127.0.0.1 port={to_rtp} bind-address=127.0.0.1 bind-port={rtp}
bin.send_rtcp_src_0 ! udpsink name=control host=127.0.0.1 port={to_rtcp} sync=false async=false
udpsrc name=reports address=127.0.0.1 port={rtcp} ! bin.recv_rtcp_sink_0
"""
TOLD = ("rb-packetslost", "rb-fractionlost", "rb-exthighestseq", "rb-jitter", "rb-lsr", "rb-dlsr", "rb-round-trip")


def main(rtp: int, rtcp: int, to_rtp: int, to_rtcp: int) -> None:
    """Send until standard input ends."""
    Gst.init(None)
    pipeline = Gst.parse_launch(PIPELINE.format(rtp=rtp, rtcp=rtcp, to_rtp=to_rtp, to_rtcp=to_rtcp))
    reports = pipeline.get_by_name("reports")
    reports.set_state(Gst.State.PAUSED)  # opens its socket, so that RTCP goes out through the one where it comes in
    control = pipeline.get_by_name("control")
    control.set_property("socket", reports.get_property("used-socket"))
    control.set_property("close-socket", False)
    session = pipeline.get_by_name("bin").emit("get-internal-session", 0)
    session.set_property("rtcp-min-interval", 200_000_000)
    pipeline.set_state(Gst.State.PLAYING)
    for _ in sys.stdin:
        print(json.dumps(told(session)), flush=True)
    pipeline.set_state(Gst.State.NULL)


def told(session: Any) -> dict[str, int]:
    """Of the sources that sent report blocks; the values of the binding do not outlive it, so its text is read."""
    text = session.get_property("stats").to_string()
    found = {name: re.findall(rf"(?<!sent-){name}\\*=\\*\(\w+\\*\)(-?[0-9]+)", text) for name in TOLD}
    return {name: max(map(int, values), default=0) for name, values in found.items()}


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:5]))
