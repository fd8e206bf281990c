"""Debian's Chromium, driven by Playwright, and an HTTPS server on loopback for it to visit."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.async_api import Browser, BrowserContext, Page, async_playwright
from starlette.types import ASGIApp

EXECUTABLE = "/usr/bin/chromium"
# Without the networking flags Chromium asks Google's hosts at every start; without a sandbox it runs as root in CI.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=user-gesture-required",
)
_WATCH_CSP = """
window.cspViolations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.cspViolations.push(event.violatedDirective + " " + event.blockedURI);
});
"""


@dataclass
class Visit:
    """A page, and all that went wrong on it."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    async def until(self, expression: str) -> None:
        """Wait until ``expression`` holds on the page; TimeoutError after 15 s.

        Playwright's wait_for_function evaluates inside of the page, which a strict policy forbids: asked from outside.
        """
        async with asyncio.timeout(15):
            while not await self.page.evaluate(expression):
                await asyncio.sleep(0.02)

    async def csp_violations(self) -> list[str]:
        """What the policy blocked on the present page."""
        found: list[str] = await self.page.evaluate("window.cspViolations")
        return found


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=EXECUTABLE, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visit(
    browser: Browser, *, width: int = 1280, height: int = 800, dark: bool = False, language: str = "en-GB"
) -> AsyncIterator[Visit]:
    """A fresh profile with one page. Certificates are not checked: the server's is made for the test."""
    context: BrowserContext = await browser.new_context(
        ignore_https_errors=True,
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        locale=language,
    )
    try:
        await context.add_init_script(_WATCH_CSP)
        page = await context.new_page()
        page.set_default_timeout(15_000)
        visiting = Visit(page)
        page.on("console", lambda m: visiting.complaints.append(m.text) if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: visiting.complaints.append(str(error)))
        yield visiting
    finally:
        await context.close()


@asynccontextmanager
async def https_server(app: ASGIApp, folder: Path) -> AsyncIterator[str]:
    """Serve ``app`` with a certificate of its own on a free port; yields ``https://localhost:<port>``."""
    certificate, key = _self_signed(folder)
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(15):
            while not server.started:
                if serving.done():
                    serving.result()
                await asyncio.sleep(0.01)  # uvicorn has no event for it
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"https://localhost:{port}"
    finally:
        server.should_exit = True
        await serving


def _self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    paths = folder / "server.pem", folder / "server.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
