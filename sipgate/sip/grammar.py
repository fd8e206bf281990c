"""The parts of SIP's grammar that a recording server needs (RFC 3261 §25.1): URIs, addresses, Via, CSeq.

Read liberally, since a call that is not recorded because of a character helps nobody: host names with underscores,
any text in a display name (unquoted commas, bytes beyond ASCII), ``@``, ``=`` and ``:`` in a parameter, blanks within
``<`` and ``>``, IPv6 with or without brackets in ``received`` and with RFC 2373's third colon (RFC 5118 §4.10).
``sipmessage`` was used first; it refuses all of these. What could mean two things is refused.

Every function raises GrammarError, which never says what it read. All take time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

_TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]+"  # noqa: S105 - RFC 3261's word
_VIA = re.compile(rf"SIP */ *2\.0 */ *({_TOKEN}) +(\[[^\]\s]*\]|[^\s;:,\[\]]+)(?: *: *([0-9]{{1,5}}))? *(?=;|$)", re.I)
# What nearly every message has, read in one step; whatever does not fit goes the long way.
_PLAIN_VIA = re.compile(
    r"SIP/2\.0/([A-Z]{2,4}) ([A-Za-z0-9][A-Za-z0-9.]*)(?::([0-9]{1,4}))?;branch=([A-Za-z0-9\-.!%*_+~]+)(;rport)?"
)
_PLAIN_ADDRESS = re.compile(
    r"(?:\"[A-Za-z0-9 ._-]*\" ?)?<(sips?:(?:[A-Za-z0-9+._-]+@)?[A-Za-z0-9][A-Za-z0-9.]*(?::[0-9]{1,4})?)>"
    r"(?:;tag=([A-Za-z0-9\-.!%*_+~]+))?"
)
_CSEQ = re.compile(rf"([0-9]{{1,10}})[ \t]+({_TOKEN})")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_NOT_IN_URI = re.compile(r"[\s<>\"\x00-\x1f\x7f]")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_.])?")
_TEL = re.compile(r"[0-9A-Fa-f*#+().\-]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PARAMETER = re.compile(r' *([^\s;,="<>]+)(?: *= *("(?:[^"\\]|\\.)*"|[^\s;,"<>]*))? *', re.DOTALL)
_MAX_SEQUENCE = 2**31 - 1  # RFC 3261 §8.1.1.5


class GrammarError(ValueError):
    """The text is not of the form that it should have."""


@dataclass(frozen=True, slots=True, repr=False)
class Uri:
    """A URI; of schemes other than sip, sips and tel only the scheme is known. ``user`` still has its escapes."""

    scheme: str
    user: str
    host: str
    port: int | None


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A name-addr or addr-spec: the URI as it was written, and the parameters behind it, names in lower case."""

    uri: str
    parameters: dict[str, str]


@dataclass(frozen=True, slots=True, repr=False)
class Via:
    """One Via. ``text`` is how it was written."""

    text: str
    transport: str
    host: str
    port: int | None
    parameters: dict[str, str]


def read_via(text: str) -> Via:
    """One Via value (RFC 3261 §20.42)."""
    if (plain := _PLAIN_VIA.fullmatch(text)) is not None:
        port = int(plain[3]) if plain[3] else None
        parameters = {"branch": plain[4], "rport": ""} if plain[5] else {"branch": plain[4]}
        return Via(text, plain[1], plain[2].lower(), port, parameters)
    text = text.replace("\t", " ")
    match = _VIA.match(text)
    if match is None:
        raise GrammarError
    _check_host(match[2])
    port = int(match[3]) if match[3] else None
    if port is not None and port > 65535:
        raise GrammarError
    return Via(text, match[1].upper(), match[2].lower(), port, read_parameters(text, match.end()))


def read_cseq(text: str) -> tuple[int, str]:
    """Sequence number and method (§20.16)."""
    match = _CSEQ.fullmatch(text)
    if match is None or int(match[1]) > _MAX_SEQUENCE:
        raise GrammarError
    return int(match[1]), match[2]


def read_address(text: str) -> Address:
    """The first address of a From, To or Contact (§20.10, §20.20)."""
    if (plain := _PLAIN_ADDRESS.fullmatch(text)) is not None:
        return Address(plain[1], {"tag": plain[2]} if plain[2] else {})
    text = text.strip()
    start = 0
    if text.startswith('"'):
        quoted = _QUOTED.match(text)
        if quoted is None:
            raise GrammarError
        start = quoted.end()
        if text[start:].lstrip()[:1] != "<":
            raise GrammarError
    opening = text.find("<", start)
    if opening < 0:
        # Without brackets the parameters are the header field's, and a URI may not bring headers (§20.10).
        uri, _, _ = text.partition(";")
        uri = uri.partition(",")[0].strip()
        if "?" in uri.rpartition("@")[2]:
            raise GrammarError
        end = text.find(";")
        end = len(text) if end < 0 else end
    else:
        closing = text.find(">", opening)
        if closing < 0:
            raise GrammarError
        uri, end = text[opening + 1 : closing].strip(), closing + 1
    read_uri(uri)
    return Address(uri, read_parameters(text, end))


def read_uri(text: str) -> Uri:
    """A URI (RFC 3261 §19.1, RFC 3966). Headers behind ``?`` are passed over: nothing here acts on them."""
    match = _SCHEME.match(text)
    if match is None or _NOT_IN_URI.search(text) or match.end() == len(text):
        raise GrammarError
    scheme, rest = match[1].lower(), text[match.end() :]
    if scheme == "tel":
        number = rest.partition(";")[0]
        if not _TEL.fullmatch(number):
            raise GrammarError
        return Uri(scheme, number, "", None)
    if scheme not in {"sip", "sips"}:
        return Uri(scheme, "", "", None)
    user, at, place = rest.rpartition("@")
    if at and not user:
        raise GrammarError
    host, port = _host_and_port(re.split("[;?]", place, maxsplit=1)[0])
    return Uri(scheme, user, host, port)


def read_parameters(text: str, start: int) -> dict[str, str]:
    """``;name=value`` up to the end or a comma. One semicolon at the very end is borne, empty ones within are not."""
    found: dict[str, str] = {}
    for name, value in _parameters(text, start):
        found.setdefault(name.lower(), value)
    return found


def _parameters(text: str, at: int) -> Iterator[tuple[str, str]]:
    while at < len(text):
        if text[at] in " \t":
            at += 1
            continue
        if text[at] == ",":
            return
        if text[at] != ";":
            raise GrammarError
        if at + 1 == len(text):
            return
        match = _PARAMETER.match(text, at + 1)
        if match is None:
            raise GrammarError
        value = match[2] or ""
        yield match[1], re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        at = match.end()


def _host_and_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, port = text.partition("]")
        host += bracket
        if port and not port.startswith(":"):
            raise GrammarError
        port = port[1:]
    else:
        host, _, port = text.partition(":")
    _check_host(host)
    if port and not (port.isascii() and port.isdigit() and int(port[:6]) <= 65535):
        raise GrammarError
    return host.lower(), int(port) if port else None


def _check_host(host: str) -> None:
    if not host.startswith("["):
        if not _HOST.fullmatch(host):
            raise GrammarError
        return
    try:
        IPv6Address(host[1:-1].replace(":::", "::"))
    except AddressValueError:
        raise GrammarError from None
