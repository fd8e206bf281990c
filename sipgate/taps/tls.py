"""TLS for SIP: contexts with modern ciphers, and the names by which a client's certificate is known (RFC 5922 §7.1).

Client certificates are asked for where ``client_ca`` says who signs them; a client without one is heard as over TCP,
unless its connection names a certificate. What a certificate has no right to say is refused in the handshake.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import cast

from sipgate.config import Listen
from sipgate.errors import ConfigurationError

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all modern


def context_for(listen: Listen, key: str, own: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """The context of one socket; ``own`` makes one of sipgate's own authority. ConfigurationError names ``key``."""
    if listen.certificate is None:
        context = own()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(listen.certificate, listen.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"{key}.certificate: {listen.certificate} and its key cannot be used ({error}); "
                "write PEM files that belong together, or leave both out"
            ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(_CIPHERS)
    if listen.client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(cafile=listen.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"{key}.client_ca: {listen.client_ca} cannot be used ({error}); write a PEM file of certificates"
            ) from error
    return context


def names_of(certificate: Mapping[str, object] | None) -> frozenset[str]:
    """The names in a verified certificate, in lower case (``ssl``'s dictionary; None or empty: no certificate)."""
    if not certificate:
        return frozenset()
    alternatives = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    found = {_bare(value) for kind, value in alternatives if kind in {"DNS", "URI"}}
    if not found:
        subject = cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("subject", ()))
        found = {value for part in subject for name, value in part if name == "commonName"}
    return frozenset(name.lower() for name in found)


def _bare(value: str) -> str:
    return value.removeprefix("sips:").removeprefix("sip:")
