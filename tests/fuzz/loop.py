"""An event loop without a clock or a socket: time passes when it is told to, and what is sent is kept.

It has what ``SipTransport`` and ``SiprecTap`` ask of a loop. So a fuzzer drives all of the recording server's
signalling, from the bytes of a datagram to the timers that end a call an hour later, thousands of times a second.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

SECOND = 1_000_000_000
Sent = list[tuple[str, bytes]]


class VirtualLoop(asyncio.AbstractEventLoop):
    """``now_ns`` is the time. ``streams`` makes the protocol of a connection; ``receive`` gives a datagram."""

    def __init__(self) -> None:
        self.now_ns = 1_800_000_000 * SECOND
        self.sent: Sent = []
        self._datagrams = Datagrams(self)
        self._read: Callable[[], None] = lambda: None
        self.streams: Callable[[], Any] | None = None
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._serial = 0

    def finish(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine that waits for nothing but its turn."""
        while True:
            try:
                work.send(None)
            except StopIteration as done:
                return done.value

    def pass_time(self, seconds: float | None) -> None:
        """Let time pass, and run what becomes due; None: until nothing is left to run."""
        until = None if seconds is None else self.now_ns + int(seconds * SECOND)
        while self._timers and (until is None or self._timers[0][0] <= until):
            at, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled():
                self.now_ns = max(self.now_ns, at)
                timer._callback(*timer._args)  # type: ignore[attr-defined]  # not _run: it would keep the exception
        self.now_ns = max(self.now_ns, until or 0)

    # --- what is asked of a loop ------------------------------------------------------------------------------------

    def get_debug(self) -> bool:
        return False

    def time(self) -> float:
        return self.now_ns / SECOND

    def is_running(self) -> bool:
        return True

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def call_later(  # type: ignore[override]  # a type variable tuple says it, and nobody needs it here
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        self._serial += 1
        at = self.now_ns + max(0, int(delay * SECOND)) + 1
        timer = asyncio.TimerHandle(at / SECOND, callback, args, self)
        heapq.heappush(self._timers, (at, self._serial, timer))
        return timer

    def call_soon(  # type: ignore[override]  # the same
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_later(0.0, callback, *args)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """The handle itself says so."""

    def create_task(self, coro: Any, **_: Any) -> Any:
        done = self.create_future()
        done.set_result(self.finish(coro))
        return done

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:  # type: ignore[override]  # the same
        self._read = callback

    def remove_reader(self, fd: Any) -> bool:
        return True

    def udp_socket(self, *_: object) -> Datagrams:
        """In place of the transport's."""
        return self._datagrams

    def receive(self, data: bytes, source: tuple[str, int]) -> None:
        """A datagram comes."""
        self._datagrams.waiting.append((data, source))
        self._read()

    async def create_server(self, protocol_factory: Any, *_: Any, **__: Any) -> Any:
        self.streams = protocol_factory
        return _Server(self)


class _Server:
    def __init__(self, loop: VirtualLoop) -> None:
        self.sockets = [_Socket()]
        self._loop = loop

    def close(self) -> None:
        """Nobody else connects."""
        self._loop.streams = None


class _Socket:
    def setsockopt(self, *_: object) -> None:
        """Nothing listens."""

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 5060


class Datagrams(_Socket):
    """A UDP socket: what ``waiting`` holds is received, what is sent goes to the loop's ``sent``."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.waiting: deque[tuple[bytes, tuple[str, int]]] = deque()

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        """As a socket that does not block."""
        if not self.waiting:
            raise BlockingIOError
        data, source = self.waiting.popleft()
        return data[:size], source

    def sendto(self, data: bytes, _: object) -> None:
        """To nobody."""
        self._loop.sent.append(("udp", data))

    def close(self) -> None:
        """It was never open."""


class Wire(asyncio.Transport):
    """A connection's other end: what is sent goes to the loop's ``sent``."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known = {"socket": _Socket(), "sockname": ("127.0.0.1", 5060), "peername": ("127.0.0.1", 40000)}
        return known.get(name, default)

    def write(self, data: Any) -> None:
        self._loop.sent.append(("tcp", bytes(data)))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed
