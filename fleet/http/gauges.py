# SPDX-License-Identifier: Apache-2.0
"""What the database says when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fleet.home import Home
from fleet.store import devices, queues, rollouts


class FleetGauges(Collector):
    """Devices by state, depths of queues, rollouts by state.

    Args:
        home: of the fleet.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing in advance: the database is asked only when metrics are."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Asks the database."""
        tenant = self._home.config.tenant
        with self._home.store.read() as connection:
            by_state = devices.count_by_state(connection, tenant)
            depths = queues.depths(connection)
            states = [r["state"] for r in rollouts.all_of(connection, tenant)]
        known = GaugeMetricFamily("fleet_devices", "Devices by state", labels=["state"])
        for state, count in by_state.items():
            known.add_metric([state], count)
        yield known
        queued = GaugeMetricFamily("fleet_queue_rows", "Rows in a queue", labels=["queue"])
        for name, depth in depths.items():
            queued.add_metric([name], depth)
        yield queued
        rolling = GaugeMetricFamily("fleet_rollouts", "Rollouts by state", labels=["state"])
        for state in sorted(set(states)):
            rolling.add_metric([state], states.count(state))
        yield rolling
