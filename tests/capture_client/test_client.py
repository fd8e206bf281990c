"""The client as a process, against the server's real parts over a real mosquitto and real HTTPS."""

from __future__ import annotations

import asyncio
import base64
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from capture_client.protocol import (
    COMMAND_LIFETIME_NS,
    LEASE_SECONDS,
    Arm,
    Binding,
    Start,
    open_segment,
    seal_message,
)
from sipgate.core.events import PrivateCall, WorkstationUp
from sipgate.core.policy import FilmPlan
from tests.capture_client.films import Picture, decode, open_all
from tests.peers import capture_client
from tests.peers.film_server import WORKSTATION, FilmServer, film_server
from tests.peers.xserver import business_window, windows, x_server_process, xdotool

pytestmark = pytest.mark.peer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FilmServer]:
    async with film_server(tmp_path / "server") as found:
        yield found


@pytest.fixture
async def folder(server: FilmServer, tmp_path: Path) -> Path:
    """Of a client that is enrolled."""
    folder = tmp_path / "desk"
    words = ("enrol", "--server", server.url, "--code", server.code(), "--folder", str(folder))
    enrolled = await asyncio.to_thread(capture_client.run, None, *words)
    assert enrolled.returncode == 0, enrolled.stderr
    return folder


@pytest.fixture
def business(display: str) -> Iterator[None]:
    with business_window(display):
        yield


