"""What workstations ask of the console's HTTPS server: enrolment, and the upload of film segments.

The contract is ``capture_client.protocol``. ASGI servers hide client certificates, so an upload proves itself: a
signature over its names and content. It is checked before anything else is told; then

====  ==================================================================================================
204   kept: durable before this answer
400   the body is no segment of that name, or no ``{"segments": n}``
401   no such workstation, or the signature is not its own
409   other content is kept under this name
410   the recording is erased, unknown, or was not started on this workstation: the client deletes it
413   larger than MAXIMUM_SEGMENT_BYTES; the rest is not read
503   the disk, the vault or the register does not do its part: the client tries again later
====  ==================================================================================================
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import APIRouter, Header, HTTPException, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from capture_client.protocol import MAXIMUM_SEGMENT_BYTES, ProtocolViolation, segment_name, upload_digest
from sipgate.errors import ErasedError, SipgateError, WorkstationError
from sipgate.workstations.films import MAXIMUM_SEGMENTS, Films, FilmStore, Outcome
from sipgate.workstations.link import MqttVersion
from sipgate.workstations.pki import Authority, csr_public_key

_BODY_SECONDS = 60.0
_END_BYTES = 1024
_ENROL_BYTES = 32 * 1024
_ATTEMPTS, _ATTEMPTS_WITHIN_NS = 10, 60_000_000_000
_ADDRESSES = 10_000
_Found = TypeVar("_Found")

_Name = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="32 hexadecimal digits")]
_Index = Annotated[str, Path(pattern="^(0|[1-9][0-9]{0,5})$")]
_Workstation = Annotated[str, Header(alias="Sipgate-Workstation", max_length=64)]
_Signature = Annotated[str, Header(alias="Sipgate-Signature", max_length=128)]


@dataclass(frozen=True)
class WorkstationParts:
    """What the routes stand on. The callables may block: they are called in threads."""

    authority: Authority
    store: FilmStore
    """The vault."""
    filmed_by: Callable[[str], str | None]
    """On which workstation a recording was started; None when it is unknown or discarded."""
    workstation_key: Callable[[str], bytes | None]
    redeem: Callable[[str, int], str]
    """The register's: a code's secret and the time, for a workstation's name. Raises WorkstationError."""
    set_certificate: Callable[[str, bytes, str], None]
    now_ns: Callable[[], int]
    mqtt_host: str
    mqtt_port: int
    mqtt_version: MqttVersion = "3.1.1"
    on_part: Callable[[str], None] = lambda _: None
    """Called in the event loop when a take of this recording is complete; may be called again for the same one."""
    on_enrolled: Callable[[str], None] = lambda _: None
    """Called in the event loop with the name of a workstation that has its certificate: for the journal."""


class Enrolment(BaseModel):
    """What a workstation sends to be enrolled."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    code: str = Field(min_length=1, max_length=200)
    csr: str = Field(min_length=1, max_length=16 * 1024)


class Enrolled(BaseModel):
    """What it gets."""

    workstation: str
    certificate: str
    command_key: str
    mqtt_host: str
    mqtt_port: int
    mqtt_version: str


def workstation_routes(parts: WorkstationParts) -> APIRouter:
    """The router, to be mounted at the root: its paths are ``/workstation/v1/…``."""
    router = APIRouter(prefix="/workstation/v1", tags=["workstations"])
    uploads, enrolments = _Uploads(parts), _Enrolments(parts)

    @router.get("/ca", response_class=Response)
    async def ca() -> Response:
        """The CA's certificate: to be compared with the fingerprint in the enrolment code."""
        return Response(parts.authority.ca_pem, media_type="application/x-pem-file")

    @router.post("/enrol")
    async def enrol(request: Request) -> Enrolled:
        """Redeem a code for a certificate."""
        return await enrolments.enrol(request)

    # "end" is declared before the index, so that it is found first.
    @router.put("/films/{recording}/{take}/end", status_code=204)
    async def end(
        request: Request, recording: _Name, take: _Name, workstation: _Workstation, signature: _Signature
    ) -> Response:
        """A take is complete: ``{"segments": n}``."""
        return await uploads.end(request, _Signed(workstation, signature, recording, take, "end"))

    @router.put("/films/{recording}/{take}/{index}", status_code=204)
    async def segment(
        request: Request, recording: _Name, take: _Name, index: _Index, workstation: _Workstation, signature: _Signature
    ) -> Response:
        """One sealed segment."""
        return await uploads.segment(request, _Signed(workstation, signature, recording, take, index))

    return router


@dataclass(frozen=True, slots=True)
class _Signed:
    """Who uploads what, as claimed."""

    workstation: str
    signature: str
    recording: str
    take: str
    part: str

    def is_by(self, key: bytes | None, body: bytes) -> bool:
        digest = upload_digest(self.workstation, self.recording, self.take, self.part, body)
        try:
            signature = base64.b64decode(self.signature, validate=True)
            Ed25519PublicKey.from_public_bytes(key or b"").verify(signature, digest)
        except (binascii.Error, ValueError, InvalidSignature):
            return False
        return True


