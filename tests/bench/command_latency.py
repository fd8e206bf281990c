"""How long a command takes from ``start_film`` to the workstation, through each broker, over TLS at QoS 1.

Run ``python -m tests.bench.command_latency``. Start is measured (the second of two messages sent back to back), in one
process with the workstation, so its own signature check and the shared loop are in the figure.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from capture_client.protocol import Start
from sipgate.core.policy import FilmPlan
from sipgate.workstations.broker import EmbeddedBroker
from tests.peers.mosquitto import Mosquitto, free_port
from tests.workstations.conftest import NAMES, Site

ROUNDS = 500


async def measure(name: str, site: Site, broker: Mosquitto | EmbeddedBroker) -> str:
    """One line of figures."""
    await broker.start()
    desk = site.desk("desk-1")
    took: list[float] = []
    called: list[float] = []
    try:
        async with site.running(site.link(broker.port)) as link, desk.connected(broker.port):
            reply = await desk.become_ready()
            await site.until(lambda: any(s.ready for s in link.states()))
            for number in range(ROUNDS):
                began = time.time_ns()
                plan = FilmPlan(desk.name, "class=SipgateDemo", 10)
                link.start_film(f"{number:032x}", plan, bytes(32), site.now_ns())
                called.append((time.time_ns() - began) / 1e6)
                took.append(((await desk.next_of(Start)).came_at_ns - began) / 1e6)
                await asyncio.sleep(0.005)
    finally:
        await broker.stop()
    p50, p99 = statistics.median(took), statistics.quantiles(took, n=100)[98]
    return (
        f"{name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {max(took):.2f} ms; start_film itself "
        f"{statistics.median(called):.2f} ms; clock reply made in {(reply.t2 - reply.t1) / 1e6:.2f} ms"
    )


async def main() -> None:
    """Both brokers, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        print(await measure("mosquitto", site, Mosquitto(site.folder, site.authority)))
        embedded = EmbeddedBroker("127.0.0.1", free_port(), site.authority.broker_ssl_context(NAMES))
        print(await measure("embedded", site, embedded))


if __name__ == "__main__":
    asyncio.run(main())