def private_key(server: FilmServer, recording: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(server.vault.keys(recording).film_private)


def uploaded(server: FilmServer, recording: str, answered_at_ns: int) -> list[Picture]:
    """The film as the server has it."""
    return decode(open_all(server.vault.folder(recording) / "film", private_key(server, recording)), answered_at_ns)


def spooled(folder: Path) -> list[Path]:
    return [p for p in (folder / "spool").rglob("*") if p.is_file()]


async def test_a_call_is_filmed_from_answer_to_hangup_and_uploaded_while_it_lasts(
    server: FilmServer, folder: Path, display: str, business: None
) -> None:
    with capture_client.running(display, folder):
        await server.until_ready()
        recording, answered = server.start_film()
        async with server.renewing(recording):
            await server.until(lambda: len(server.segments(recording)) >= 2, "segment before the hangup")
            await server.until(lambda: server.now_ns() > answered + 2_000_000_000, "2 s")
        ended = server.now_ns()
        server.link.stop_film(recording, WORKSTATION, ended)
        await server.until(lambda: server.whole == [recording], "whole take")
        await server.until(lambda: server.state(recording, "stopped"), "report")
        await server.until(lambda: not list((folder / "spool").iterdir()), "empty spool")
    pictures = uploaded(server, recording, answered)
    ahead = server.wall_ahead_ns
    painted = [None if p.shows_ns is None else p.shows_ns + ahead for p in pictures]
    assert all(t is not None and answered - 1_000_000 <= t <= ended for t in painted)
    assert all(answered < p.at_ns < ended for p in pictures)
    stopped = server.state(recording, "stopped")
    assert stopped is not None
    assert (stopped.frames, stopped.first_frame_ns) == (len(pictures), pictures[0].at_ns)


async def test_frames_after_a_hangup_that_is_told_late_are_dropped(
    server: FilmServer, folder: Path, display: str, business: None
) -> None:
    with capture_client.running(display, folder):
        await server.until_ready()
        recording, answered = server.start_film()
        await server.until(lambda: server.now_ns() > answered + 1_000_000_000, "1 s")
        ended = server.now_ns()
        await server.until(lambda: server.now_ns() > ended + 1_500_000_000, "1.5 s more")
        server.link.stop_film(recording, WORKSTATION, ended)
        await server.until(lambda: server.whole == [recording], "whole take")
    pictures = uploaded(server, recording, answered)
    assert ended - 50_000_000 < pictures[-1].at_ns < ended


async def test_a_lease_that_is_not_renewed_ends_the_film_by_itself(
    server: FilmServer, folder: Path, display: str, business: None
) -> None:
    with capture_client.running(display, folder):
        await server.until_ready()
        recording, answered = server.start_film()
        await server.until(lambda: server.state(recording, "filming"), "film")
        await server.until(lambda: windows(display, "SipgateSign"), "sign")
        await server.until(lambda: server.state(recording, "lease-expired"), "end of the lease")
        assert 4.5e9 < server.now_ns() - answered < 6.5e9
        await server.until(lambda: not windows(display, "SipgateSign"), "end of the sign")
        await server.until(lambda: server.whole == [recording], "whole take")
    assert server.segments(recording) == []  # nothing of it was known to lie before a hangup


async def test_the_stop_key_destroys_the_film_and_leaves_no_trace_on_the_desk(
    server: FilmServer, folder: Path, display: str, business: None
) -> None:
    with capture_client.running(display, folder):
        await server.until_ready()
        server.unreachable = True
        recording, _ = server.start_film()
        async with server.renewing(recording):
            await server.until(lambda: spooled(folder), "segment on the disk")
            xdotool(display, "key", "ctrl+alt+p")
            await server.until(lambda: any(isinstance(e, PrivateCall) for e in server.said), "report")
            assert list((folder / "spool").iterdir()) == []
    left = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
    assert recording.encode() not in left
    assert server.segments(recording) == []


async def test_discard_destroys_what_is_on_the_desk(
    server: FilmServer, folder: Path, display: str, business: None
) -> None:
    with capture_client.running(display, folder):
        await server.until_ready()
        server.unreachable = True
        recording, _ = server.start_film()
        async with server.renewing(recording):
            await server.until(lambda: spooled(folder), "segment on the disk")
        server.link.discard_film(recording, WORKSTATION)
        await server.until(lambda: not list((folder / "spool").iterdir()), "empty spool")


async def test_what_the_server_has_discarded_meanwhile_is_deleted_at_the_upload(
    server: FilmServer, folder: Path, display: str, business: None
) -> None:
    with capture_client.running(display, folder):
        await server.until_ready()
        server.unreachable = True
        recording, _ = server.start_film()
        async with server.renewing(recording):
            await server.until(lambda: spooled(folder), "segment on the disk")
            server.link.stop_film(recording, WORKSTATION, server.now_ns())
        await server.until(lambda: server.state(recording, "stopped"), "end")
        server.discard(recording)
        server.unreachable = False
        await server.until(lambda: not list((folder / "spool").iterdir()), "empty spool")


async def test_a_client_killed_in_mid_film_leaves_sealed_segments_and_uploads_them_when_it_is_back(
    server: FilmServer, folder: Path, display: str, business: None
) -> None:
    with capture_client.running(display, folder) as process:
        await server.until_ready()
        server.unreachable = True
        recording, answered = server.start_film()
        async with server.renewing(recording):
            await server.until(lambda: server.now_ns() > answered + 2_500_000_000, "2.5 s of film")
            process.kill()
            killed = server.now_ns()
            await asyncio.to_thread(process.wait)
    key = private_key(server, recording)
    files = spooled(folder)
    assert files
    for file in files:
        open_segment(file.read_bytes(), key)  # else it is not sealed
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    server.unreachable = False
    with capture_client.running(display, folder):
        await server.until(lambda: server.whole == [recording], "whole take")
        await server.until(lambda: not list((folder / "spool").iterdir()), "empty spool")
    pictures = uploaded(server, recording, answered)
    assert len(server.segments(recording)) == len(files)
    assert killed - pictures[-1].at_ns < 1_000_000_000


async def test_a_destroyed_sign_ends_the_film(server: FilmServer, folder: Path, display: str, business: None) -> None:
    with capture_client.running(display, folder):
        await server.until_ready()
        recording, _ = server.start_film()
        async with server.renewing(recording):
            await server.until(lambda: windows(display, "SipgateSign"), "sign")
            await server.until(lambda: server.state(recording, "filming"), "film")
            xdotool(display, "windowkill", windows(display, "SipgateSign")[0])
            await server.until(lambda: server.state(recording, "indicator-lost"), "end")
        lost = server.state(recording, "indicator-lost")
        assert lost is not None
        recording, _ = server.start_film()  # the next call has its sign again
        async with server.renewing(recording):
            await server.until(lambda: server.state(recording, "filming"), "next film")
            assert windows(display, "SipgateSign")


async def test_a_client_that_is_told_to_end_keeps_what_is_confirmed_and_says_so(
    server: FilmServer, folder: Path, display: str, business: None
) -> None:
    with capture_client.running(display, folder) as process:
        await server.until_ready()
        recording, _ = server.start_film()
        async with server.renewing(recording):
            await server.until(lambda: len(server.segments(recording)) >= 2, "segment")
            process.terminate()
            await server.until(lambda: server.state(recording, "stopped"), "report")
        assert await asyncio.to_thread(process.wait) == 0
        await server.until(lambda: not any(s.online for s in server.link.states()), "farewell")
    journal = (folder / "client.log").read_text()
    assert [line.split(" ", 1)[1] for line in journal.splitlines()] == ["started", "stopped"]


async def test_a_film_of_something_else_than_a_business_application_is_refused_and_journalled(
    server: FilmServer, folder: Path, display: str
) -> None:
    with capture_client.running(display, folder):
        await server.until_ready()
        recording, _ = server.start_film("title=*")
        journal = folder / "client.log"
        await server.until(lambda: "start without arm" in journal.read_text(), "journal")
    assert recording not in journal.read_text()
    assert "application: give program= or class=" in journal.read_text()


async def test_forged_replayed_expired_and_foreign_commands_film_nothing_and_are_journalled(
    server: FilmServer, folder: Path, display: str, business: None
) -> None:
    recording = "ab" * 16
    public = base64.b64encode(X25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
    journal = folder / "client.log"

    def journalled(check: str) -> bool:
        return f"refused: {check}\n" in journal.read_text()

    with capture_client.running(display, folder):
        await server.until_ready()
        boot = next(e.boot for e in server.said if isinstance(e, WorkstationUp))
        arm, start = Arm(recording, "class=SipgateDemo", 10, public), Start(recording, server.now_ns())
        own, stranger = server.authority.command_key, Ed25519PrivateKey.generate()

        def attack(command: Arm | Start, key: Ed25519PrivateKey = own, **wrong: Any) -> bytes:
            now_ns = server.now_ns()
            ahead = now_ns + 10**12  # of the clock's replies, which go on meanwhile
            good = Binding(WORKSTATION, boot, ahead, now_ns + COMMAND_LIFETIME_NS)
            return seal_message(command, replace(good, **wrong), key)

        attacks: list[tuple[str, Callable[[], bytes]]] = [
            ("signature", lambda: attack(arm, stranger)),
            ("expired", lambda: attack(arm, not_after_ns=server.now_ns() - 1)),
            ("for another boot", lambda: attack(arm, boot="0" * 32)),
            ("for another workstation", lambda: attack(arm, workstation="desk-2")),
            ("replayed", lambda: attack(arm, counter=1)),
            ("not JSON", lambda: b"start"),
            ("start without arm", lambda: attack(start)),
        ]
        for check, payload in attacks:
            await server.publish(payload())
            await server.until(partial(journalled, check), check)
        assert windows(display, "SipgateSign") == []
    assert list((folder / "spool").iterdir()) == []
    assert recording not in journal.read_text()


async def test_a_broker_that_is_gone_ends_the_film_within_the_lease_and_the_client_comes_back(
    server: FilmServer, folder: Path, display: str, business: None
) -> None:
    with capture_client.running(display, folder):
        await server.until_ready()
        recording, _ = server.start_film()
        async with server.renewing(recording):
            await server.until(lambda: windows(display, "SipgateSign"), "sign")
            await server.broker.stop()
            await server.until(lambda: not windows(display, "SipgateSign"), "end of the sign", LEASE_SECONDS + 1)
        await server.broker.start()
        await server.until(lambda: server.state(recording, "lease-expired"), "report after the reconnection")
        await server.until_ready()
        recording, _ = server.start_film()
        await server.until(lambda: server.state(recording, "filming"), "next film")


async def test_when_the_x_server_ends_so_does_the_client_and_the_server_knows(server: FilmServer, folder: Path) -> None:
    with (
        x_server_process() as (display, x),
        business_window(display),
        capture_client.running(display, folder) as process,
    ):
        await server.until_ready()
        recording, _ = server.start_film()
        await server.until(lambda: server.state(recording, "filming"), "film")
        x.terminate()  # as when the user logs off
        assert await asyncio.to_thread(process.wait, 15) == 1
        await server.until(lambda: not any(s.online for s in server.link.states()), "farewell")
    assert "the X server is gone" in (folder / "output").read_text()


async def test_an_unusable_recording_key_fails_the_film_and_says_why(
    server: FilmServer, folder: Path, display: str, business: None
) -> None:
    with capture_client.running(display, folder):
        await server.until_ready()
        server.link.start_film("cd" * 16, FilmPlan(WORKSTATION, "class=SipgateDemo", 10), bytes(32), server.now_ns())
        await server.until(lambda: server.state("cd" * 16, "failed"), "report")
        assert windows(display, "SipgateSign") == []
    failed = server.state("cd" * 16, "failed")
    assert failed is not None
    assert failed.detail
    assert "cd" * 16 not in (folder / "client.log").read_text()


async def test_a_second_client_on_the_same_folder_is_refused(server: FilmServer, folder: Path, display: str) -> None:
    with capture_client.running(display, folder):
        await server.until_ready()
        second = await asyncio.to_thread(capture_client.run, display, "run", "--folder", str(folder))
    assert second.returncode == 1
    assert "another capture-client runs with this folder" in second.stderr


def test_without_a_display_the_client_refuses_with_a_reason(tmp_path: Path) -> None:
    done = capture_client.run(None, "doctor", "--folder", str(tmp_path))
    assert done.returncode == 1
    assert "DISPLAY is not set" in done.stdout
    assert "not enrolled; run capture-client enrol" in done.stdout
