"""SRTP in the signalling (RFC 4568): what core learns, what the client is answered, and that no key goes elsewhere."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import logging
from pathlib import Path

import pytest
from cryptography import x509

from sipgate.core.events import MediaKey, Offered, StreamsChanged
from tests.peers.certificates import TestAuthority
from tests.peers.dialogue import Dialogue, ports_of
from tests.peers.recorder import recorder, udp_client
from tests.peers.sip_messages import MIXED, audio, recording_body, request, sdp, status_of

CM = "AES_CM_128_HMAC_SHA1_80"
SECRET, OTHER = bytes(range(30)), bytes(range(100, 130))


def secured(port: int = 40000, label: str = "1", secret: bytes = SECRET) -> str:
    """An m-line of SRTP."""
    lines = audio(port, label).replace("RTP/AVP", "RTP/SAVP")
    return f"{lines}\na=crypto:3 {CM} inline:{base64.b64encode(secret).decode()}|2^31"


MIXED_PROFILES = sdp(secured(), audio(40002, "2"))


def cryptos(answer: bytes) -> list[bytes]:
    """The a=crypto lines of an answer."""
    return [line for line in answer.split(b"\r\n") if line.startswith(b"a=crypto")]


async def test_avp_and_savp_in_one_offer_are_each_answered_in_kind() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        answer = await Dialogue(client).ask(body=recording_body(MIXED_PROFILES))
        assert ports_of(answer) == [30000, 30002]
        assert b"m=audio 30000 RTP/SAVP 0 101\r\n" in answer
        assert b"m=audio 30002 RTP/AVP 0 101\r\n" in answer
        (own,) = cryptos(answer)
        assert own.startswith(b"a=crypto:3 " + CM.encode() + b" inline:")
        assert base64.b64encode(SECRET) not in answer, "a key of ours, not theirs"
        streams = found.all(Offered)[0].streams
        assert [stream.crypto for stream in streams] == [(MediaKey(CM, SECRET),), ()]


async def test_our_key_stays_until_theirs_changes_and_is_another_in_each_session() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        body = recording_body(MIXED_PROFILES)
        first = await dialogue.ask(body=body)
        again = await dialogue.ask(body=body)
        assert again.partition(b"v=0")[2] == first.partition(b"v=0")[2], "to the byte, with its version"
        assert found.all(StreamsChanged) == []
        held = sdp(secured().replace("sendonly", "inactive"), audio(40002, "2"))
        assert cryptos(await dialogue.ask(body=recording_body(held))) == cryptos(first)
        async with udp_client(found.port("udp")) as another:
            other = await Dialogue(another, call_id="another@client").ask(body=body)
        assert cryptos(other) != cryptos(first)


async def test_a_new_key_on_the_same_port_is_news_for_core_and_keeps_the_port() -> None:
    async with recorder(restream=False) as found, udp_client(found.port("udp")) as client:
        dialogue = Dialogue(client)
        first = await dialogue.ask(body=recording_body(MIXED_PROFILES))
        rekeyed = sdp(secured(secret=OTHER), audio(40002, "2"), origin="o=- 1 2 IN IP4 127.0.0.1")
        answer = await dialogue.ask(body=recording_body(rekeyed))
        assert ports_of(answer) == [30000, 30002]
        assert cryptos(answer) != cryptos(first)
        changed = await found.wait_for(StreamsChanged)
        assert [stream.crypto for stream in changed.streams] == [(MediaKey(CM, OTHER),), ()]


async def test_savp_without_a_usable_key_alone_is_488_and_says_why() -> None:
    unusable = audio(40000, "1").replace("RTP/AVP", "RTP/SAVP")
    async with recorder() as found, udp_client(found.port("udp")) as client:
        answer = await Dialogue(client).ask(body=recording_body(sdp(unusable)))
        assert status_of(answer) == 488
        assert b"SRTP" in answer
        assert [offered.streams for offered in found.all(Offered)] == [()]


async def test_no_key_is_kept_with_the_metadata_or_written_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    text = base64.b64encode(SECRET).decode()
    with caplog.at_level(logging.DEBUG):
        async with recorder() as found, udp_client(found.port("udp")) as client:
            await Dialogue(client).ask(body=recording_body(MIXED_PROFILES))
            offered = found.all(Offered)[0]
            kept = found.tap.metadata(offered.session)
            assert b"<recording" in kept
            assert b"crypto" not in kept
            assert text.encode() not in kept
            broken = sdp(secured() + "\nm=broken")
            message = request(body=recording_body(broken), content_type=MIXED, call_id="broken@client")
            assert status_of(await client.ask(message)) == 400
    assert text not in caplog.text
    assert "x02" not in repr(offered)


async def test_keys_over_signalling_that_anybody_can_read_are_told_of() -> None:
    async with recorder() as found, udp_client(found.port("udp")) as client:
        await Dialogue(client).ask(body=recording_body(sdp(audio(40000, "1"))))
        assert found.tap.keys_shown == frozenset()
        async with udp_client(found.port("udp")) as another:
            await Dialogue(another, call_id="second@client").ask(body=recording_body(MIXED_PROFILES))
        assert found.tap.keys_shown == {"pbx"}


async def test_keys_over_tls_are_nothing_to_tell_of(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    certificate, key = authority.issue("recorder", x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    listen = [{"transport": "tls", "port": 0, "certificate": str(certificate), "key": str(key)}]
    async with recorder(listen=listen) as found:
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port("tls"), ssl=authority.client())
        writer.write(request(transport="TLS", body=recording_body(MIXED_PROFILES), content_type=MIXED))
        async with asyncio.timeout(5):
            while status_of(head := await reader.readuntil(b"\r\n\r\n")) < 200:
                pass
        writer.close()
        assert status_of(head) == 200
        assert found.all(Offered)[0].streams[0].crypto
        assert found.tap.keys_shown == frozenset()
