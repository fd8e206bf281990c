"""``sipgate serve``: makes the parts, joins them, runs them, and takes them down in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address

import structlog
import uvicorn
from prometheus_client import CollectorRegistry
from uvicorn.protocols.http.h11_impl import H11Protocol

from sipgate.config import Console, IPAddress
from sipgate.console.app import create_app
from sipgate.console.parts import ConsoleParts, FileLines
from sipgate.core import events as ev
from sipgate.errors import ConfigurationError, MediaError, NotInForceError
from sipgate.media import room
from sipgate.media.receiver import Receiver, Silent
from sipgate.service.finishing import Finishing
from sipgate.service.health import HealthDesk
from sipgate.service.metrics import register_metrics
from sipgate.service.policy import PolicyKeeper
from sipgate.service.recovery import recover, sole_service
from sipgate.service.retention import Retention
from sipgate.service.stage import Stage
from sipgate.service.stores import Stores
from sipgate.service.worker import Worker
from sipgate.taps.siprec import SiprecTap
from sipgate.workstations.broker import EmbeddedBroker
from sipgate.workstations.link import WorkstationLink
from sipgate.workstations.pki import Authority
from sipgate.workstations.uploads import WorkstationParts, workstation_routes

log = structlog.get_logger("sipgate")

_HOUSEKEEPING_SECONDS = 600.0
_HEALTH_SECONDS = 1.0
_POLICY_SECONDS = 5.0
_LAST_ANSWERS_SECONDS = 3


class Server:
    """The whole service. ``run`` returns when it is told to stop (SIGTERM, SIGINT, or ``stop``)."""

    def __init__(self, stores: Stores, announce: Callable[[Server], None] = lambda _: None) -> None:
        self._stores, self._announce = stores, announce
        self._config, self._clock = stores.configuration, stores.now_ns
        self._stopping = asyncio.Event()
        self._authority = Authority(self._config.store.keys)
        self._workers = Worker()
        self._receiver = Receiver(self._config.media, self._clock, self._post)
        self._keeper = PolicyKeeper(self._config, self._clock, stores.register, self._post)
        self._finishing = Finishing(
            self._clock,
            stores.vault,
            stores.register,
            stores.journal,
            self._workers,
            self._config.retention.recordings_days,
            self._keeper.refresh,
            self._post,
        )
        days = self._config.retention.recordings_days
        self._retention = Retention(self._clock, stores.vault, stores.register, days)
        self._tap = SiprecTap(
            self._config.siprec,
            self._config.site.country,
            str(self._config.media.address),
            self._clock,
            self._observed,
            lambda: self._authority.server_ssl_context(self._certificate_names()),
        )
        names = self._certificate_names()
        self._broker = (
            EmbeddedBroker(
                str(self._config.mqtt.address),
                self._config.mqtt.port,
                self._authority.broker_ssl_context(names),
                lambda name: stores.register.workstations.key(name) is not None,
            )
            if self._config.mqtt.host is None
            else None
        )
        self._tls = self._authority.server_ssl_context(names)
        if self._config.mqtt.host is not None:
            self._authority.server_certificate((self._config.mqtt.host,), "broker")  # for deploy/mosquitto
        self._stage: Stage
        self._link: WorkstationLink

    def _certificate_names(self) -> tuple[str, ...]:
        mqtt = self._config.mqtt
        own = (str(self._broker_address()), *((mqtt.advertised_host,) if mqtt.advertised_host else ()))
        sip = (str(listen.address) for listen in self._config.siprec.listen if listen.transport == "tls")
        return tuple(dict.fromkeys((*self._config.console.names, *own, *sip)))

    def _broker_address(self) -> IPAddress:
        """Where the server itself reaches its own broker."""
        address = self._config.mqtt.address
        return ip_address("127.0.0.1" if address.version == 4 else "::1") if address.is_unspecified else address

    @property
    def sip(self) -> tuple[tuple[str, str, int], ...]:
        """Where SIP is heard: (transport, address, port)."""
        return self._tap.bound

    @property
    def console_url(self) -> str:
        """Where people sign in."""
        return f"https://{self._config.console.names[0]}:{self._config.console.port}/"

    def stop(self) -> None:
        """End ``run``, from the loop's thread."""
        self._stopping.set()

    # --- running ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start everything, serve, stop everything."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._announce(self)
            await self._stopping.wait()
            log.info("stopping")

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        stack.enter_context(sole_service(self._config.store.data))
        stack.callback(self._workers.shutdown)
        mqtt_port = await stack.enter_async_context(self._embedded_broker())
        self._link = self._new_link(mqtt_port)
        self._stage = Stage(self._clock, self._stores.vault, self._receiver, self._link, self._finishing)
        self._stage.start(self._tap)
        stack.callback(self._stage.stop)
        stack.push_async_callback(self._finishing.settle)
        self._receiver.start()
        if (too_few := room.lacking(self._config, room.raise_file_limit())) is not None:
            log.warning("too few open files", reason=too_few)
        stack.callback(self._receiver.stop)
        health = HealthDesk(
            self._config, self._keeper, self._stage, self._tap, self._link, self._finishing, self._stores.journal
        )
        await asyncio.to_thread(health.look)
        await asyncio.to_thread(self._keeper.refresh)
        await self._recover()
        await stack.enter_async_context(self._tasks(health))
        await stack.enter_async_context(self._console(health, mqtt_port))
        await self._tap.start()
        stack.push_async_callback(self._tap.stop)

    @contextlib.asynccontextmanager
    async def _embedded_broker(self) -> AsyncIterator[int]:
        if self._broker is None:
            yield self._config.mqtt.port
            return
        await self._broker.start()
        try:
            yield self._broker.port
        finally:
            await self._broker.stop()

    def _new_link(self, port: int) -> WorkstationLink:
        return WorkstationLink(
            self._config.mqtt.host or str(self._broker_address()),
            port,
            self._authority.link_ssl_context(),
            self._authority.command_key,
            self._stores.register.workstations.key,
            self._clock,
            self._post,
            filmed_by=self._filmed_by,
        )

    def _filmed_by(self, recording: str) -> str | None:
        return self._stage.filmed_by(recording) or self._finishing.filmed_by(recording)

    def _observed(self, event: ev.Event) -> None:
        self._stage.handle(event)

    def _post(self, event: ev.Event | Silent) -> None:
        self._stage.post(event)

    async def _recover(self) -> None:
        left = await asyncio.to_thread(recover, self._stores.vault, self._stores.register)
        if left.erased:
            log.info("erased what a predecessor left unclaimed", recordings=left.erased)
        for call in left.unfinished:
            self._finishing.finish(call)
        for call in left.awaiting_film:
            self._finishing.expect(call)
        for recording in left.keyless:
            self._finishing.forget(recording)
        if left.unfinished:
            log.info("finishing what a predecessor was recording", recordings=len(left.unfinished))

    @contextlib.asynccontextmanager
    async def _tasks(self, health: HealthDesk) -> AsyncIterator[None]:
        running = [
            asyncio.create_task(self._link.run(), name="workstations"),
            asyncio.create_task(self._keeper.run(), name="policy"),
            asyncio.create_task(self._watch(health), name="health"),
            asyncio.create_task(self._keep_house(), name="retention"),
        ]
        for task in running:
            task.add_done_callback(self._one_ended)
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            for outcome in await asyncio.gather(*running, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome

    def _one_ended(self, task: asyncio.Task[None]) -> None:
        # None of them ends by itself: without it the guarantees do not hold, so the service stops, and says why.
        if not task.cancelled():
            log.error("a part of the service failed, so the service stops", part=task.get_name())
            self.stop()

    async def _watch(self, health: HealthDesk) -> None:
        while True:
            if not self._receiver.running:
                raise MediaError("the thread that receives sound has ended")
            self._stage.erase_again()
            await asyncio.to_thread(health.look)
            self._tap.available = health.report().ready
            await asyncio.sleep(_HEALTH_SECONDS)

    async def _keep_house(self) -> None:
        """Retention (R14) and certificates."""
        while True:
            for recording in await asyncio.to_thread(self._retention.due):
                self._stage.expire(recording)
            await asyncio.to_thread(self._finishing.retire)
            self._finishing.retry()
            self._authority.renew()
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)

    # --- the console ------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _console(self, health: HealthDesk, mqtt_port: int) -> AsyncIterator[None]:
        app = create_app(self._console_parts(health, mqtt_port))
        settings = uvicorn.Config(
            app,
            http="h11",
            ssl_context_factory=lambda _config, _default: self._tls,
            access_log=False,
            log_config=None,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
        )
        listening = _listen(self._config.console)  # uvicorn would end the process, with a status of its own
        server = _Uvicorn(settings)
        task = asyncio.create_task(server.serve(sockets=[listening]), name="console")
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        if task.done():
            await task
            raise ConfigurationError("console: could not be served")
        try:
            yield
        finally:
            server.should_exit = True
            _abort_idle(server)
            await task

    def _console_parts(self, health: HealthDesk, mqtt_port: int) -> ConsoleParts:
        stores, metrics = self._stores, CollectorRegistry()
        register_metrics(metrics, self._stage, self._receiver, self._finishing, self._link, health, self._keeper)
        workstations = stores.register.workstations
        routes = workstation_routes(
            WorkstationParts(
                authority=self._authority,
                store=stores.vault,
                filmed_by=self._filmed_by,
                workstation_key=workstations.key,
                redeem=workstations.redeem,
                set_certificate=workstations.set_certificate,
                now_ns=self._clock,
                mqtt_host=self._config.mqtt.advertised_host or self._config.mqtt.host or self._config.console.names[0],
                mqtt_port=mqtt_port,
                on_part=self._finishing.part_arrived,
                on_enrolled=self._enrolled,
            )
        )
        return ConsoleParts(
            register=stores.register,
            vault=stores.vault,
            journal=stores.journal,
            now_ns=self._clock,
            health=health.report,
            site=self._config.site,
            file_lines=self._file_lines,
            policy_changed=self._policy_in_force,
            metrics=metrics,
            routers=(routes,),
        )

    def _enrolled(self, workstation: str) -> None:
        self._stores.journal.append("workstation-enrolled", self._clock(), workstation=workstation)

    def _file_lines(self) -> FileLines:
        path = self._config.lines.exclusions_file
        rows = self._keeper.file_lines
        return FileLines(
            path=str(path) if path is not None else None,
            lines=rows,
            error=self._keeper.file_error,
        )

    def _policy_in_force(self) -> None:
        """From a worker thread: build the policy, wait until core has handled it. Raises NotInForceError."""
        self._keeper.refresh()
        handled = threading.Event()
        self._stage.when_handled(handled.set)
        if not handled.wait(_POLICY_SECONDS):
            raise NotInForceError("it is written, but was not in force after 5 seconds: see the health page, try again")


def _listen(console: Console) -> socket.socket:
    family = socket.AF_INET6 if console.address.version == 6 else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((str(console.address), console.port))
        listening.listen()  # here, not in asyncio: of two that bind, the second learns it only now
    except OSError as error:
        listening.close()
        where = f"{console.address} port {console.port}"
        raise ConfigurationError(f"console.port: {where} cannot be listened on: {error.strerror}") from error
    return listening


def _abort_idle(server: uvicorn.Server) -> None:
    # Closing would wait for the browser's part of TLS's farewell: half a minute for a page that merely stands open.
    for connection in server.server_state.connections:
        if isinstance(connection, H11Protocol) and (connection.cycle is None or connection.cycle.response_complete):
            connection.transport.abort()


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield
