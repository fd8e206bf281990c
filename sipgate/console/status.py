"""For machines: alive, ready, metrics, the API's description, the css and js. No sign-in, nothing about anybody."""

from __future__ import annotations

import hashlib
from importlib import resources
from ipaddress import ip_address
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from sipgate.console.access import ANYONE
from sipgate.console.console import Console, Here
from sipgate.errors import AccessError

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
STATIC: dict[str, bytes] = {
    file.name: file.read_bytes()
    for file in resources.files("sipgate.console").joinpath("static").iterdir()
    if file.is_file()
}
VERSIONS: dict[str, str] = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in STATIC.items()}

router = APIRouter(tags=["machines"], dependencies=[ANYONE])


def static_url(name: str) -> str:
    """Where a static file is; the address changes with its content."""
    return f"/static/{name}?v={VERSIONS[name]}"


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(console: Here) -> Response:
    """200 when calls can be recorded, otherwise 503 with the reasons in words."""
    health = console.parts.health()
    body = {"status": "ready" if health.ready else "not ready", "reasons": list(health.reasons)}
    return JSONResponse(body, status_code=200 if health.ready else 503)


@router.get("/metrics")
def metrics(request: Request, console: Here) -> Response:
    """Prometheus text; only for the networks that ``metrics_from`` names."""
    if not _may_scrape(console, request):
        raise AccessError("Not found")
    return Response(generate_latest(console.parts.metrics), media_type=CONTENT_TYPE_LATEST)


def _may_scrape(console: Console, request: Request) -> bool:
    try:
        address = ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    return any(address in network for network in console.parts.metrics_from)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> dict[str, Any]:
    """The API, described. No interactive page: its scripts would come from elsewhere, which our CSP forbids."""
    described: dict[str, Any] = request.app.openapi()
    return described


@router.get("/static/{name}", include_in_schema=False)
async def static(name: str) -> Response:
    """A file of ours; its address carries a digest of its content, so it may be kept."""
    if name not in STATIC:
        raise AccessError("Not found")
    kind = _TYPES["." + name.rpartition(".")[2]]
    return Response(STATIC[name], media_type=kind, headers={"Cache-Control": "public, max-age=31536000, immutable"})
