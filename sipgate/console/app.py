"""The console's application: routes, errors, headers. ``service`` serves it over TLS with ``access_log=False``
(addresses hold viewing tokens, and a log of who looked at what is the journal's alone)."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI

from sipgate.console import api, failures, media, pages, status
from sipgate.console.access import require_declarations
from sipgate.console.console import Console
from sipgate.console.headers import SecurityHeaders
from sipgate.console.parts import ConsoleParts
from sipgate.console.sessions import SignIn

ROUTERS = (api.router, media.router, pages.router, status.router)


def create_app(parts: ConsoleParts) -> FastAPI:
    """The application. Raises TypeError for a route that does not declare who may use it, StoreError for no secrets."""
    app = FastAPI(
        title="sipgate console",
        version=version("sipgate"),
        description="Recordings of calls, for training only. Errors are `{detail, field}`.",
        openapi_url=None,  # served by ``status``, which declares who may read it
    )
    app.state.console = Console.of(parts)
    app.state.sign_in = SignIn()
    for router in ROUTERS:
        require_declarations(router.routes)
        app.include_router(router)
    for router in parts.routers:
        app.include_router(router)
    failures.install(app)
    app.add_middleware(SecurityHeaders)
    return app
