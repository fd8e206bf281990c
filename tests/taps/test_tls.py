"""SIPREC over TLS: real handshakes, by Python's ssl and by the openssl command."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509

from sipgate import config
from sipgate.core.events import Ended, Offered
from sipgate.errors import ConfigurationError
from sipgate.taps.siprec import SiprecTap
from sipgate.workstations.pki import Authority
from tests.peers.certificates import TestAuthority
from tests.peers.recorder import recorder
from tests.peers.sip_messages import MIXED, field_of, recording_body, request, status_of, tag_of

LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


@pytest.fixture
def authority(tmp_path: Path) -> TestAuthority:
    return TestAuthority(tmp_path)


def _listen(authority: TestAuthority, *, verifies: bool = False) -> list[dict[str, object]]:
    certificate, key = authority.issue("recorder", LOOPBACK)
    ca = {"client_ca": str(authority.ca)} if verifies else {}
    return [{"transport": "tls", "port": 0, "certificate": str(certificate), "key": str(key), **ca}]


class TlsClient:
    """Asks over one TLS connection; an empty answer is a closed connection."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self._context = port, context
        self.version = ""
        self.cipher = ""

    async def __aenter__(self) -> TlsClient:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)
        connection = self._writer.get_extra_info("ssl_object")
        self.version, self.cipher = connection.version(), connection.cipher()[0]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, data: bytes) -> bytes:
        """Send; the next final answer, header and body."""
        self._writer.write(data)
        async with asyncio.timeout(5):
            while True:
                try:
                    head = await self._reader.readuntil(b"\r\n\r\n")
                except (asyncio.IncompleteReadError, ConnectionError):
                    return b""
                answer = head + await self._reader.readexactly(int(field_of(head, "Content-Length")))
                if status_of(answer) >= 200:
                    return answer


def _request(method: str = "OPTIONS", **changes: object) -> bytes:
    return request(method, transport="TLS", **changes)  # type: ignore[arg-type]


async def test_a_whole_session_over_tls_with_a_modern_cipher(authority: TestAuthority) -> None:
    async with recorder(listen=_listen(authority)) as found, TlsClient(found.port("tls"), authority.client()) as client:
        assert client.version == "TLSv1.3"
        answer = await client.ask(_request("INVITE", body=recording_body(), content_type=MIXED))
        assert status_of(answer) == 200
        assert field_of(answer, "Contact") == f"<sip:127.0.0.1:{found.port('tls')};transport=tls>;+sip.srs"
        tag = tag_of(field_of(answer, "To"))
        assert status_of(await client.ask(_request("BYE", branch="z9hG4bKb", to_tag=tag, sequence=2))) == 200
        assert [type(event) for event in found.events] == [Offered, Ended]


async def test_a_sips_request_gets_a_sips_contact(authority: TestAuthority) -> None:
    async with recorder(listen=_listen(authority)) as found, TlsClient(found.port("tls"), authority.client()) as client:
        assert field_of(await client.ask(_request(uri="sips:srs@127.0.0.1")), "Contact").startswith("<sips:127.0.0.1:")


async def test_tls_1_2_gets_forward_secrecy_and_an_aead(authority: TestAuthority) -> None:
    context = authority.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with recorder(listen=_listen(authority)) as found, TlsClient(found.port("tls"), context) as client:
        assert client.version == "TLSv1.2"
        assert client.cipher.startswith("ECDHE-")
        assert "GCM" in client.cipher or "POLY1305" in client.cipher


@pytest.mark.peer
@pytest.mark.parametrize("offer", [["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1_2", "-cipher", "AES128-SHA"]])
async def test_old_versions_and_ciphers_get_no_connection(authority: TestAuthority, offer: list[str]) -> None:
    async with recorder(listen=_listen(authority)) as found:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{found.port('tls')}", *offer]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(10):
            out, _ = await process.communicate()
    assert process.returncode != 0
    assert b"Cipher is (NONE)" in out


async def _who_is_heard(authority: TestAuthority, context: ssl.SSLContext, name: str = "sbc-1.example") -> str:
    """The connection under which a client is heard; empty when it is not."""
    connections = [{"name": "proven", "certificate": name}]
    listen = _listen(authority, verifies=True)
    async with recorder(listen=listen, connections=connections) as found:
        try:
            async with TlsClient(found.port("tls"), context) as client:
                await client.ask(_request("INVITE", body=recording_body(), content_type=MIXED))
        except (ssl.SSLError, ConnectionError):
            return ""
        return found.all(Offered)[0].connection if found.all(Offered) else ""


@pytest.mark.parametrize(
    ("names", "heard"),
    [
        pytest.param([x509.DNSName("SBC-1.example")], "proven", id="a DNS name"),
        pytest.param([x509.UniformResourceIdentifier("sip:sbc-1.example")], "proven", id="a SIP URI (RFC 5922)"),
        pytest.param([], "proven", id="a common name, where there is no other"),
        pytest.param([x509.DNSName("sbc-2.example")], "", id="a common name beside another name does not count"),
    ],
)
async def test_a_client_is_known_by_the_name_in_its_certificate(
    authority: TestAuthority, names: list[x509.GeneralName], heard: str
) -> None:
    certificate = authority.issue("sbc-1.example", *names)
    assert await _who_is_heard(authority, authority.client(certificate)) == heard


async def test_a_client_without_its_certificate_is_not_heard(authority: TestAuthority) -> None:
    assert await _who_is_heard(authority, authority.client()) == ""


async def test_a_certificate_that_somebody_else_signed_ends_the_handshake(
    authority: TestAuthority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = TestAuthority(tmp_path / "other", "stranger")
    context = authority.client(stranger.issue("sbc-1.example"))
    assert await _who_is_heard(authority, context) == ""


async def test_who_must_show_a_certificate_is_not_heard_over_tcp(authority: TestAuthority) -> None:
    connections = [{"certificate": "sbc-1.example"}]
    async with recorder(listen=_listen(authority, verifies=True), connections=connections) as found:
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port("tcp"))
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_two_clients_behind_one_address_are_told_apart_by_their_certificates(authority: TestAuthority) -> None:
    connections = [{"name": "one", "certificate": "one.example"}, {"name": "two", "certificate": "two.example"}]
    async with recorder(listen=_listen(authority, verifies=True), connections=connections) as found:
        for number, name in enumerate(("two.example", "one.example")):
            context = authority.client(authority.issue(name))
            async with TlsClient(found.port("tls"), context) as client:
                body = recording_body()
                data = _request("INVITE", body=body, content_type=MIXED, call_id=name, branch=f"z9hG4bK{number}")
                assert status_of(await client.ask(data)) == 200
        assert [offered.connection for offered in found.all(Offered)] == ["two", "one"]


async def test_without_certificate_files_sipgates_own_authority_vouches(tmp_path: Path) -> None:
    own = Authority(tmp_path)
    siprec = {
        "listen": [{"transport": "tls", "port": 0}],
        "connection": [{"name": "p", "addresses": ["127.0.0.1"], "begins": "early", "announcement": "before-answer"}],
    }
    settings = config.Siprec.model_validate(siprec)
    tap = SiprecTap(settings, "FR", "127.0.0.1", time.time_ns, print, lambda: own.server_ssl_context(("127.0.0.1",)))
    await tap.start()
    context = ssl.create_default_context(cadata=own.ca_pem)
    async with TlsClient(tap.bound[0][2], context) as client:
        assert status_of(await client.ask(_request())) == 200
    await tap.stop()


async def test_files_that_cannot_be_used_are_named_with_their_key(authority: TestAuthority, tmp_path: Path) -> None:
    certificate, _ = authority.issue("one")
    _, key = authority.issue("two")
    listen = {"transport": "tls", "port": 0, "certificate": str(certificate), "key": str(key)}
    for changes, named in [({}, "siprec.listen.0.certificate"), ({"client_ca": str(tmp_path / "none")}, "client_ca")]:
        good = dict(zip(("certificate", "key"), map(str, authority.issue("good")), strict=True)) if changes else {}
        settings = config.Siprec.model_validate({"listen": [listen | good | changes]})
        with pytest.raises(ConfigurationError, match=named):
            await SiprecTap(settings, "FR", "127.0.0.1", time.time_ns, print).start()


@pytest.mark.parametrize(
    ("siprec", "named"),
    [
        pytest.param({"listen": [{"certificate": "c", "key": "k"}]}, "transport", id="files without TLS"),
        pytest.param(
            {"listen": [{"transport": "tls", "certificate": "c"}]}, "go together", id="a certificate without key"
        ),
        pytest.param(
            {
                "listen": [{"transport": "tls"}],
                "connection": [
                    {
                        "name": "p",
                        "addresses": ["::1"],
                        "begins": "early",
                        "announcement": "before-answer",
                        "certificate": "c",
                    }
                ],
            },
            "client_ca",
            id="a certificate's name that nobody verifies",
        ),
    ],
)
def test_a_configuration_that_would_not_hold_is_refused(siprec: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        config.Siprec.model_validate(siprec)
