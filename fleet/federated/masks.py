# SPDX-License-Identifier: Apache-2.0
"""Which weights are active: layer densities, magnitude masks, growing and pruning.

Weights are pruned; biases and other one-dimensional arrays stay dense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet.federated.layout import Layout

Mask = NDArray[np.bool_]


def prunable(layout: Layout) -> list[tuple[str, slice, tuple[int, ...]]]:
    """Name, place and shape of the arrays that may be pruned, input first."""
    places = layout.slices()
    return [(n, places[n], shape) for n, shape in layout.entries if len(shape) > 1]


def uniform(layout: Layout, density: float, floor: float = 0.0) -> dict[str, float]:
    """The same density everywhere; the last layer keeps at least ``floor``."""
    return _with_floor(layout, {n: density for n, _, _ in prunable(layout)}, density, floor)


def erk(layout: Layout, density: float, floor: float = 0.0) -> dict[str, float]:
    """Erdos-Renyi-Kernel densities: proportional to (in + out + kh + kw) / (in out kh kw).

    Layers that come out above 1 become dense, and the rest is solved again, until none exceeds 1.
    Source: Evci et al., arXiv 1911.11134, section 3.
    """
    arrays = prunable(layout)
    raw = {n: sum(shape) / float(np.prod(shape)) for n, _, shape in arrays}
    sizes = {n: float(np.prod(shape)) for n, _, shape in arrays}
    budget = density * sum(sizes.values())
    dense: set[str] = set()
    while True:
        rest = [n for n in raw if n not in dense]
        if not rest:
            return dict.fromkeys(raw, 1.0)
        left = budget - sum(sizes[n] for n in dense)
        scale = left / sum(raw[n] * sizes[n] for n in rest)
        over = [n for n in rest if raw[n] * scale > 1.0]
        if not over:
            found = {n: 1.0 if n in dense else raw[n] * scale for n in raw}
            return _with_floor(layout, found, density, floor)
        dense.update(over)


def _with_floor(
    layout: Layout, densities: dict[str, float], density: float, floor: float
) -> dict[str, float]:
    """Raises the last layer to the floor and takes what that costs from the others."""
    arrays = prunable(layout)
    last, sizes = arrays[-1][0], {n: float(np.prod(shape)) for n, _, shape in arrays}
    if len(arrays) == 1 or densities[last] >= floor:
        return densities
    budget = density * sum(sizes.values())
    others = {n: d for n, d in densities.items() if n != last}
    left = max(budget - floor * sizes[last], 0.0)
    scale = left / sum(d * sizes[n] for n, d in others.items())
    return {**{n: min(1.0, d * scale) for n, d in others.items()}, last: floor}


def by_magnitude(
    layout: Layout, weights: NDArray[np.floating], densities: dict[str, float]
) -> Mask:
    """Keeps the largest weights of each layer; at least one a layer."""
    mask = np.ones(layout.size, bool)
    for name, place, shape in prunable(layout):
        count = max(1, round(densities[name] * math.prod(shape)))
        mask[place] = _largest(np.abs(weights[place]), count)
    return mask


def _largest(values: NDArray[np.floating], count: int) -> Mask:
    kept = np.zeros(values.shape, bool)
    kept[np.argsort(-values, kind="stable")[:count]] = True
    return kept


def density_of(layout: Layout, mask: Mask) -> float:
    """Fraction of the prunable weights that are active."""
    places = [place for _, place, _ in prunable(layout)]
    active = sum(int(mask[p].sum()) for p in places)
    return active / float(sum(p.stop - p.start for p in places))


@dataclass(frozen=True)
class Adjusted:
    """Mask and weights after growing and pruning one layer."""

    mask: Mask
    weights: NDArray[np.float32]
    grown: int


def adjust(
    mask: Mask,
    weights: NDArray[np.float32],
    place: slice,
    positions: NDArray[np.int64],
    gradients: NDArray[np.floating],
    count: int,
) -> Adjusted:
    """Grows pruned weights of a layer with the largest gradients, value 0, and prunes as many
    active ones with the smallest magnitude, never those just grown.

    Args:
        place: of the layer in the vector.
        positions, gradients: of pruned weights, as devices found them.
        count: how many at most.

    Source: Huang et al., arXiv 2212.01977, section III-C.
    """
    inside = (positions >= place.start) & (positions < place.stop) & ~mask[positions]
    at, size = positions[inside], np.abs(gradients[inside])
    grow = at[np.argsort(-size, kind="stable")[:count]]
    active = np.flatnonzero(mask[place]) + place.start
    shrink = active[np.argsort(np.abs(weights[active]), kind="stable")[: len(grow)]]
    changed, moved = mask.copy(), weights.copy()
    changed[shrink], changed[grow] = False, True
    moved[shrink] = moved[grow] = 0.0
    return Adjusted(changed, moved, len(grow))


def cosine_count(active: int, done: float, alpha: float = 0.3) -> int:
    """How many weights a layer may exchange: alpha / 2 (1 + cos(pi t)) of the active ones.

    Args:
        done: part of the adjusting rounds that is over, 0 to 1.
    """
    return int(alpha / 2 * (1 + math.cos(math.pi * min(done, 1.0))) * active)


def gradual_density(target: float, server_round: int, begin: int, end: int) -> float:
    """Zhu and Gupta's cubic schedule from dense to ``target`` (arXiv 1710.01878, equation 1)."""
    done = min(max((server_round - begin) / max(end - begin, 1), 0.0), 1.0)
    return target + (1 - target) * (1 - done) ** 3
