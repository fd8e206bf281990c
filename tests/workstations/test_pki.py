"""The authority: what OpenSSL says of its certificates, and what it refuses to sign."""

from __future__ import annotations

import hashlib
import ssl
import stat
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from sipgate.errors import ConfigurationError, StoreError, WorkstationError
from sipgate.workstations.pki import Authority
from tests.peers.workstation import signing_request
from tests.workstations.conftest import NAMES, Site

DAY_NS = 86_400 * 1_000_000_000


def common_name(pem: str) -> str:
    subject = x509.load_pem_x509_certificate(pem.encode()).subject
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def openssl_verify(authority: Authority, certificate: Path, purpose: str) -> str:
    """What OpenSSL's strict verification says; empty when it agrees."""
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", authority.ca_path, certificate],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bytes:
    """Both ends in memory; the certificate (DER) that the client saw. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname=name)
    there = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = {here, there}
    for _ in range(10):
        for end in tuple(waiting):
            try:
                end.do_handshake()
                waiting.discard(end)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    return here.getpeercert(binary_form=True) or b""


def test_the_fingerprint_is_of_the_certificate_and_outlives_a_restart(tmp_path: Path) -> None:
    first, second = Authority(tmp_path), Authority(tmp_path)
    assert first.fingerprint == hashlib.sha256(ssl.PEM_cert_to_DER_cert(first.ca_pem)).hexdigest()[:32]
    assert second.ca_pem == first.ca_pem
    assert second.command_key.private_bytes_raw() == first.command_key.private_bytes_raw()


def test_two_sites_have_authorities_of_different_names(tmp_path: Path) -> None:
    assert common_name(Authority(tmp_path / "a").ca_pem) != common_name(Authority(tmp_path / "b").ca_pem)


def test_nobody_else_can_read_the_keys(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "keys")
    authority.server_certificate(NAMES)
    authority.link_ssl_context()
    found = sorted((tmp_path / "keys").rglob("*"))
    assert {p.name for p in found} >= {"ca.key", "server.key", "link.key", "command.key"}
    for path in (tmp_path / "keys", *found):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_openssl_accepts_every_certificate_strictly_for_its_purpose_alone(site: Site) -> None:
    desk = site.desk("desk-1")
    server, _ = site.authority.server_certificate(NAMES)
    site.authority.link_ssl_context()
    link = site.folder / "keys" / "pki" / "link.crt"
    assert openssl_verify(site.authority, server, "sslserver") == ""
    assert openssl_verify(site.authority, desk.certificate, "sslclient") == ""
    assert openssl_verify(site.authority, link, "sslclient") == ""
    assert "purpose" in openssl_verify(site.authority, server, "sslclient")
    assert "purpose" in openssl_verify(site.authority, desk.certificate, "sslserver")


def test_the_authority_makes_no_authorities(site: Site) -> None:
    found = x509.load_pem_x509_certificate(site.authority.ca_pem.encode())
    constraints = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_strict_client_accepts_the_server_under_each_of_its_names(site: Site, name: str) -> None:
    desk = site.desk("desk-1")
    assert handshake(site.authority.server_ssl_context(NAMES), desk.ssl_context(), name)


def test_under_another_name_the_server_is_not_accepted(site: Site) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(site.authority.server_ssl_context(NAMES), site.desk("d").ssl_context(), "elsewhere.example")


def test_the_workstations_name_is_forced_whatever_the_request_asks(site: Site) -> None:
    request = signing_request(Ed25519PrivateKey.generate(), "sipgate")
    assert common_name(site.authority.sign_csr(request, "desk-7")) == "desk-7"


@pytest.mark.parametrize("name", ["", "sipgate", "SIPGATE", "a/b", "+", "#", "a b", "é", "x" * 65, "-a", "a\n"])
def test_names_that_could_be_a_topics_wildcard_or_the_servers_are_refused(site: Site, name: str) -> None:
    with pytest.raises(WorkstationError):
        site.authority.sign_csr(signing_request(Ed25519PrivateKey.generate(), "x"), name)


def test_only_an_ed25519_key_that_signed_its_request_is_certified(site: Site) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    other_kind = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    der = bytearray(ssl.PEM_cert_to_DER_cert(_as_certificate(signing_request(Ed25519PrivateKey.generate(), "x"))))
    der[-1] ^= 1  # the signature's last byte
    tampered = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    for pem in (other_kind.public_bytes(serialization.Encoding.PEM).decode(), tampered.decode(), "", "x" * 20_000):
        with pytest.raises(WorkstationError):
            site.authority.sign_csr(pem, "desk-1")


def test_a_server_certificate_is_kept_until_it_ends_soon_or_its_names_change(tmp_path: Path) -> None:
    now = [time.time_ns()]
    authority = Authority(tmp_path, lambda: now[0])
    path, _ = authority.server_certificate(NAMES)
    first = path.read_bytes()
    now[0] += 200 * DAY_NS
    assert authority.server_certificate(NAMES)[0].read_bytes() == first
    now[0] += 100 * DAY_NS
    second = authority.server_certificate(NAMES)[0].read_bytes()
    assert second != first
    third = authority.server_certificate((*NAMES, "sipgate.example"))[0].read_bytes()
    assert third != second
    assert authority.server_certificate((*NAMES, "sipgate.example"))[0].read_bytes() == third


def test_renewing_reaches_the_contexts_in_use(site: Site) -> None:
    now = [time.time_ns() - 300 * DAY_NS]
    authority = Authority(site.folder / "old", lambda: now[0])
    context = authority.server_ssl_context(NAMES)
    client = ssl.create_default_context(cadata=authority.ca_pem)
    before = handshake(context, client, "localhost")
    authority.renew()
    assert handshake(context, client, "localhost") == before
    now[0] += 290 * DAY_NS
    authority.renew()
    assert handshake(context, client, "localhost") != before


def test_renewing_reaches_the_certificate_of_a_broker_elsewhere(tmp_path: Path) -> None:
    now = [time.time_ns()]
    authority = Authority(tmp_path, lambda: now[0])
    path, _ = authority.server_certificate(("broker.example",), "broker")
    before = path.read_bytes()
    now[0] += 300 * DAY_NS
    authority.renew()
    assert path.read_bytes() != before


@pytest.mark.parametrize("label", ["ca", "link", "command", "../x", ""])
def test_no_label_reaches_another_key(tmp_path: Path, label: str) -> None:
    with pytest.raises(StoreError, match="label"):
        Authority(tmp_path).server_certificate(NAMES, label)


def test_what_is_wrong_below_the_keys_folder_is_named(tmp_path: Path) -> None:
    Authority(tmp_path / "keys")
    Authority(tmp_path / "other")
    pki = tmp_path / "keys" / "pki"
    (pki / "ca.key").chmod(0o644)
    with pytest.raises(StoreError, match=r"ca\.key.*chmod 600"):
        Authority(tmp_path / "keys")
    (pki / "ca.key").chmod(0o600)
    (pki / "ca.crt").write_bytes((tmp_path / "other" / "pki" / "ca.crt").read_bytes())
    with pytest.raises(StoreError, match=r"ca\.crt: is not the certificate of ca\.key"):
        Authority(tmp_path / "keys")
    (pki / "ca.crt").unlink()
    (pki / "command.key").write_text("nothing")
    with pytest.raises(StoreError, match=r"command\.key: not a private key"):
        Authority(tmp_path / "keys")


@pytest.mark.parametrize("names", [(), ("",), ("x" * 64 + ".example",)])
def test_names_that_no_certificate_can_have_are_a_configuration_error(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"console\.names"):
        Authority(tmp_path).server_certificate(names)


def _as_certificate(csr_pem: str) -> str:
    return csr_pem.replace("CERTIFICATE REQUEST", "CERTIFICATE")
