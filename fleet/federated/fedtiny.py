# SPDX-License-Identifier: Apache-2.0
"""FedTiny's progressive pruning of a coarse mask (selection.py): block by block, devices name the
pruned weights with the largest gradients, and the server grows those and prunes as many small ones.

Source: Huang, Zhang, Sun et al., arXiv 2212.01977.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fleet.federated import masks
from fleet.federated.jobs import ARRAYS, CONFIG, GRADIENTS, MASK, METRICS, config
from fleet.federated.layout import Layout
from fleet.federated.reptile import Mean, examples_of


class SparseFedAvg(Strategy):
    """FedAvg over active weights. Only values of active weights travel up; the mask goes down.

    Args:
        layout: of the weights.
        mask: of active weights.
        steps, lr, batch: of local training.
        devices: a round; all where there are fewer.
        seed: of the choice of devices.
    """

    def __init__(
        self,
        layout: Layout,
        mask: masks.Mask,
        steps: int = 64,
        lr: float = 0.1,
        batch: int = 1,
        devices: int = 10,
        seed: int = 0,
    ) -> None:
        self.layout = layout
        self.mask = mask
        self.steps = steps
        self.lr = lr
        self.batch = batch
        self.devices = devices
        self.seed = seed

    def job_config(self, server_round: int) -> dict[str, float | int | str]:
        """What devices are asked to do."""
        return {"steps": self.steps, "lr": self.lr, "batch": self.batch, "answer": "weights"}

    def content(self, arrays: ArrayRecord, wanted: dict[str, float | int | str]) -> RecordDict:
        """Weights, mask and configuration."""
        record = ArrayRecord({MASK: Array(self.mask.astype(np.uint8))})
        return RecordDict({ARRAYS: arrays, MASK: record, CONFIG: config(wanted)})

    def masked(self, arrays: ArrayRecord) -> ArrayRecord:
        """Weights with the pruned ones at 0."""
        vector = self.layout.vector(arrays)
        return self.layout.record(np.where(self.mask, vector, np.float32(0)))

    def choose(self, server_round: int, grid: Grid) -> list[int]:
        """Nodes of a round."""
        nodes = sorted(grid.get_node_ids())
        count = min(len(nodes), self.devices)
        return random.Random(f"{self.seed}/{server_round}").sample(nodes, count)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config_: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message for each chosen device."""
        content = self.content(self.masked(arrays), self.job_config(server_round))
        nodes = self.choose(server_round, grid)
        return (Message(content, node, MessageType.TRAIN) for node in nodes)

    def averaged(self, replies: Iterable[Message]) -> Mean:
        """Mean of the devices' weights by their number of examples, one reply at a time."""
        mean = Mean(self.layout.size)
        for reply in replies:
            if not reply.has_error():
                metrics = reply.content.metric_records[METRICS]
                vector = self.layout.vector(reply.content.array_records[ARRAYS])
                mean.add(vector, examples_of(metrics), metrics)
                self.look_at(reply, examples_of(metrics))
        return mean

    def look_at(self, reply: Message, weight: float) -> None:
        """What else a strategy takes from a reply."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The mean, masked."""
        mean = self.averaged(replies)
        if not mean.count:
            return None, mean.metrics
        vector = np.where(self.mask, mean.value, 0.0).astype(np.float32)
        vector = self.after(server_round, vector)
        metrics = mean.metrics
        metrics["density"] = masks.density_of(self.layout, self.mask)
        return self.layout.record(vector), metrics

    def after(self, server_round: int, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """What happens to weights and mask at the end of a round."""
        return weights

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config_: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The server evaluates."""
        return []

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Nothing to add up."""
        return None

    def summary(self) -> None:
        """Flower's log names the strategy; the plan has its settings."""


class FedTiny(SparseFedAvg):
    """Progressive pruning.

    Args:
        every: rounds between adjustments; one block each, from output to input.
        stop: last round that adjusts.
        options: of SparseFedAvg.
    """

    def __init__(
        self, layout: Layout, mask: masks.Mask, every: int = 5, stop: int = 60, **options: float
    ) -> None:
        super().__init__(layout, mask, **options)  # type: ignore[arg-type]
        self.every = every
        self.stop = stop
        self._gradients: dict[int, float] = {}
        self._weight = 0.0

    def block(self, server_round: int) -> slice | None:
        """The layer that this round adjusts, None in the other rounds."""
        if server_round % self.every or server_round > self.stop:
            return None
        layers = masks.prunable(self.layout)[::-1]
        return layers[(server_round // self.every - 1) % len(layers)][1]

    def exchanged(self, server_round: int, block: slice) -> int:
        """Weights that the block may exchange in this round."""
        active = int(self.mask[block].sum())
        inactive = int(block.stop - block.start) - active
        return min(masks.cosine_count(active, server_round / self.stop), inactive)

    def job_config(self, server_round: int) -> dict[str, float | int | str]:
        """In adjusting rounds devices return their largest gradients of pruned weights too."""
        made = super().job_config(server_round)
        block = self.block(server_round)
        if block is not None and self.exchanged(server_round, block):
            made["block-first"] = block.start
            made["block-count"] = block.stop - block.start
            made["top-gradients"] = self.exchanged(server_round, block)
        self._gradients, self._weight = {}, 0.0
        return made

    def look_at(self, reply: Message, weight: float) -> None:
        """Adds sparse gradients up; memory is the positions named, not the layer."""
        if GRADIENTS not in reply.content.array_records:
            return
        record = reply.content.array_records[GRADIENTS]
        pairs = zip(record["positions"].numpy(), record["values"].numpy(), strict=True)
        for position, value in pairs:
            at = int(position)
            self._gradients[at] = self._gradients.get(at, 0.0) + weight * float(value)
        self._weight += weight

    def after(self, server_round: int, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Grows and prunes the block of this round."""
        block = self.block(server_round)
        if block is None or not self._gradients:
            return weights
        positions = np.fromiter(self._gradients, np.int64, len(self._gradients))
        gradients = np.fromiter(self._gradients.values(), np.float64, len(self._gradients))
        made = masks.adjust(
            self.mask, weights, block, positions, gradients, self.exchanged(server_round, block)
        )
        self.mask = made.mask
        return made.weights


class GradualMagnitude(SparseFedAvg):
    """The baseline: prune by magnitude along Zhu and Gupta's schedule, never grow.

    Args:
        density: at the end.
        begin, end: rounds between which it falls.
        every: rounds between steps.
        options: of SparseFedAvg.
    """

    def __init__(
        self,
        layout: Layout,
        density: float,
        begin: int = 1,
        end: int = 60,
        every: int = 5,
        **options: float,
    ) -> None:
        super().__init__(layout, np.ones(layout.size, bool), **options)  # type: ignore[arg-type]
        self.density = density
        self.begin = begin
        self.end = end
        self.every = every

    def after(self, server_round: int, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Prunes to the density of this round."""
        if server_round % self.every and server_round < self.end:
            return weights
        now = masks.gradual_density(self.density, server_round, self.begin, self.end)
        self.mask &= masks.by_magnitude(self.layout, weights, masks.uniform(self.layout, now))
        return np.where(self.mask, weights, np.float32(0))
