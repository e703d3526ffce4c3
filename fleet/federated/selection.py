# SPDX-License-Identifier: Apache-2.0
"""FedTiny's coarse masks, and the choice among them by the devices' own loss.

Pruning moves what reaches a batch normalisation, so candidates are compared with statistics that
devices measured for each: layer after layer, the mean and variance of its outputs before the
activation. Where the network keeps its normalisation, they become its running statistics. Where it
was folded into the weights, as in exported learners, rows and biases are scaled so that each
channel has the mean and variance that it has in the dense network. The last layer stays as it is.

Source: Huang, Zhang, Sun et al., arXiv 2212.01977, section III-B. Ours: ERK and uniform densities
are always among the candidates, and the last layer has a floor.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fleet.federated import masks
from fleet.federated.jobs import ARRAYS, CONFIG, METRICS, STATISTICS, config
from fleet.federated.layout import Layout, Vector
from fleet.federated.reptile import examples_of

# As of batch normalisation.
EPSILON = 1e-5


def candidates(
    layout: Layout,
    weights: NDArray[np.floating],
    density: float,
    count: int,
    floor: float,
    noise: float = 0.2,
    seed: int = 0,
) -> list[masks.Mask]:
    """Coarse masks by magnitude: ERK, uniform, and others whose layer densities vary around ERK.

    Args:
        noise: of the logarithm of a layer's density.
    """
    rng = np.random.default_rng(seed)
    made = [masks.erk(layout, density, floor), masks.uniform(layout, density, floor)]
    sizes = {n: float(np.prod(shape)) for n, _, shape in masks.prunable(layout)}
    budget = density * sum(sizes.values())
    while len(made) < count:
        varied = {n: d * float(np.exp(rng.normal(0, noise))) for n, d in made[0].items()}
        scale = budget / sum(d * sizes[n] for n, d in varied.items())
        made.append({n: min(1.0, d * scale) for n, d in varied.items()})
    return [masks.by_magnitude(layout, weights, d) for d in made[:count]]


@dataclass(frozen=True)
class Selected:
    """The candidate with the smallest loss.

    Args:
        index: of it.
        losses: of all; infinite where no device answered.
        mask: of active weights.
        weights: masked, with the statistics that devices measured.
    """

    index: int
    losses: list[float]
    mask: masks.Mask
    weights: Vector


def select(
    grid: Grid,
    layout: Layout,
    weights: Vector,
    pool: Sequence[masks.Mask],
    steps: int,
    timeout_s: float,
    progress: Callable[[int, float], None] = lambda candidate, loss: None,
) -> Selected:
    """Every device measures statistics and loss of each candidate on its own samples; means are by
    number of examples.

    Args:
        steps: samples that a device takes for each measurement.
        timeout_s: of one exchange with the devices.
        progress: told of each candidate and its loss.

    Raises:
        ValueError: no device measured any candidate.
    """
    layers = _normalised(layout)

    def measured(vector: Vector, layer: _Normalised) -> Moments | None:
        wanted: dict[str, float | int | str] = {
            "steps": steps, "statistics": 1, "block-first": layer.weights.start,
        }  # fmt: skip
        return _merged(_ask(grid, layout, vector, wanted, timeout_s))

    dense = [None if layer.running else measured(weights, layer) for layer in layers]
    losses, adapted = [], []
    for index, mask in enumerate(pool):
        vector = np.where(mask, weights, np.float32(0))
        for layer, target in zip(layers, dense, strict=True):
            seen = measured(vector, layer)
            if seen is not None and (layer.running or target is not None):
                vector = layer.adapt(vector, seen, target)
        replies = _ask(grid, layout, vector, {"steps": steps}, timeout_s)
        losses.append(_mean_loss(replies))
        adapted.append(vector)
        progress(index, losses[-1])
    best = int(np.argmin(losses))
    if not np.isfinite(losses[best]):
        raise ValueError("no device measured any candidate")
    return Selected(best, losses, pool[best], adapted[best])


@dataclass
class Moments:
    """Of a layer's channels, over samples and positions.

    Args:
        count: of them.
        mean, m2: (channels,) means and sums of squared deviations.
    """

    count: float
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]

    def merge(self, other: Moments) -> None:
        """Exactly as if both had been measured in one place.

        Source: Chan, Golub, LeVeque, STAN-CS-79-773.
        """
        count = self.count + other.count
        apart = other.mean - self.mean
        self.mean = self.mean + apart * other.count / count
        self.m2 = self.m2 + other.m2 + apart**2 * self.count * other.count / count
        self.count = count

    @property
    def variance(self) -> NDArray[np.float64]:
        """(channels,)."""
        return self.m2 / self.count


@dataclass(frozen=True)
class _Normalised:
    """A layer whose outputs are normalised.

    Args:
        shape: of its weights.
        by_column: channels are columns of the weights, else rows.
        running: places of running mean and variance, where the network has them.
    """

    weights: slice
    bias: slice | None
    shape: tuple[int, ...]
    by_column: bool
    running: tuple[slice, slice] | None

    def adapt(self, vector: Vector, seen: Moments, target: Moments | None) -> Vector:
        """The network with what was seen of this layer's outputs.

        Args:
            target: moments that they are to have; not used with running statistics.
        """
        made = vector.copy()
        if self.running is not None:
            made[self.running[0]], made[self.running[1]] = seen.mean, seen.variance
            return made
        assert target is not None
        channels = self.shape[-1] if self.by_column else self.shape[0]
        if self.bias is None or seen.mean.shape != (channels,):
            return made  # a part of the layer is trained: its channels are not all here
        scale = np.sqrt((target.variance + EPSILON) / (seen.variance + EPSILON))
        place = vector[self.weights].reshape(self.shape)
        rows = scale if self.by_column else scale.reshape(-1, *[1] * (len(self.shape) - 1))
        made[self.weights] = (place * rows).ravel()
        made[self.bias] = (vector[self.bias] - seen.mean) * scale + target.mean
        return made


def _normalised(layout: Layout) -> list[_Normalised]:
    """All layers but the last, input first."""
    places = layout.slices()
    names = list(places)
    found = []
    layers = masks.prunable(layout)
    for (name, place, shape), (following, _, _) in itertools.pairwise(layers):
        between = names[names.index(name) + 1 : names.index(following)]
        ending = {n.rpartition(".")[2]: places[n] for n in reversed(between)}
        running = None
        if {"running_mean", "running_var"} <= ending.keys():
            running = ending["running_mean"], ending["running_var"]
        bias = places.get(f"{name.rpartition('.')[0]}.bias")
        found.append(_Normalised(place, bias, shape, name in layout.by_column, running))
    return found


def _ask(
    grid: Grid,
    layout: Layout,
    vector: Vector,
    wanted: dict[str, float | int | str],
    timeout_s: float,
) -> Iterator[Message]:
    """What all devices measure of a network, as it comes."""
    content = RecordDict({ARRAYS: layout.record(vector), CONFIG: config(wanted)})
    asked = [Message(content, node, MessageType.EVALUATE) for node in grid.get_node_ids()]
    for reply in grid.send_and_receive(asked, timeout=timeout_s):
        if not reply.has_error():
            yield reply


def _merged(replies: Iterator[Message]) -> Moments | None:
    total: Moments | None = None
    for reply in replies:
        if STATISTICS not in reply.content.array_records:
            continue  # of a node that runs Python and does not measure them
        record = reply.content.array_records[STATISTICS]
        count, mean, m2 = (record[n].numpy() for n in ("count", "mean", "m2"))
        seen = Moments(float(count[0]), mean.astype(np.float64), m2.astype(np.float64))
        if total is None:
            total = seen
        elif seen.mean.shape == total.mean.shape:
            total.merge(seen)
    return total


def _mean_loss(replies: Iterator[Message]) -> float:
    total = weight = 0.0
    for reply in replies:
        metrics = reply.content.metric_records[METRICS]
        loss = metrics["loss"]
        assert isinstance(loss, int | float)
        total += examples_of(metrics) * float(loss)
        weight += examples_of(metrics)
    return total / weight if weight else float("inf")
