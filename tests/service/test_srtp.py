"""A call whose caller's side comes as SRTP and whose callee's does not: the same recording, and no key anywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.peers.rtp import Voice, encoded, speak
from tests.peers.sip_messages import audio, sdp
from tests.peers.speech import Dialogue, compare, read_wav
from tests.peers.srtp import SecureVoice, Sender
from tests.service.company import CUSTOMER, TRAINEE, Company, read_sound
from tests.service.invites import Session

pytestmark = pytest.mark.peer


class Secured(NamedTuple):
    """A session that stands, who speaks in it, and what was recorded before it."""

    session: Session
    caller: SecureVoice
    callee: Voice
    before: set[str]


@pytest.fixture
def secured(company: Company) -> Iterator[Secured]:
    before = company.kept()
    caller = SecureVoice(sender=Sender("AEAD_AES_256_GCM"))
    with caller, Voice() as callee:
        savp = audio(caller.port, "1").replace("RTP/AVP", "RTP/SAVP")
        description = sdp(f"{savp}\n{caller.sender.attribute}", audio(callee.port, "2"))
        session = Session(company.sip_port, CUSTOMER, TRAINEE, description=description)
        for voice, port in zip((caller, callee), session.ports, strict=True):
            voice.destination = port
        yield Secured(session, caller, callee, before)
        session.close()


def test_both_sides_are_heard_in_the_recording_and_no_key_is_found_in_anything(
    company: Company, secured: Secured, spoken: Dialogue, export: Path
) -> None:
    assert secured.session.answer.status == 200
    assert b"RTP/SAVP" in secured.session.answer.raw
    assert b"RTP/AVP" in secured.session.answer.raw
    voices = (secured.caller, secured.callee)
    sounds = [encoded(read_wav(said)) for said in (spoken.caller, spoken.callee)]
    speak(zip(voices, sounds, strict=True))
    time.sleep(0.1)
    secured.session.hang_up()
    recording = company.new_recording(secured.before)["recording"]
    words = ("recordings", "export", recording, "--reason", "to hear both sides", "--to", str(export))
    company.sipgate(*words, login="trainer")
    for heard, said in zip(read_sound(export), (spoken.caller, spoken.callee), strict=True):
        assert compare(heard, read_wav(said))[1] > 0.95
    secret = secured.caller.sender.key.secret
    attribute = secured.caller.sender.attribute.rpartition("inline:")[2]
    assert company.found_of(attribute, secret.hex(), secret.decode("latin-1")) == 0
    good, text = company.health()["SRTP keys"]
    assert not good
    assert "TLS" in text


def test_a_stream_that_nobody_can_authenticate_leaves_no_sound(company: Company, secured: Secured) -> None:
    unauthentic = 'sipgate_rtp_packets_total{fate="unauthentic"}'.replace("{", r"\{").replace("}", r"\}")
    told = company.metric(unauthentic)
    secured.caller.sender = Sender("AEAD_AES_256_GCM")
    speak([(secured.caller, bytes(8000))])
    time.sleep(0.5)
    secured.session.hang_up()
    assert company.metric(unauthentic) - told == 50
    recording = company.new_recording(secured.before)
    assert recording["seconds"] > 1
    company.until_idle()
