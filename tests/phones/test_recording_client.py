"""The recording client against SIPp as the recorder, and two bare sockets as its media ports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from email import message_from_string
from pathlib import Path
from typing import Literal

import pytest

from sipgate.errors import PeerError
from sipgate.phones.recording_client import OngoingCall, place
from tests.peers.recording_client import CALLEE, CALLER, needs_pjsua2, recorded_call
from tests.peers.rtp_sink import Sink, keys, sound, two_sinks
from tests.peers.sipp_answering import Sipp, free_port
from tests.peers.speech import Dialogue, compare, read_wav

pytestmark = [pytest.mark.peer, needs_pjsua2]

MILLISECOND = 1_000_000


def recorder(
    folder: Path,
    caller: Sink,
    callee: Sink | None,
    scenario: str = "recorder_accepts",
    transport: Literal["udp", "tcp"] = "udp",
) -> Sipp:
    callee_port = 0 if callee is None else callee.port
    return Sipp(folder, scenario, transport, caller_port=caller.port, callee_port=callee_port)


def parts(invite: str) -> dict[str, str]:
    head, _, body = invite.partition("\n\n")
    content_type = next(line for line in head.split("\n") if line.lower().startswith("content-type"))
    whole = message_from_string(f"{content_type}\n\n{body}")
    return {part.get_content_type(): str(part.get_payload()) for part in whole.walk() if not part.is_multipart()}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_the_invite_offers_two_labelled_sendonly_streams_and_says_who_speaks_in_them(
    tmp_path: Path, spoken: Dialogue, transport: Literal["udp", "tcp"]
) -> None:
    with two_sinks() as (caller, callee), recorder(tmp_path, caller, callee, transport=transport) as peer:
        report = place(recorded_call(peer.uri, spoken, seconds=0.5, transport=transport))
        assert peer.succeeded()
    invite = peer.received("INVITE")
    assert report.status == 200
    assert invite.header("Require") == "siprec"
    assert invite.header("Contact").endswith(";+sip.src")
    assert invite.header("Content-Type").startswith("multipart/mixed")
    assert len(invite.text) < 4000
    body = parts(invite.text)
    assert set(body) == {"application/sdp", "application/rs-metadata+xml"}
    _, *media = body["application/sdp"].split("m=audio")
    assert [[line for line in m.split("\n") if line in ("a=sendonly", "a=label:1", "a=label:2")] for m in media] == [
        ["a=sendonly", "a=label:1"],
        ["a=sendonly", "a=label:2"],
    ]
    assert f'aor="{CALLER}"' in body["application/rs-metadata+xml"]
    assert f'aor="{CALLEE}"' in body["application/rs-metadata+xml"]
    assert "Content-Disposition: recording-session" in invite.text


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
def test_each_side_is_heard_on_its_own_port_and_both_from_the_answer_on(
    tmp_path: Path, spoken: Dialogue, codec: Literal["PCMU", "PCMA"]
) -> None:
    with two_sinks() as sinks, recorder(tmp_path, *sinks) as peer:
        report = place(recorded_call(peer.uri, spoken, codecs=(codec,)))
        assert peer.succeeded()
        received = [sink.packets() for sink in sinks]
    assert tuple(len(packets) for packets in received) == report.packets
    assert report.packets[0] == pytest.approx(150, abs=2)
    assert {p.payload_type for packets in received for p in packets} == {0 if codec == "PCMU" else 8}
    lags = []
    for packets, said in zip(received, (spoken.caller, spoken.callee), strict=True):
        lag, likeness = compare(sound(packets), read_wav(said))
        assert likeness > 0.99
        lags.append(lag)
    assert max(lags) < 0.06
    assert lags[0] == lags[1]


def test_its_times_are_those_of_the_messages(tmp_path: Path, spoken: Dialogue) -> None:
    with two_sinks() as sinks, recorder(tmp_path, *sinks) as peer:
        report = place(recorded_call(peer.uri, spoken, seconds=1.0))
        assert peer.succeeded()
    assert report.answered_at_ns is not None
    assert report.hung_up_at_ns is not None
    assert 0 <= peer.received("INVITE").at_ns - report.invited_at_ns < 50 * MILLISECOND
    assert 0 <= report.answered_at_ns - peer.sent(200).at_ns < 50 * MILLISECOND
    assert 0 <= peer.received("BYE").at_ns - report.hung_up_at_ns < 50 * MILLISECOND
    assert abs(report.hung_up_at_ns - report.answered_at_ns - 1000 * MILLISECOND) < 50 * MILLISECOND


def test_a_refusal_is_a_result_and_nothing_is_sent(tmp_path: Path, spoken: Dialogue) -> None:
    with Sipp(tmp_path, "recorder_refuses") as peer:
        report = place(recorded_call(peer.uri, spoken))
        assert peer.succeeded()
    assert report.status == 603
    assert (report.answered_at_ns, report.hung_up_at_ns, report.packets) == (None, None, (0, 0))


def test_what_would_betray_the_call_is_reported_but_never_shown(tmp_path: Path, spoken: Dialogue) -> None:
    with Sipp(tmp_path, "recorder_refuses") as peer:
        call = recorded_call(peer.uri, spoken)
        report = place(call)
        assert peer.succeeded()
    invite, refusal = peer.received("INVITE"), peer.sent(603)
    assert invite.header("Call-ID") in report.traces
    assert invite.header("From").partition("tag=")[2] in report.traces
    assert refusal.header("To").partition("tag=")[2] in report.traces
    metadata = parts(invite.text)["application/rs-metadata+xml"]
    assert sum(trace in metadata for trace in report.traces) >= 6
    shown = repr(call) + repr(report)
    assert not [secret for secret in (*report.traces, "33612345678", "2101", peer.uri) if secret in shown]


def test_headers_of_a_diverted_call_are_sent_along(tmp_path: Path, spoken: Dialogue) -> None:
    diverted = (("Diversion", "<sip:2100@pbx.example>;reason=no-answer"),)
    with Sipp(tmp_path, "recorder_refuses") as peer:
        place(recorded_call(peer.uri, spoken, headers=diverted))
        assert peer.succeeded()
    assert peer.received("INVITE").header("Diversion") == diverted[0][1]


def test_keys_are_pressed_in_the_stream_of_one_side(tmp_path: Path, spoken: Dialogue) -> None:
    with two_sinks() as sinks, recorder(tmp_path, *sinks) as peer:
        with OngoingCall(recorded_call(peer.uri, spoken)) as ongoing:
            ongoing.press("*9", "callee")
            ongoing.press("5", "caller")
            report = ongoing.wait()
        assert peer.succeeded()
        received = [sink.packets() for sink in sinks]
    assert [keys(packets) for packets in received] == ["5", "*9"]
    assert tuple(len(packets) for packets in received) == report.packets


def test_it_hangs_up_when_told(tmp_path: Path, spoken: Dialogue) -> None:
    with two_sinks() as sinks, recorder(tmp_path, *sinks) as peer:
        with OngoingCall(recorded_call(peer.uri, spoken, seconds=60)) as ongoing:
            assert ongoing.answered_at_ns is not None
            report = ongoing.hang_up()
        assert peer.succeeded()
    assert ongoing.report == report
    assert not report.hung_up_by_recorder
    assert report.hung_up_at_ns is not None
    assert report.hung_up_at_ns - ongoing.answered_at_ns < 5000 * MILLISECOND


def test_a_test_that_fails_in_mid_call_leaves_no_call_behind(tmp_path: Path, spoken: Dialogue) -> None:
    with two_sinks() as sinks, recorder(tmp_path, *sinks) as peer:
        with pytest.raises(RuntimeError, match="the test"), OngoingCall(recorded_call(peer.uri, spoken, seconds=60)):
            raise RuntimeError("the test")
        assert peer.succeeded()  # it saw the BYE


def test_a_recorder_may_end_the_session(tmp_path: Path, spoken: Dialogue) -> None:
    with two_sinks() as sinks, recorder(tmp_path, *sinks, "recorder_hangs_up") as peer:
        report = place(recorded_call(peer.uri, spoken, seconds=60))
        assert peer.succeeded()
    assert report.hung_up_by_recorder
    assert report.status == 200
    assert report.answered_at_ns is not None
    assert report.hung_up_at_ns is not None
    assert report.hung_up_at_ns - report.answered_at_ns == pytest.approx(500 * MILLISECOND, abs=100 * MILLISECOND)


def test_a_stream_that_the_recorder_refuses_is_not_sent(tmp_path: Path, spoken: Dialogue) -> None:
    with two_sinks() as (caller, callee), recorder(tmp_path, caller, None) as peer:
        report = place(recorded_call(peer.uri, spoken, seconds=1.0))
        assert peer.succeeded()
        assert len(caller.packets()) == report.packets[0] > 40
        assert not callee.packets()
    assert report.packets[1] == 0


def test_no_recorder_at_the_address_is_an_error_that_names_nobody(spoken: Dialogue) -> None:
    with pytest.raises(PeerError, match="nothing answered the INVITE") as caught:
        place(recorded_call(f"sip:nobody@127.0.0.1:{free_port()}", spoken, transport="tcp"))
    assert "nobody" not in str(caught.value)


def test_an_address_that_is_no_sip_uri_is_an_error_that_says_so(spoken: Dialogue) -> None:
    with pytest.raises(PeerError, match="sending the INVITE: Invalid Request URI"):
        place(recorded_call("not a uri", spoken))


def test_a_wav_that_is_not_there_is_named(tmp_path: Path, spoken: Dialogue) -> None:
    with pytest.raises(PeerError, match=r"absent\.wav: no such WAV"):
        place(recorded_call("sip:peer@127.0.0.1", spoken, caller_wav=tmp_path / "absent.wav"))


def test_a_file_that_is_no_wav_is_an_error(tmp_path: Path, spoken: Dialogue) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(PeerError, match="opening the WAVs"):
        place(recorded_call("sip:peer@127.0.0.1", spoken, caller_wav=tmp_path / "text.wav"))


def test_keys_that_no_telephone_has_are_refused_before_they_are_sent(tmp_path: Path, spoken: Dialogue) -> None:
    with two_sinks() as sinks, recorder(tmp_path, *sinks) as peer:
        with OngoingCall(recorded_call(peer.uri, spoken, seconds=60)) as ongoing:
            for keys_ in ("", "1A"):
                with pytest.raises(PeerError, match="telephone keys"):
                    ongoing.press(keys_)
        assert peer.succeeded()


def test_a_client_that_dies_in_mid_call_is_an_error_and_not_a_silence(tmp_path: Path, spoken: Dialogue) -> None:
    with two_sinks() as sinks, recorder(tmp_path, *sinks) as peer:
        ongoing = OngoingCall(recorded_call(peer.uri, spoken, seconds=60))
        ongoing.start()
        os.kill(ongoing.process_id, signal.SIGKILL)
        with pytest.raises(PeerError, match="recording client ended with status -9"):
            ongoing.wait()


def test_a_call_acts_only_while_it_lasts(spoken: Dialogue) -> None:
    ongoing = OngoingCall(recorded_call("sip:peer@127.0.0.1", spoken))
    with pytest.raises(PeerError, match="not started"):
        ongoing.hang_up()
    with pytest.raises(PeerError, match="not over yet"):
        _ = ongoing.report


def test_without_the_wheel_it_says_what_to_install(spoken: Dialogue) -> None:
    code = (
        "from pathlib import Path\nfrom sipgate.errors import PeerError\nimport sipgate.phones.recording_client as c\n"
        f"p = Path({str(spoken.caller)!r})\n"
        "try: c.place(c.RecordedCall('sip:a@127.0.0.1', 'sip:b@c', 'sip:d@e', p, p, 1.0))\n"
        "except PeerError as error: print(error)"
    )
    bare = subprocess.run(  # -S: no site-packages, hence no pjsua2
        [sys.executable, "-S", "-c", code],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert bare.stdout.startswith("pjsua2 is not installed for Python 3.")
    assert "pip install 'sipgate[phones]'" in bare.stdout
