"""sipgate.toml, validated once. Unknown keys are refused; every error names its key and says what to write.

There is no key that turns a rule of RULES.md off. What is left out takes the default below; a file with no
``[[siprec.connection]]`` records nothing, since no peer may call.
"""

from __future__ import annotations

import re
import tomllib
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

import phonenumbers
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sipgate.errors import ConfigurationError

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
Port = Annotated[int, Field(ge=0, le=65535)]
_HOST_NAME = re.compile("[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


def _host(text: str) -> str:
    """A host as core compares it: in lower case, IPv6 in brackets and in its short form (RFC 5952)."""
    host = text.strip().lower().removesuffix(".")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        if not _HOST_NAME.fullmatch(host):
            raise ValueError("write a host alone, such as pbx.example or 192.0.2.10, without sip: or a port") from None
        return host
    return f"[{address}]" if address.version == 6 else str(address)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Site(_Section):
    """The company's site: its name on pages and notices, its country for national telephone numbers."""

    name: str = Field("This site", description="shown on pages and notices")
    country: str = Field("FR", pattern="^[A-Z]{2}$", description="ISO 3166 code, for national telephone numbers")
    domains: tuple[str, ...] = Field(
        (),
        description="hosts in the SIP addresses of the site's own lines, as its SBCs show them to the recorder: where "
        "given, an extension at any other host is another company's line (RULES R4); exclusions hold at every host",
    )

    @field_validator("country")
    @classmethod
    def _has_numbers(cls, value: str) -> str:
        if value not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError(f"{value} is no country whose telephone numbers are known; write its ISO 3166 code, as FR")
        return value

    @field_validator("domains")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_host(text) for text in value)


class Store(_Section):
    """Where things are kept. ``keys`` is apart from ``data``: put it on another disk, and back it up apart."""

    data: Path = Field(Path("data"), description="register, media, journal, crash ledger")
    keys: Path = Field(Path("keys"), description="site key, recordings' wrapped keys, CA, signing keys")


class Listen(_Section):
    """One socket on which SIP is heard."""

    transport: Literal["udp", "tcp", "tls"] = "udp"
    address: IPAddress = IPv4Address("127.0.0.1")
    port: Port = 5060
    certificate: Path | None = Field(None, description="tls: PEM, chain included; left out: of sipgate's own authority")
    key: Path | None = Field(None, description="tls: PEM, the certificate's private key")
    client_ca: Path | None = Field(None, description="tls: PEM of who signs the certificates that clients may show")

    @model_validator(mode="after")
    def _tls_alone(self) -> Listen:
        if self.transport != "tls" and (self.certificate or self.key or self.client_ca):
            raise ValueError('certificate, key and client_ca are for transport = "tls"')
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: write both, or neither for sipgate's own authority")
        return self


class Connection(_Section):
    """One recording client (PBX, SBC, proxy) that may open recording sessions, and what is true of it."""

    name: str = Field(pattern="^[A-Za-z0-9._-]{1,64}$")
    addresses: tuple[IPNetwork, ...] = Field(min_length=1, description="whence it may call; nobody else is answered")
    begins: Literal["answer", "metadata", "early"] = Field(
        description="'answer' when this client opens its session once the call is answered; 'metadata' when it may do "
        "so at ringing, and its metadata associates every participant with the session (associate-time) at the answer "
        "and not before; 'early' when its sessions do not tell: then nothing is recorded without other evidence (R2)"
    )
    parties: Literal["at-once", "later"] = Field(
        "at-once",
        description="'later' when it opens sessions whose participants have no names and names them by an UPDATE or "
        "re-INVITE within ten seconds (Avaya): nothing of a call is kept before everybody in it is named (RULES R12)",
    )
    certificate: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._:@-]{1,253}$",
        description="the name in its TLS certificate (subjectAltName, else CN): then it is heard over TLS alone",
    )
    announcement: Literal["before-answer"] = Field(
        description="the caller's announcement has ended before the line answers, played by the PBX (RULES R10)"
    )
    crossed_streams: bool = Field(
        False,
        description="its metadata has send and recv the wrong way round (some Ribbon/Sonus): the sides are swapped",
    )
    behind_nat: bool = Field(
        False,
        description="its RTP comes from elsewhere than its descriptions say: each stream takes the first source among "
        "``addresses`` that sends it sound, and no other after it; left out, only what a description says is heard",
    )
    telephone_key: str | None = Field(
        None,
        pattern=r"^[0-9*#]{1,8}$",
        description="keys by which an employee on the telephone takes a call out of the recorder's reach (RULES R11)",
    )


class Siprec(_Section):
    """The SIPREC session recording server (RFC 7866)."""

    listen: tuple[Listen, ...] = (Listen(), Listen(transport="tcp"))
    connection: tuple[Connection, ...] = ()
    capacity: int = Field(5000, ge=1, description="sessions at once; beyond it 503, so that the client fails over")

    @model_validator(mode="after")
    def _names_once(self) -> Siprec:
        names = [c.name for c in self.connection]
        if len(set(names)) != len(names):
            raise ValueError("two connections have the same name")
        verified = any(listen.client_ca is not None for listen in self.listen)
        if not verified and any(c.certificate is not None for c in self.connection):
            raise ValueError('a connection names a certificate: write client_ca in a [[siprec.listen]] with "tls"')
        return self