class _Uploads:
    def __init__(self, parts: WorkstationParts) -> None:
        self._parts = parts
        self._films = Films(parts.store)

    async def segment(self, request: Request, signed: _Signed) -> Response:
        body = await self._proven(request, signed, MAXIMUM_SEGMENT_BYTES)
        index = int(signed.part)
        try:
            name = segment_name(body)
        except ProtocolViolation as error:
            raise HTTPException(400, str(error)) from error
        if (name.recording, name.take, name.index) != (signed.recording, signed.take, index):
            raise HTTPException(400, "the segment has another name inside")
        if index >= MAXIMUM_SEGMENTS:
            raise HTTPException(409, "a take has no so many segments")
        return _answer(await _blocking(lambda: self._films.keep_segment(signed.recording, signed.take, index, body)))

    async def end(self, request: Request, signed: _Signed) -> Response:
        segments = _segments(await self._proven(request, signed, _END_BYTES))
        response = _answer(await _blocking(lambda: self._films.keep_end(signed.recording, signed.take, segments)))
        self._parts.on_part(signed.recording)
        return response

    async def _proven(self, request: Request, signed: _Signed, limit: int) -> bytes:
        key = await _blocking(lambda: self._parts.workstation_key(signed.workstation))
        if key is None:
            raise HTTPException(401, "no such workstation")  # before its body is read
        body = await _body(request, limit)
        if not signed.is_by(key, body):
            raise HTTPException(401, "the signature is not this workstation's")
        if await _blocking(lambda: self._parts.filmed_by(signed.recording)) != signed.workstation:
            raise HTTPException(410, "discarded")
        return body


class _Enrolments:
    def __init__(self, parts: WorkstationParts) -> None:
        self._parts = parts
        self._attempts = _Attempts(parts.now_ns)

    async def enrol(self, request: Request) -> Enrolled:
        address = request.client.host if request.client else ""
        if not self._attempts.allowed(address):
            raise HTTPException(429, "too many attempts", {"Retry-After": "60"})
        try:
            asked = Enrolment.model_validate_json(await _body(request, _ENROL_BYTES))
            public_key = csr_public_key(asked.csr).public_bytes_raw()  # first: a code is redeemed only once
        except ValidationError as error:
            raise HTTPException(422, 'send {"code": …, "csr": …}') from error
        except WorkstationError as error:
            raise HTTPException(422, str(error)) from error
        enrolled = await _blocking(lambda: self._enrolled(asked, public_key))
        self._attempts.forget(address)
        self._parts.on_enrolled(enrolled.workstation)
        return enrolled

    def _enrolled(self, asked: Enrolment, public_key: bytes) -> Enrolled:
        parts = self._parts
        secret, _, fingerprint = asked.code.strip().rpartition("-")
        if fingerprint.lower() != parts.authority.fingerprint:
            raise WorkstationError("the code is of another site")
        name = parts.redeem(secret, parts.now_ns())
        certificate = parts.authority.sign_csr(asked.csr, name)
        parts.set_certificate(name, public_key, certificate)
        command_key = parts.authority.command_key.public_key().public_bytes_raw()
        return Enrolled(
            workstation=name,
            certificate=certificate,
            command_key=base64.b64encode(command_key).decode(),
            mqtt_host=parts.mqtt_host,
            mqtt_port=parts.mqtt_port,
            mqtt_version=parts.mqtt_version,
        )


class _Attempts:
    """How often each address has tried of late. Whoever succeeds starts afresh."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._tries: OrderedDict[str, deque[int]] = OrderedDict()

    def allowed(self, address: str) -> bool:
        """Whether it may try now; the try counts."""
        now = self._now_ns()
        tries = self._tries.setdefault(address, deque(maxlen=_ATTEMPTS))
        self._tries.move_to_end(address)
        if len(self._tries) > _ADDRESSES:
            self._tries.popitem(last=False)
        if len(tries) == _ATTEMPTS and now - tries[0] < _ATTEMPTS_WITHIN_NS:
            return False
        tries.append(now)
        return True

    def forget(self, address: str) -> None:
        """It has succeeded."""
        self._tries.pop(address, None)


async def _body(request: Request, limit: int) -> bytes:
    """The body, never more than ``limit`` bytes of it in memory."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise HTTPException(413, f"at most {limit} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise HTTPException(413, f"at most {limit} bytes")
    except TimeoutError as error:
        raise HTTPException(408, f"the body did not come within {_BODY_SECONDS:.0f} s") from error
    return bytes(body)


async def _blocking(ask: Callable[[], _Found]) -> _Found:
    """Ask in a thread what may wait for a disk or a database; its errors as the client is to understand them."""
    try:
        return await asyncio.to_thread(ask)
    except ErasedError as error:
        raise HTTPException(410, "discarded") from error
    except WorkstationError as error:
        raise HTTPException(401, str(error)) from error
    except SipgateError as error:
        raise HTTPException(503, "not now", {"Retry-After": "30"}) from error


def _segments(body: bytes) -> int:
    try:
        count = json.loads(body)["segments"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise HTTPException(400, 'send {"segments": n}') from error
    if type(count) is not int or not 0 <= count <= MAXIMUM_SEGMENTS:
        raise HTTPException(400, 'send {"segments": n}')
    return count


def _answer(outcome: Outcome) -> Response:
    if outcome is not Outcome.KEPT:
        raise HTTPException(409, outcome.value)
    return Response(status_code=204)
