"""What signalling shows of a line: numbers and SIP addresses out of the URIs that real equipment sends.

A SIP address (RFC 3261 §19.1.4) is ``user@host``, escapes decoded, parameters, password and port dropped, all in lower
case (the RFC's user part is case-sensitive; no PBX has two people who differ by it). The user part, when it looks like
a number, is an identity of its own as well: ``sip:2001@pbx`` is also extension 2001.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from sipgate.core.numbers import Number, compact, digits_of, parse_number, parse_public

_ANONYMOUS_USERS = frozenset(
    {"", "anonymous", "unknown", "unavailable", "restricted", "private", "asserted", "withheld", "asterisk", "nobody"}
)
_UNKNOWN_HOST = ".invalid"
"""RFC 3323 §4.1.1.3, RFC 2606 §2: a host of this domain is nobody's."""
_ADDRESSED_SCHEMES = frozenset({"sip", "sips", "tel", "h323", "im", "pres", "xmpp", "mailto", "callto"})
_OTHER_SCHEMES = frozenset({"urn", "http", "https", "cid", "data"})
_DIALLABLE = re.compile(r"[+0-9*#-]+")
_UNBRACKETED = re.compile(r"[\s\"]((?:sips?|tel):\S+)$", re.IGNORECASE)
_ZEROS = re.compile(r"\+?0{4,}")
_MARK = "-_.!~*'()&=+$,;?/"
"""What stands unescaped in a user part (RFC 3261 §25.1, unreserved and user-unreserved)."""


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A SIP address of record, ``user@host``."""

    aor: str

    @property
    def user(self) -> str:
        """All before the host: users who are e-mail addresses hold an ``@`` themselves."""
        return self.aor.rpartition("@")[0]

    @property
    def host(self) -> str:
        """The host, in lower case."""
        return self.aor.rpartition("@")[2]

    def __str__(self) -> str:
        return f"sip:{quote(self.user, safe=_MARK.replace(';', ''))}@{self.host}"


Identity = Number | Address


def identities_of(uri: str, country: str) -> frozenset[Identity]:
    """What a URI (``sip:``, ``sips:``, ``tel:``, or bare) says about a line; empty when it identifies nobody.

    Takes a name-addr (``"Bob" <sip:bob@host>;tag=1``) too.
    """
    scheme, rest = split_scheme(bare_uri(uri))
    if scheme in _OTHER_SCHEMES:
        return frozenset()
    if scheme == "tel":
        return _of_subscriber(rest, country)
    user, at, host_part = _split_user(rest)
    if at:
        return _of_address(user, host_part, country)
    # No user: a host, which identifies nobody, but some equipment leaves the host out instead.
    if not _DIALLABLE.fullmatch(rest.partition(";")[0]) and (scheme or _is_host_address(rest)):
        return frozenset()
    return _of_subscriber(rest.partition("?")[0], country)


def bare_uri(text: str) -> str:
    """The URI of a name-addr (RFC 3261 §25.1), or ``text`` itself."""
    text = text.strip()
    opened = text.rfind("<")
    if opened >= 0:
        return text[opened + 1 :].partition(">")[0].strip()
    unbracketed = _UNBRACKETED.search(text)
    return unbracketed[1] if unbracketed else text.rstrip(">")


def split_scheme(uri: str) -> tuple[str, str]:
    """Scheme in lower case and the rest; no scheme but a known one is taken for one (``host:port`` has none)."""
    scheme = ""
    while (found := uri.partition(":"))[1] and found[0].strip().lower() in _ADDRESSED_SCHEMES | _OTHER_SCHEMES:
        scheme, uri = found[0].strip().lower(), found[2].strip().lstrip("/")
    return scheme, uri


def _split_user(rest: str) -> tuple[str, str, str]:
    # Headers (RFC 3261 §19.1.1, "?") come after the host, and may hold an @ that somebody forgot to escape.
    before, _, after = rest.partition("?")
    if "@" in before or "@" not in after:
        rest = before
    elif "=" in after.partition("@")[0]:
        return "", "", before
    return rest.rpartition("@")


def _is_host_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition(";")[0].strip().strip("[]"))
    except ValueError:
        return False
    return True


def _of_address(user_info: str, host_part: str, country: str) -> frozenset[Identity]:
    user, parameters = user_of(user_info), user_info.partition(";")[2]
    host = host_of(host_part)
    if f".{host}".endswith(_UNKNOWN_HOST) or _is_nobody(user):
        return frozenset()
    found: set[Identity] = set(_of_subscriber(f"{user};{parameters}", country))
    if host or found:  # an @ and no host that can be read: somewhere, and not here
        found.add(Address(f"{user}@{host}"))
    return frozenset(found)


def dialled_by(address: Address) -> str:
    """The user as it would be dialled: the digits of the extension that ``identities_of`` gives beside an address."""
    return compact(_dialled(address.user))


def _dialled(subscriber: str) -> str:
    return unquote(subscriber).partition(";")[0]


def user_of(user_info: str) -> str:
    """The user of ``user[;params][:password]``, escapes decoded (RFC 3261 §19.1.4), in lower case."""
    return unquote(user_info.partition(";")[0].partition(":")[0]).strip().lower()


def _is_nobody(user: str) -> bool:
    """Whether equipment that knows no caller writes this (all zeros: FreeSWITCH and others)."""
    return user in _ANONYMOUS_USERS or _ZEROS.fullmatch(compact(user)) is not None


def _of_subscriber(text: str, country: str) -> frozenset[Identity]:
    """The numbers of a telephone-subscriber (RFC 3966 §3): its own, with its extension, and with its context."""
    dialled, rest = _dialled(text), unquote(text).split(";")[1:]
    parameters = {k.strip().lower(): v for k, _, v in (p.partition("=") for p in rest)}
    number = parse_number(dialled, country)
    if number is None or _is_nobody(dialled):
        return frozenset()
    found = {number}
    if extension := digits_of(parameters.get("ext", "")):
        found.add(Number(number.digits, extension))
    context = compact(parameters.get("phone-context", ""))
    if context.startswith("+") and not compact(dialled).startswith("+"):
        in_context = parse_public(context + compact(dialled), country)
        found.update({in_context} if in_context is not None else ())
    return frozenset(found)


def host_of(host_part: str) -> str:
    """The host of ``host[:port][;params]``, in lower case; IPv6 references in their short form (RFC 5952)."""
    host = host_part.partition(";")[0].partition("?")[0].strip().lower()
    if host.startswith("["):
        inside = host[1:].partition("]")[0]
        try:
            return f"[{ipaddress.IPv6Address(inside)}]"
        except ValueError:
            return f"[{inside}]"
    return host.partition(":")[0].rstrip(".")


def is_host(host: str) -> bool:
    """Whether ``host``, as ``host_of`` gives it, is a name or an address (RFC 3261 §25.1)."""
    return re.fullmatch(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", host) is not None or _is_host_address(host)
