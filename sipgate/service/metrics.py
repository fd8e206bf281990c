"""/metrics: aggregates for Prometheus. No label ever holds an identity; one counter covers all refusals (R12)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from sipgate.media.receiver import Receiver
from sipgate.service.finishing import Finishing
from sipgate.service.health import HealthDesk
from sipgate.service.policy import PolicyKeeper
from sipgate.service.stage import Stage
from sipgate.workstations.link import WorkstationLink


def register_metrics(
    registry: CollectorRegistry,
    stage: Stage,
    receiver: Receiver,
    finishing: Finishing,
    link: WorkstationLink,
    health: HealthDesk,
    keeper: PolicyKeeper,
) -> None:
    """Collect from the parts when the page is asked for."""
    registry.register(_Parts(stage, receiver, finishing, link, health, keeper))


class _Parts(Collector):
    def __init__(
        self,
        stage: Stage,
        receiver: Receiver,
        finishing: Finishing,
        link: WorkstationLink,
        health: HealthDesk,
        keeper: PolicyKeeper,
    ) -> None:
        self._receiver, self._keeper = receiver, keeper
        self._stage, self._finishing, self._link, self._health = stage, finishing, link, health

    def collect(self) -> Iterator[Metric]:
        """The figures, in Prometheus' naming."""
        ready = sum(state.ready for state in self._link.states())
        yield GaugeMetricFamily("sipgate_ready", "1 when calls can be recorded", self._health.report().ready)
        policy = self._keeper.policy
        opened = policy is not None and policy.gate_open
        yield GaugeMetricFamily("sipgate_gate_open", "1 when the activation gate is open, and that in force", opened)
        yield GaugeMetricFamily("sipgate_calls", "permitted calls under way", self._stage.calls_under_way)
        yield GaugeMetricFamily("sipgate_workstations_ready", "workstations that can be commanded", ready)
        yield GaugeMetricFamily("sipgate_broker_connected", "1 when the broker is in reach", self._link.connected())
        yield CounterMetricFamily(
            "sipgate_refusals", "sessions refused by policy, for whatever reason", self._stage.refusals
        )
        yield CounterMetricFamily(
            "sipgate_open_failures", "sessions refused for lack of disk or ports", self._stage.open_failures
        )
        yield CounterMetricFamily("sipgate_finishing_failures", "recordings not finished", self._finishing.failures)
        packets = "RTP packets, by what became of them; dropped: the kernel's buffer had no room"
        fates = CounterMetricFamily("sipgate_rtp_packets", packets, labels=("fate",))
        for fate, count in asdict(self._receiver.statistics()).items():
            fates.add_metric((fate,), count)
        yield fates
