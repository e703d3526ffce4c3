# SPDX-License-Identifier: Apache-2.0
"""TinyReptile: meta-learning from devices that learn one sample at a time.

Source: Ren, Anicic, Runkler, arXiv 2304.05201; the outer step is Reptile's (Nichol, Achiam,
Schulman, arXiv 1803.02999). Serial with one device a round, parallel with more; FedSGD is one step
and rate 1.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fleet.federated.jobs import ARRAYS, CONFIG, DELTA, METRICS, config
from fleet.federated.layout import Layout


@dataclass(frozen=True)
class Schedule:
    """The server's rate over the rounds.

    Args:
        start: at the first round.
        rounds: in all.
        falls: linearly to 0, as in Reptile; else it stays.
    """

    start: float
    rounds: int
    falls: bool = True

    def at(self, server_round: int) -> float:
        """The rate of a round, from 1."""
        left = 1 - (server_round - 1) / self.rounds
        return self.start * (left if self.falls else 1.0)


class Mean:
    """A weighted mean that takes one reply at a time: memory for one, however many come."""

    def __init__(self, size: int) -> None:
        self._sum = np.zeros(size, np.float64)
        self.weight = 0.0
        self.count = 0
        self._metrics: dict[str, float] = {}

    def add(self, change: NDArray[np.floating], weight: float, metrics: MetricRecord) -> None:
        """Adds a change of all weights."""
        self._sum += weight * change
        self._count(weight, metrics)

    def add_sparse(
        self,
        positions: NDArray[np.int64],
        values: NDArray[np.floating],
        weight: float,
        metrics: MetricRecord,
    ) -> None:
        """Adds a change of some weights; the others did not change."""
        self._sum[positions] += weight * values
        self._count(weight, metrics)

    def _count(self, weight: float, metrics: MetricRecord) -> None:
        self.weight += weight
        self.count += 1
        for name in ("loss", "accuracy"):
            value = metrics.get(name)
            if isinstance(value, int | float):
                self._metrics[name] = self._metrics.get(name, 0.0) + weight * value

    @property
    def value(self) -> NDArray[np.float64]:
        """The mean; 0 where nothing came."""
        return self._sum / self.weight if self.weight else self._sum

    @property
    def metrics(self) -> MetricRecord:
        """Mean loss and accuracy, and how many devices answered."""
        means = {name: total / self.weight for name, total in self._metrics.items()}
        return MetricRecord({**means, "devices": self.count})


def examples_of(metrics: MetricRecord) -> float:
    """Samples that a device learned from."""
    value = metrics["num-examples"]
    assert isinstance(value, int | float)
    return float(value)


class TinyReptile(Strategy):
    """Args:
    layout: of the weights.
    schedule: of the server's rate.
    steps: samples that a device learns from, one at a time.
    lr: the device's rate.
    devices: a round; 1 is serial.
    over_selection: more devices are asked, by this factor, for those that fall out.
    seed: of the choice of devices.
    """

    def __init__(
        self,
        layout: Layout,
        schedule: Schedule,
        steps: int = 32,
        lr: float = 0.02,
        devices: int = 1,
        over_selection: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.layout = layout
        self.schedule = schedule
        self.steps = steps
        self.lr = lr
        self.devices = devices
        self.over_selection = over_selection
        self.seed = seed
        self._before: NDArray[np.float32] = np.zeros(0, np.float32)

    def choose(self, server_round: int, grid: Grid) -> list[int]:
        """Nodes of a round; the same for the same round, seed and fleet."""
        nodes = sorted(grid.get_node_ids())
        count = min(len(nodes), round(self.devices * self.over_selection) or 1)
        return random.Random(f"{self.seed}/{server_round}").sample(nodes, count)

    def job_config(self, server_round: int) -> dict[str, float | int | str]:
        """What devices are asked to do."""
        return {"steps": self.steps, "lr": self.lr, "answer": "weights"}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config_: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message for each chosen device; they share their record."""
        self._before = self.layout.vector(arrays)
        wanted = config(self.job_config(server_round))
        content = RecordDict({ARRAYS: arrays, CONFIG: wanted})
        chosen = self.choose(server_round, grid)
        return (Message(content, node, MessageType.TRAIN) for node in chosen)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """phi += alpha * mean(phi_c - phi)."""
        mean = Mean(self.layout.size)
        for change, metrics in self._changes(replies):
            mean.add(change, 1.0, metrics)
        return self._step(server_round, mean)

    def _changes(
        self, replies: Iterable[Message]
    ) -> Iterator[tuple[NDArray[np.float32], MetricRecord]]:
        for reply in replies:
            if not reply.has_error():
                after = self.layout.vector(reply.content.array_records[ARRAYS])
                yield after - self._before, reply.content.metric_records[METRICS]

    def _step(self, server_round: int, mean: Mean) -> tuple[ArrayRecord | None, MetricRecord]:
        if not mean.count:
            return None, mean.metrics
        rate = self.schedule.at(server_round)
        moved = self._before + (rate * mean.value).astype(np.float32)
        return self.layout.record(moved), mean.metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config_: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Devices are not asked to evaluate: an initialisation is judged after adaptation."""
        return []

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Nothing to add up."""
        return None

    def summary(self) -> None:
        """Flower's log names the strategy; the plan has its settings."""


class TinyMetaFed(TinyReptile):
    """Partial local reconstruction, Top-P % selective communication and a server schedule.

    Source: Ren, Li, Anicic, Runkler, arXiv 2307.06822; reconstruction after Singhal et al.,
    arXiv 2102.03448.

    Args:
        top: fraction of the largest changes that a device sends.
        global_parameters: leading weights that travel; the rest are rebuilt on each device. None:
            all travel.
        local_steps, local_lr: of the reconstruction.
        options: of TinyReptile.
    """

    def __init__(
        self,
        layout: Layout,
        schedule: Schedule,
        top: float = 0.2,
        global_parameters: int | None = None,
        local_steps: int = 0,
        local_lr: float = 0.02,
        **options: float,
    ) -> None:
        super().__init__(layout, schedule, **options)  # type: ignore[arg-type]
        self.top = top
        self.global_parameters = global_parameters
        self.local_steps = local_steps
        self.local_lr = local_lr

    def job_config(self, server_round: int) -> dict[str, float | int | str]:
        """As TinyReptile's, with what is returned and what stays."""
        made: dict[str, float | int | str] = {
            "steps": self.steps,
            "lr": self.lr,
            "answer": "delta",
            "top": self.top,
        }
        if self.global_parameters is not None:
            made["global"] = self.global_parameters
            made["local-steps"] = self.local_steps
            made["local-lr"] = self.local_lr
        return made

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """g[i] += alpha * mean of the changes that came; others are unchanged."""
        mean = Mean(self.layout.size)
        for reply in replies:
            if reply.has_error():
                continue
            delta = reply.content.array_records[DELTA]
            positions = np.asarray(delta["positions"].numpy(), np.int64)
            metrics = reply.content.metric_records[METRICS]
            mean.add_sparse(positions, delta["values"].numpy(), 1.0, metrics)
        return self._step(server_round, mean)
