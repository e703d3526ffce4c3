# SPDX-License-Identifier: Apache-2.0
"""A plan carried out: network, devices, SuperNodes where there are some, rounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flwr.serverapp import Grid

from fleet.errors import InvalidError, NotFoundError
from fleet.federated.composite import CompositeGrid
from fleet.federated.exchange import MqttExchange
from fleet.federated.grid import MqttGrid
from fleet.federated.network import Network, read_network
from fleet.federated.plan import Opened
from fleet.federated.run import Result, Run
from fleet.federated.strategies import make_strategy
from fleet.home import Home


class Session:
    """Args:
    home: of the fleet.
    opened: the plan.

    Raises:
        FleetError: its network or its devices cannot be read, or an option is unknown.
    """

    def __init__(self, home: Home, opened: Opened) -> None:
        self._home = home
        self._opened = opened
        self.network: Network = read_network(opened.export)
        plan = opened.plan
        # Wrong options are told before anything is asked of devices.
        make_strategy(plan, self.network.layout, self.network.initial, None)
        names = chosen_devices(home, plan.who.where, plan.who.query, opened.folder)
        self.exchange = MqttExchange(
            home, home.config.tenant, self.network.abi, names, plan.rounds.deadline_s + 5
        )

    def train(
        self,
        actor: str,
        progress: Callable[[int, dict[str, float]], None] = lambda number, metrics: None,
        flower: Grid | None = None,
    ) -> Result:
        """Waits for the nodes and runs the rounds that are left.

        Args:
            actor: for the audit trail.
            progress: told of each whole round and its metrics.
            flower: of a ServerApp, for SuperNodes.

        Raises:
            FleetError: too few came, or no round can be made.
        """
        plan, network = self._opened.plan, self.network
        run = Run(
            self._home.store, self._home.config.tenant, self._opened, network.layout, network.abi,
            network.initial, actor, progress,
        )  # fmt: skip
        self.exchange.start()
        try:
            grid: MqttGrid | CompositeGrid
            grid = MqttGrid(self.exchange, network.layout, network.abi, run.refused)
            if flower is not None and plan.superlink is not None:
                grid = CompositeGrid(flower, grid, network.layout, network.classifies, run.refused)
                grid.wait_for(plan.superlink.nodes, plan.rounds.wait_s)
            return run(grid)
        finally:
            self.exchange.stop()


def chosen_devices(
    home: Home, where: tuple[str, ...], query: str | None, folder: Path
) -> list[str] | None:
    """Names of the devices that a plan means; None for all.

    Raises:
        FleetError: the query does not parse, or has no ?device.
    """
    if not where and query is None:
        return None
    from fleet.service import devices

    tenant = home.config.tenant
    found = {d["device"] for d in devices.listed(home, tenant, where, "", 1_000_000)}
    if query is None:
        return sorted(found)
    from pyoxigraph import QuerySolutions

    from fleet.graph.projector import Projector
    from fleet.graph.store import GraphStore

    try:
        text = (folder / query).read_text(encoding="utf-8")
    except OSError as error:
        raise NotFoundError(f"{folder / query} cannot be read: {error.strerror}") from None
    # A graph of its own: what the registry says now, whatever process holds the stored one.
    graph = GraphStore()
    Projector(home.store, graph).project()
    answer = graph.query(text)
    if not isinstance(answer, QuerySolutions) or "device" not in [
        v.value for v in answer.variables
    ]:
        raise InvalidError(f"{query} must be a SELECT with ?device")
    named = {row["device"].value for row in answer if row["device"] is not None}
    return sorted(found & named)
