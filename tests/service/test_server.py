"""The whole service in this process: how it starts, and what makes it stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from deploy.demo.programs import free_port
from sipgate.config import Configuration
from sipgate.errors import ConfigurationError, MediaError, NotInForceError
from sipgate.service.server import Server
from sipgate.service.stores import Stores, open_stores


def configuration(folder: Path) -> Configuration:
    """Everything on free ports of the loopback; nobody may open a session."""
    return Configuration.model_validate(
        {
            "store": {"data": str(folder / "data"), "keys": str(folder / "keys")},
            "siprec": {"listen": [{"transport": "tcp", "address": "127.0.0.1", "port": free_port()}]},
            "mqtt": {"address": "127.0.0.1", "port": free_port()},
            "console": {"address": "127.0.0.1", "port": free_port(), "names": ["localhost"]},
        }
    )


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    found = open_stores(configuration(tmp_path))
    yield found
    found.register.close()


@asynccontextmanager
async def running(stores: Stores) -> AsyncIterator[tuple[Server, asyncio.Task[None]]]:
    """A server that has started; stopped in the end."""
    started = asyncio.Event()
    server = Server(stores, lambda _: started.set())
    task = asyncio.create_task(server.run())
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({task, waiting}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    try:
        assert started.is_set() or task.done()
        yield server, task
    finally:
        waiting.cancel()
        server.stop()
        await asyncio.wait({task}, timeout=60)


async def test_a_port_of_the_console_that_is_taken_is_an_error_of_the_configuration(stores: Stores) -> None:
    port = stores.configuration.console.port
    with closing(socket.create_server(("127.0.0.1", port))):
        async with running(stores) as (_, task):
            with pytest.raises(ConfigurationError, match=rf"console.port: .*{port}.* in use"):
                await task


async def test_the_console_listens_where_it_is_told(stores: Stores) -> None:
    async with running(stores) as (_, task):
        _, writer = await asyncio.open_connection("127.0.0.1", stores.configuration.console.port)
        writer.close()
        assert not task.done()
    await task


async def test_without_the_thread_that_receives_sound_the_service_stops_and_says_why(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(stores) as (server, task):
        monkeypatch.setattr(server._receiver, "_tick", None)  # a defect: the thread fails at its next turn
        monkeypatch.setattr("threading.excepthook", lambda _: None)
        await asyncio.wait({task}, timeout=30)
        assert task.done()
        with pytest.raises(MediaError, match="receives sound"):
            await task
    assert "a part of the service failed" in capsys.readouterr().out


async def test_a_change_that_core_does_not_take_up_in_time_is_said_to_be_not_in_force(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(stores) as (server, _):
        await asyncio.to_thread(server._policy_in_force)
        monkeypatch.setattr("sipgate.service.server._POLICY_SECONDS", 0.05)
        monkeypatch.setattr(server._stage, "when_handled", lambda _: None)
        with pytest.raises(NotInForceError, match="not in force"):
            await asyncio.to_thread(server._policy_in_force)
