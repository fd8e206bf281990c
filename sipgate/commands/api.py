"""The running server's API, as one signed-in person (the command line's way to media; there is no other)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import httpx

from sipgate import config as configuration
from sipgate.commands.context import password
from sipgate.errors import AccessError, PeerError, UsageError
from sipgate.workstations.pki import Authority

_TIMEOUT_SECONDS = 60.0
_CUT_SHORT = "the recording ended in the middle: it was erased, you were signed out, or the server stopped"


class Api:
    """Calls as one person. Raises AccessError (refused), UsageError (a field cannot stand), PeerError (no server)."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str) -> dict[str, Any]:
        """The JSON answer to a GET."""
        return cast("dict[str, Any]", _good(self._client.get(path)).json())

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """A POST's answer."""
        return _good(self._client.post(path, json=body))

    def delete(self, path: str) -> None:
        """A DELETE."""
        _good(self._client.delete(path))

    def save(self, path: str, file: BinaryIO) -> int:
        """Stream what ``path`` gives into ``file``; its size in bytes. Raises PeerError when it is cut short."""
        with self._client.stream("GET", path) as answer:
            if answer.is_error:
                answer.read()
            _good(answer)
            size = 0
            try:
                for piece in answer.iter_bytes():
                    size += file.write(piece)
            except httpx.TransportError as error:
                raise PeerError(_CUT_SHORT) from error
        if str(size) != answer.headers.get("Content-Length", str(size)):
            raise PeerError(_CUT_SHORT)
        return size


@contextmanager
def signed_in(path: Path, login: str) -> Iterator[Api]:
    """Sign in to the server that the configuration names, trusting its own CA alone; sign out at the end."""
    config = configuration.load(path)
    trust = ssl.create_default_context(cadata=Authority(config.store.keys).ca_pem)
    url = f"https://{config.console.names[0]}:{config.console.port}/api/v1"
    secret = password(f"password of {login}")
    try:
        with httpx.Client(base_url=url, verify=trust, timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            token = _good(client.post("/sign-in", json={"login": login, "password": secret})).json()["token"]
            client.headers["Authorization"] = f"Bearer {token}"
            try:
                yield Api(client)
            finally:
                with suppress(httpx.TransportError):
                    client.post("/sign-out")
    except httpx.TransportError as error:
        raise PeerError(f"no server answers at {url}: is `sipgate serve` running with this configuration?") from error


def _good(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"HTTP {answer.status_code}"
    raise UsageError(detail) if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY else AccessError(detail)
