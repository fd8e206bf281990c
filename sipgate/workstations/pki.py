"""The site's own small certificate authority, and the key that signs commands.

Made at the first start below the keys' folder (0700; files 0600)::

    <keys>/pki/ca.key, ca.crt              ECDSA P-256, self-signed, 20 years; its SHA-256 is the enrolment fingerprint
    <keys>/pki/server.key, server.crt      the console's and the embedded broker's, for the names asked for
    <keys>/pki/<label>.key, <label>.crt    likewise, for another label: ``broker`` for a mosquitto elsewhere
    <keys>/pki/link.key, link.crt          the server's own MQTT client certificate: CN ``sipgate``, OU ``server``
    <keys>/pki/command.key                 Ed25519; its public half is pinned by workstations at enrolment

Certificates follow RFC 5280 so that OpenSSL's strict verification (the default of Python 3.13) and browsers accept
them: key identifiers (§4.2.1.1, §4.2.1.2), key usage (§4.2.1.3), names in the subjectAltName (§4.2.1.6), basic
constraints critical (§4.2.1.9), extended key usage (§4.2.1.12). The hierarchy has no intermediate (pathLen 0).

A workstation's certificate only opens the broker's door; what it says is believed for its signature, by the key in the
register. So a workstation is removed in the register, and there is no revocation list.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import secrets
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sipgate.errors import ConfigurationError, StoreError, WorkstationError
from sipgate.vault import files

SERVER_NAME = "sipgate"
"""The common name of the server's own MQTT certificate; no workstation may bear it."""
SERVER_UNIT = "server"
WORKSTATION_UNIT = "workstation"
FINGERPRINT_DIGITS = 32

_WORKSTATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL = re.compile(r"[a-z]{1,16}")
_RESERVED_LABELS = frozenset({"ca", "link", "command"})
_CA_DAYS = 20 * 365
_SERVER_DAYS = 397
_RENEW_DAYS = 120
_WORKSTATION_DAYS = 5 * 365
_BACKDATED = datetime.timedelta(hours=1)  # clocks of desks differ
_CSR_BYTES = 16 * 1024


def check_workstation_name(name: str) -> str:
    """The name itself. Raises WorkstationError unless it can be a common name and a level of an MQTT topic."""
    if not _WORKSTATION.fullmatch(name):
        raise WorkstationError("a workstation's name has 1 to 64 letters, digits, dots, dashes or underscores")
    if name.lower() == SERVER_NAME:
        raise WorkstationError(f"{SERVER_NAME} is the server's own name: choose another")
    return name


