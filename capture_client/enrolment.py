"""How a workstation comes to belong to a server: once, with a code, as ``protocol`` says under "Enrolment".

Kept in the client's folder (0700)::

    key.pem           the workstation's Ed25519 key (0600); it never leaves this computer
    certificate.pem   the server's certificate for it
    ca.pem            the one CA that is trusted, for the broker and for uploads
    enrolment.json    addresses, the workstation's name, the key that signs commands
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from capture_client.errors import EnrolmentError

_SECONDS = 20.0
_FINGERPRINT_DIGITS = 32


def default_folder() -> Path:
    """Where a user's client keeps its things."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "sipgate-capture"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What was agreed, as in enrolment.json."""

    folder: Path
    server: str
    workstation: str
    command_key: str
    mqtt_host: str
    mqtt_port: int
    mqtt_version: str

    @classmethod
    def load(cls, folder: Path) -> Enrolment:
        """Read it back; raises EnrolmentError saying what to do."""
        try:
            return cls(folder=folder, **json.loads((folder / "enrolment.json").read_text()))
        except FileNotFoundError as error:
            raise EnrolmentError(f"{folder}: not enrolled; run capture-client enrol --server … --code …") from error
        except (OSError, ValueError, TypeError) as error:
            raise EnrolmentError(f"{folder / 'enrolment.json'}: cannot be read; enrol again") from error

    def command_public_key(self) -> Ed25519PublicKey:
        """The key that commands are signed with, pinned."""
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(self.command_key))

    def own_key(self) -> Ed25519PrivateKey:
        """This workstation's key."""
        key = serialization.load_pem_private_key((self.folder / "key.pem").read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise EnrolmentError(f"{self.folder / 'key.pem'}: not an Ed25519 key; enrol again")
        return key

    def mqtt_context(self) -> ssl.SSLContext:
        """TLS to the broker: trusts the enrolled CA alone, checks the host's name, shows our certificate."""
        context = self.upload_context()
        context.load_cert_chain(self.folder / "certificate.pem", self.folder / "key.pem")
        return context

    def upload_context(self) -> ssl.SSLContext:
        """TLS to the server: trusts the enrolled CA alone, checks the host's name."""
        return _trusting((self.folder / "ca.pem").read_text())


def enrol(server: str, code: str, folder: Path) -> Enrolment:
    """Enrol with the server. What was there before is replaced only when all went well. Raises EnrolmentError."""
    server = server.rstrip("/")
    if not server.startswith("https://"):
        raise EnrolmentError("--server: write https://host:port")
    secret, dash, fingerprint = code.strip().rpartition("-")
    if not (dash and secret and len(fingerprint) == _FINGERPRINT_DIGITS):
        raise EnrolmentError("--code: not a code as the administrator was shown it")
    ca = _fetch_ca(server, fingerprint.lower())
    key = Ed25519PrivateKey.generate()
    answer = _ask(server, code.strip(), ca, key)
    try:
        enrolment = Enrolment(
            folder=folder,
            server=server,
            workstation=str(answer["workstation"]),
            command_key=str(answer["command_key"]),
            mqtt_host=str(answer["mqtt_host"]),
            mqtt_port=int(str(answer["mqtt_port"])),
            mqtt_version=str(answer["mqtt_version"]),
        )
        enrolment.command_public_key()
        certificate = str(answer["certificate"])
        _check_certificate(certificate, key, enrolment.workstation)
    except (KeyError, ValueError) as error:
        raise EnrolmentError(f"{server}: its answer is not as agreed; is client or server out of date?") from error
    _keep(enrolment, ca, certificate, key)
    return enrolment


def _trusting(ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # no system CA; checks name and chain
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca)
    return context


def _fetch_ca(server: str, fingerprint: str) -> str:
    """The server's CA, trusted only because its fingerprint is the one in the code."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    try:
        with httpx.Client(verify=anybody, timeout=_SECONDS, trust_env=False) as client:
            response = client.get(f"{server}/workstation/v1/ca")
        ca = response.raise_for_status().text
        found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(ca)).hexdigest()[:_FINGERPRINT_DIGITS]
    except httpx.HTTPError as error:
        raise EnrolmentError(f"{server}: cannot be reached: {error}") from error
    except ValueError as error:
        raise EnrolmentError(f"{server}: this is no sipgate server") from error
    if found != fingerprint:
        raise EnrolmentError(
            f"{server}: its CA is not the one of the code: somebody may be in between. Nothing was sent"
        )
    return ca


def _ask(server: str, code: str, ca: str, key: Ed25519PrivateKey) -> dict[str, object]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "workstation")])  # the server knows the name
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, None)
    body = {"code": code, "csr": csr.public_bytes(serialization.Encoding.PEM).decode()}
    try:
        with httpx.Client(verify=_trusting(ca), timeout=_SECONDS, trust_env=False) as client:
            response = client.post(f"{server}/workstation/v1/enrol", json=body)
    except httpx.HTTPError as error:
        raise EnrolmentError(f"{server}: cannot be reached: {error}") from error
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise EnrolmentError("--code: wrong, used or expired; ask the administrator for a new one")
    try:
        answer = response.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise EnrolmentError(f"{server}: refused with status {response.status_code}") from error
    if not isinstance(answer, dict):
        raise EnrolmentError(f"{server}: its answer is not as agreed; is client or server out of date?")
    return answer


def _check_certificate(pem: str, key: Ed25519PrivateKey, workstation: str) -> None:
    certificate = x509.load_pem_x509_certificate(pem.encode())
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if certificate.public_key() != key.public_key() or [name.value for name in names] != [workstation]:
        raise ValueError("certificate")


def _keep(enrolment: Enrolment, ca: str, certificate: str, key: Ed25519PrivateKey) -> None:
    folder = enrolment.folder
    own = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    agreed = {name: value for name, value in asdict(enrolment).items() if name != "folder"}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        contents = (("key.pem", own), ("certificate.pem", certificate.encode()), ("ca.pem", ca.encode()))
        for name, content in (*contents, ("enrolment.json", json.dumps(agreed, indent=1).encode())):
            partial = folder / f"{name}.part"
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content)
            partial.replace(folder / name)
    except OSError as error:
        raise EnrolmentError(f"{folder}: cannot be written: {error.strerror}") from error