class Media(_Section):
    """Where RTP is received."""

    address: IPAddress = IPv4Address("127.0.0.1")
    first_port: Port = 30000
    last_port: Port = 31999
    silence_seconds: float = Field(
        900.0,
        gt=0,
        description="after so long without RTP the recording ends, at its last packet: longer than a hold lasts, as "
        "many clients send nothing during one",
    )

    @model_validator(mode="after")
    def _room(self) -> Media:
        if self.last_port - self.first_port < 3:
            raise ValueError("last_port leaves no room: a call takes two even ports")
        return self


class Lines(_Section):
    """Lines that are never recorded. The console's list is added to this file (a union, DESIGN decision 9)."""

    exclusions_file: Path | None = Field(None, description="text, one line a row; unreadable: nothing is recorded")


class Mqtt(_Section):
    """The broker. Without ``host`` sipgate runs one of its own (amqtt), good for a first try."""

    host: str | None = None
    port: Port = 8883
    address: IPAddress = Field(IPv4Address("127.0.0.1"), description="where the embedded broker listens")
    advertised_host: str | None = Field(None, description="the name under which workstations reach the broker")


class Console(_Section):
    """The console and the workstations' uploads, over HTTPS with a certificate of sipgate's own CA."""

    address: IPAddress = IPv4Address("127.0.0.1")
    port: Port = 8443
    names: tuple[str, ...] = Field(
        ("localhost", "127.0.0.1"), min_length=1, description="names and addresses in the certificate"
    )


class Film(_Section):
    """How films are made."""

    frames_per_second: int = Field(10, description="a cap; below 4 a film is a slide show, and refused (RULES R1)")

    @field_validator("frames_per_second", mode="before")
    @classmethod
    def _no_slide_show(cls, value: object) -> object:
        if isinstance(value, int | float) and not 4 <= value <= 30:
            raise ValueError("write 4 to 30: below 4 a film is a slide show, which is a screenshot (RULES R1)")
        return value


class Retention(_Section):
    """How long recordings are kept, in days. The cap of 183 is the CNIL's (R14); there is no override (R22)."""

    recordings_days: int = Field(90, ge=1)

    @field_validator("recordings_days")
    @classmethod
    def _six_months(cls, value: int) -> int:
        if value > 183:
            raise ValueError("write 183 or fewer: recordings for training are kept 6 months at most (RULES R14)")
        return value


class Configuration(_Section):
    """The whole file."""

    site: Site = Site()
    store: Store = Store()
    siprec: Siprec = Siprec()
    media: Media = Media()
    lines: Lines = Lines()
    mqtt: Mqtt = Mqtt()
    console: Console = Console()
    film: Film = Film()
    retention: Retention = Retention()


def load(path: Path) -> Configuration:
    """Read and validate; relative paths are relative to the file. Raises ConfigurationError, one line an error."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file; give --config or write one (see README.md)") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    try:
        found = Configuration.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationError(_explain(path, raw, error)) from error
    return _anchored(found, path.resolve().parent)


def _explain(path: Path, raw: dict[str, Any], error: ValidationError) -> str:
    """One line a key."""
    messages: dict[str, list[str]] = {}
    errors = error.errors()
    for one in errors:
        where = one["loc"]
        if one["type"] == "too_short" and any(e["loc"][: len(where)] == where != e["loc"] for e in errors):
            continue  # it is short of the items that are told of anyway
        unknown = one["type"] == "extra_forbidden"
        message = "unknown key; remove it or mend its spelling" if unknown else one["msg"].removeprefix("Value error, ")
        messages.setdefault(_key(raw, where), []).append(message)
    return "\n".join(f"{path}: {key}: {'; '.join(dict.fromkeys(found))}" for key, found in messages.items())


def _key(raw: object, where: tuple[int | str, ...]) -> str:
    """The key as it stands in the file: pydantic's path without its names for the alternatives of a type."""
    key = []
    for part in where:
        if isinstance(raw, dict):
            raw = raw.get(part)
        elif isinstance(raw, list) and isinstance(part, int):
            raw = raw[part]
        else:
            continue  # a value was reached: what follows names an alternative
        key.append(str(part))
    return ".".join(key)


def _anchored(found: Configuration, folder: Path) -> Configuration:
    store = Store(data=folder / found.store.data, keys=folder / found.store.keys)
    file = found.lines.exclusions_file
    lines = Lines(exclusions_file=folder / file if file is not None else None)
    listen = tuple(_anchored_listen(socket, folder) for socket in found.siprec.listen)
    siprec = found.siprec.model_copy(update={"listen": listen})
    return found.model_copy(update={"store": store, "lines": lines, "siprec": siprec})


def _anchored_listen(socket: Listen, folder: Path) -> Listen:
    files = {"certificate": socket.certificate, "key": socket.key, "client_ca": socket.client_ca}
    return socket.model_copy(update={name: folder / file for name, file in files.items() if file is not None})