class Authority:
    """The certificate authority of one site. Raises StoreError naming the path when a file cannot be had."""

    def __init__(self, keys: Path, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._folder = keys / "pki"
        self._contexts: list[tuple[ssl.SSLContext, tuple[str, ...] | None]] = []
        self._served_names: dict[str, tuple[str, ...]] = {}
        files.private_folder(keys)
        files.private_folder(self._folder)
        self._ca_key = self._ec_key("ca")
        self._ca = self._ca_certificate()
        self.command_key = self._command_key()
        """Signs every command; workstations pin its public half."""

    # --- the authority itself -------------------------------------------------------------------------------------

    @property
    def ca_pem(self) -> str:
        """The CA's certificate, for whoever has compared the fingerprint."""
        return self._ca.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def ca_path(self) -> Path:
        """Where the CA's certificate lies."""
        return self._folder / "ca.crt"

    @property
    def fingerprint(self) -> str:
        """The first 32 hexadecimal digits of the SHA-256 of the CA's certificate (DER): part of an enrolment code."""
        return self._ca.fingerprint(hashes.SHA256()).hex()[:FINGERPRINT_DIGITS]

    # --- certificates ---------------------------------------------------------------------------------------------

    def server_certificate(self, names: Iterable[str], label: str = "server") -> tuple[Path, Path]:
        """Paths of a certificate and its key for these DNS names and IP addresses; made anew when it must be.

        That is: when there is none, it is for other names, another CA made it, or it ends within 120 days.
        """
        if not _LABEL.fullmatch(label) or label in _RESERVED_LABELS:
            raise StoreError(f"{label}: not a label for a certificate")
        self._served_names[label] = tuple(names)
        wanted = alternative_names(self._served_names[label])
        self._leaf(label, _subject(str(wanted[0].value), SERVER_UNIT), ExtendedKeyUsageOID.SERVER_AUTH, wanted)
        return self._path(label, "crt"), self._path(label, "key")

    def sign_csr(self, csr_pem: str, workstation: str) -> str:
        """The workstation's certificate (PEM), whatever subject the request asks for. Raises WorkstationError."""
        public_key = csr_public_key(csr_pem)
        subject = _subject(check_workstation_name(workstation), WORKSTATION_UNIT)
        certificate = self._issue(subject, public_key, ExtendedKeyUsageOID.CLIENT_AUTH, [], _WORKSTATION_DAYS)
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    # --- TLS ------------------------------------------------------------------------------------------------------

    def server_ssl_context(self, names: Iterable[str]) -> ssl.SSLContext:
        """For HTTPS: the server's certificate, no client certificates. Kept fresh by ``renew``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        return self._served(context, tuple(names))

    def broker_ssl_context(self, names: Iterable[str]) -> ssl.SSLContext:
        """For the embedded broker: as ``server_ssl_context``, but a certificate of this CA is required."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.ca_pem)
        return self._served(context, tuple(names))

    def link_ssl_context(self) -> ssl.SSLContext:
        """For the server as an MQTT client: trusts this CA alone, shows the server's own client certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cadata=self.ca_pem)
        self._load(context, None)
        self._contexts.append((context, None))
        return context

    def renew(self) -> None:
        """Make anew what ends soon, also in the contexts handed out (for new connections): call it once a day."""
        for label, names in list(self._served_names.items()):
            self.server_certificate(names, label)
        for context, served in self._contexts:
            self._load(context, served)

    def _served(self, context: ssl.SSLContext, names: tuple[str, ...]) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(context, names)
        self._contexts.append((context, names))
        return context

    def _load(self, context: ssl.SSLContext, names: tuple[str, ...] | None) -> None:
        if names is None:
            self._leaf("link", _subject(SERVER_NAME, SERVER_UNIT), ExtendedKeyUsageOID.CLIENT_AUTH, [])
            context.load_cert_chain(self._path("link", "crt"), self._path("link", "key"))
        else:
            context.load_cert_chain(*self.server_certificate(names))

    # --- making ---------------------------------------------------------------------------------------------------

    def _ca_certificate(self) -> x509.Certificate:
        path = self.ca_path
        if path.exists():
            certificate = _read_certificate(path)
            if certificate.public_key() != self._ca_key.public_key():
                raise StoreError(f"{path}: is not the certificate of ca.key beside it: restore both from one backup")
            return certificate
        # The name is unlike any other site's, so that a browser that trusts two of them does not mix them up.
        subject = _subject(f"sipgate CA {secrets.token_hex(4)}", "authority")
        builder = self._builder(subject, subject, self._ca_key.public_key(), _CA_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
        certificate = builder.sign(self._ca_key, hashes.SHA256())
        files.write_once(path, certificate.public_bytes(serialization.Encoding.PEM))
        return _read_certificate(path)

    def _leaf(
        self, label: str, subject: x509.Name, usage: x509.ObjectIdentifier, names: list[x509.GeneralName]
    ) -> None:
        path = self._path(label, "crt")
        key = self._ec_key(label)
        if path.exists() and self._still_good(_read_certificate(path), key.public_key(), names):
            return
        certificate = self._issue(subject, key.public_key(), usage, names, _SERVER_DAYS)
        files.write_whole(path, (certificate.public_bytes(serialization.Encoding.PEM),))

    def _still_good(
        self, certificate: x509.Certificate, public_key: ec.EllipticCurvePublicKey, names: list[x509.GeneralName]
    ) -> bool:
        try:
            found = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            found = []
        lasts = certificate.not_valid_after_utc - self._now() > datetime.timedelta(days=_RENEW_DAYS)
        ours = certificate.issuer == self._ca.subject and certificate.public_key() == public_key
        return lasts and ours and found == names

    def _issue(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey | Ed25519PublicKey,
        usage: x509.ObjectIdentifier,
        names: list[x509.GeneralName],
        days: int,
    ) -> x509.Certificate:
        builder = self._builder(subject, self._ca.subject, public_key, days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._ca_key, hashes.SHA256())

    def _builder(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        public_key: ec.EllipticCurvePublicKey | Ed25519PublicKey,
        days: int,
    ) -> x509.CertificateBuilder:
        now = self._now()
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca_key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(authority, critical=False)
        )

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._now_ns() // 1_000_000_000, datetime.UTC)

    def _path(self, label: str, suffix: str) -> Path:
        return self._folder / f"{label}.{suffix}"

    def _ec_key(self, label: str) -> ec.EllipticCurvePrivateKey:
        found = self._key(label, lambda: ec.generate_private_key(ec.SECP256R1()))
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise StoreError(f"{self._path(label, 'key')}: a key of another kind: restore it from a backup")
        return found

    def _command_key(self) -> Ed25519PrivateKey:
        found = self._key("command", Ed25519PrivateKey.generate)
        if not isinstance(found, Ed25519PrivateKey):
            raise StoreError(f"{self._path('command', 'key')}: a key of another kind: restore it from a backup")
        return found

    def _key(self, label: str, make: Callable[[], ec.EllipticCurvePrivateKey | Ed25519PrivateKey]) -> PrivateKeyTypes:
        path = self._path(label, "key")
        if not path.exists():
            encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
            files.write_once(path, make().private_bytes(encoding, form, serialization.NoEncryption()))
        with files.named(path, "read"):
            if path.stat().st_mode & 0o077:
                raise StoreError(
                    f"{path}: others may read this key: chmod 600 it, if none of them could have copied it"
                )
            pem = path.read_bytes()
        try:
            return serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise StoreError(f"{path}: not a private key: restore it from a backup") from error


def csr_public_key(csr_pem: str) -> Ed25519PublicKey:
    """The key of a workstation's signing request, whose possession it proves. Raises WorkstationError."""
    if len(csr_pem) > _CSR_BYTES:
        raise WorkstationError("the certificate request is too long")
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        public_key = request.public_key()
        valid = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise WorkstationError("not a certificate request") from error
    if not isinstance(public_key, Ed25519PublicKey) or not valid:
        raise WorkstationError("the certificate request must hold, and be signed by, an Ed25519 key")
    return public_key


def _subject(common_name: str, unit: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "sipgate"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]),
        ]
    )


def alternative_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """As they stand in a server's certificate. Raises ConfigurationError."""
    found = [_alternative_name(name) for name in dict.fromkeys(names)]
    if not found:
        raise ConfigurationError("console.names: write at least one name or address")
    return found


def _alternative_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        host = name.encode("idna").decode().lower()
    except UnicodeError:
        host = ""
    if not host:
        raise ConfigurationError(f"console.names: {name!r} is neither a host name nor an address")
    return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _read_certificate(path: Path) -> x509.Certificate:
    with files.named(path, "read"):
        pem = path.read_bytes()
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise StoreError(f"{path}: not a certificate: remove it, or restore it from a backup") from error
