"""The bytes of a recording: decrypted on the fly, under a live viewing, each answer through the owner's check.

Nothing is cached, here or by the browser (no-store, no validator), so that an erased recording is gone with the next
mebibyte: 410. A Range request gets 206 of at most 1 MiB; without one the whole file is streamed, opened again every
mebibyte for the same reason.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from sipgate.console.access import Listener, Visitor, denied, find, signed_in
from sipgate.console.console import Console, Here
from sipgate.console.ranges import MAXIMUM_BYTES, Unsatisfiable, parse_range
from sipgate.console.sessions import Token
from sipgate.console.viewings import Claim, Kind, State
from sipgate.errors import AccessError, ErasedError, StoreError

SEALED_NAME = "recording.webm.sealed"
MEDIA_TYPE = "video/webm"
_SLICE_BYTES = 64 * 1024
_HEADERS = {"Cache-Control": "no-store", "Accept-Ranges": "bytes"}

router = APIRouter(tags=["media"])
ViewingToken = Annotated[str, Query(max_length=200, description="from POST …/viewings")]


@router.get("/api/v1/recordings/{recording}/media", response_class=Response)
def media(
    recording: str,
    visitor: Listener,
    console: Here,
    viewing: ViewingToken = "",
    wanted: Annotated[str | None, Header(alias="range")] = None,
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    """The recording as WebM, under a viewing of kind ``play``."""
    guard(console, visitor, recording, Kind.PLAY, viewing)
    with console.parts.vault.open_sealed(recording, SEALED_NAME) as reader:
        # RFC 9110 §13.1.5: no validator of ours can match an If-Range, so the range is then ignored.
        span = parse_range(wanted if if_range is None else None, reader.size)
        if span is None:
            return _whole(console, visitor, recording, Kind.PLAY, viewing, reader.size)
        headers = {**_HEADERS, "Content-Range": span.content_range}
        if isinstance(span, Unsatisfiable):
            return Response(status_code=416, headers=headers)
        content = reader.read(span.first, span.length)
    headers["Content-Length"] = str(len(content))
    return StreamingResponse(_slices(content), status_code=206, headers=headers, media_type=MEDIA_TYPE)


@router.get("/api/v1/recordings/{recording}/export", response_class=Response)
def export(recording: str, visitor: Listener, console: Here, viewing: ViewingToken = "") -> Response:
    """The whole recording as a file to keep, under a viewing of kind ``export``."""
    guard(console, visitor, recording, Kind.EXPORT, viewing)
    with console.parts.vault.open_sealed(recording, SEALED_NAME) as reader:
        size = reader.size
    answer = _whole(console, visitor, recording, Kind.EXPORT, viewing, size)
    answer.headers["Content-Disposition"] = f'attachment; filename="recording-{recording[:8]}.webm"'
    return answer


def guard(console: Console, visitor: Visitor, recording: str, kind: Kind, viewing: str) -> None:
    """Raise unless these bytes are this visitor's to have now.

    404 not theirs or not there (journalled); 410 it was, under this very viewing, and has been erased; 403 theirs, but
    under no live viewing (one made for somebody else is journalled).
    """
    row, exists = find(console, visitor, recording)
    claim = Claim(recording, kind, visitor.session)
    state = console.viewings.state(viewing, claim, console.parts.now_ns())
    if row is None:
        if state is State.LIVE:
            raise ErasedError("the recording was erased")
        raise denied(console, visitor, kind.value, recording if exists else None)
    if state is State.LIVE:
        return
    if viewing and state is State.FOREIGN:
        denied(console, visitor, "viewing", recording)
    raise HTTPException(403, "state a reason first: POST the recording's viewings")


def _whole(
    console: Console, visitor: Visitor, recording: str, kind: Kind, viewing: str, size: int
) -> StreamingResponse:
    headers = {**_HEADERS, "Content-Length": str(size)}
    pieces = _pieces(console, visitor, recording, kind, viewing, size)
    return StreamingResponse(pieces, headers=headers, media_type=MEDIA_TYPE)


async def _pieces(
    console: Console, visitor: Visitor, recording: str, kind: Kind, viewing: str, size: int
) -> AsyncIterator[bytes]:
    # Ending early cuts the connection: fewer bytes than announced.
    for offset in range(0, size, MAXIMUM_BYTES):
        piece = await run_in_threadpool(_piece, console, visitor, recording, kind, viewing, offset)
        if piece is None:
            return
        async for part in _slices(piece):
            yield part


def _piece(console: Console, visitor: Visitor, recording: str, kind: Kind, viewing: str, offset: int) -> bytes | None:
    try:
        if signed_in(console, Token(visitor.session, by_cookie=False)) is None:
            return None
        guard(console, visitor, recording, kind, viewing)
        with console.parts.vault.open_sealed(recording, SEALED_NAME) as reader:
            return reader.read(offset, MAXIMUM_BYTES)
    except (AccessError, HTTPException, StoreError):
        return None


async def _slices(content: bytes) -> AsyncIterator[bytes]:
    # The loop encrypts what it sends, and drives SIP as well: a little at a time, and between two the socket drains.
    for at in range(0, len(content), _SLICE_BYTES):
        yield content[at : at + _SLICE_BYTES]
