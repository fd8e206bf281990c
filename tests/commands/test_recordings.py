"""``sipgate recordings``: an export is whole and for its owner alone, or it is not there. The test plays the API."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from sipgate.commands import recordings
from sipgate.commands.api import Api
from tests.commands.office import Desk, Said, empty

NAME = "0" * 32
CONTENT = b"webm" * 1000
ROW = {
    "recording": NAME,
    "owner": "Tess",
    "story": "f" * 32,
    "answered_at": 1.5,
    "ended_at": 4.5,
    "seconds": 3.0,
    "channels": 1,
    "film": False,
    "frames": 0,
    "state": "ready",
}
Media = Callable[[], httpx.Response]


class Server:
    """What the running server is asked, and what it gives."""

    def __init__(self, media: Media) -> None:
        self.asked: list[str] = []
        self.media = media

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        if request.url.path.endswith("/viewings"):
            return httpx.Response(201, json={"media": f"/api/v1/recordings/{NAME}/export?viewing=x"})
        if request.url.path.endswith("/export"):
            return self.media()
        return httpx.Response(200, json={"recordings": [ROW]})


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return empty(tmp_path)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    played = Server(lambda: httpx.Response(200, content=CONTENT))

    @contextmanager
    def signed_in(_config: Path, _login: str) -> Iterator[Api]:
        with httpx.Client(base_url="http://server/api/v1", transport=httpx.MockTransport(played)) as client:
            yield Api(client)

    monkeypatch.setattr(recordings, "signed_in", signed_in)
    return played


def export(desk: Desk, to: Path, *words: str) -> Said:
    return desk("recordings", "export", NAME, "--as", "tess", "--reason", "training", "--to", str(to), *words)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "exports"
    made.mkdir()
    return made


def test_an_export_is_whole_and_for_its_owners_eyes_alone(desk: Desk, server: Server, folder: Path) -> None:
    to = folder / "call.webm"
    assert export(desk, to).status == 0
    assert to.read_bytes() == CONTENT
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert list(folder.iterdir()) == [to]
    assert len(server.asked) == 2


@pytest.mark.parametrize("place", ["none/call.webm", ".", "taken.webm", "taken.webm/call.webm"])
def test_where_nothing_can_be_written_nothing_is_asked_for(
    desk: Desk, server: Server, folder: Path, place: str
) -> None:
    (folder / "taken.webm").write_bytes(b"another call")
    assert export(desk, folder / place).status == 2
    assert server.asked == []
    assert (folder / "taken.webm").read_bytes() == b"another call"
    assert len(list(folder.iterdir())) == 1


def test_a_file_is_written_over_only_when_that_is_asked_for(desk: Desk, server: Server, folder: Path) -> None:
    to = folder / "call.webm"
    to.write_bytes(b"another call")
    to.chmod(0o644)
    assert export(desk, to, "--force").status == 0
    assert to.read_bytes() == CONTENT
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert len(server.asked) == 2


def _torn() -> httpx.Response:
    def pieces() -> Iterator[bytes]:
        yield CONTENT[:500]
        raise httpx.RemoteProtocolError("peer closed connection")

    return httpx.Response(200, content=pieces(), headers={"Content-Length": str(len(CONTENT))})


def _short() -> httpx.Response:
    return httpx.Response(200, content=iter([CONTENT[:500]]), headers={"Content-Length": str(len(CONTENT))})


@pytest.mark.parametrize("media", [_torn, _short])
def test_an_export_that_is_cut_short_is_told_as_such_and_leaves_no_file(
    desk: Desk, server: Server, folder: Path, media: Media
) -> None:
    server.media = media
    kept = folder / "call.webm"
    kept.write_bytes(b"another call")
    said = export(desk, kept, "--force")
    assert said.status == 1
    assert "in the middle" in said.text
    assert kept.read_bytes() == b"another call"
    assert list(folder.iterdir()) == [kept]


def test_a_refusal_leaves_no_file(desk: Desk, server: Server, folder: Path) -> None:
    server.media = lambda: httpx.Response(410, json={"detail": "the recording was erased"})
    said = export(desk, folder / "call.webm")
    assert (said.status, said.text) == (1, "the recording was erased")
    assert list(folder.iterdir()) == []


def test_the_list_says_how_many_voices_there_are(desk: Desk, server: Server) -> None:
    (row,) = desk("recordings", "list", "--as", "tess", "--json").document["recordings"]
    assert row["channels"] == 1
    assert row["story"] == "f" * 32
    assert len(server.asked) == 1


def test_erasing_asks_whether_one_is_sure(desk: Desk, server: Server) -> None:
    words = ("recordings", "erase", NAME, "--as", "tess")
    assert desk(*words, keys="n\n").status == 1
    assert server.asked == []
    assert desk(*words, keys="y\n").status == 0
    assert desk(*words, "--yes").status == 0
    assert server.asked == [f"DELETE /api/v1/recordings/{NAME}"] * 2
