# SPDX-License-Identifier: Apache-2.0
"""Offsets in the arena, chosen at compile time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tinyml.ir.graph import Graph
from tinyml.plan.liveness import Buffer, live_buffers

ALIGNMENT = 16
_SWAPS = 600


@dataclass(frozen=True)
class MemoryPlan:
    """A placed arena.

    Args:
        arena_bytes: total size.
        offsets: byte offset of each activation, and of each node's scratch memory (`scratch_name`).
        buffers: the placed buffers with their lifetimes.
        lower_bound: largest sum of simultaneously live bytes; no plan is smaller.
        peak_node: index of the node where that sum is reached.
    """

    arena_bytes: int
    offsets: dict[str, int]
    buffers: tuple[Buffer, ...]
    lower_bound: int
    peak_node: int

    def live_bytes(self, node: int) -> int:
        """Bytes live while a node runs."""
        return sum(_aligned(b.size) for b in self.buffers if b.first <= node <= b.last)


def plan_memory(graph: Graph, isa: str = "portable") -> MemoryPlan:
    """Places every activation so that no two live buffers overlap.

    Greedy first fit is run in several orders; the best order is then improved by seeded random
    swaps. The search ends when it reaches the live-set lower bound, which no plan can beat.

    Args:
        isa: the instruction set that kernels are chosen for, see `Target.isa`: they differ in
            scratch memory.
    """
    buffers = live_buffers(graph, isa)
    live = [
        sum(_aligned(b.size) for b in buffers if b.first <= node <= b.last)
        for node in range(len(graph.nodes))
    ]
    bound = max(live, default=0)
    orders = (
        sorted(buffers, key=lambda b: (-b.size, b.first)),
        sorted(buffers, key=lambda b: (-(b.last - b.first) * b.size, b.first)),
        sorted(buffers, key=lambda b: (b.first, -b.size)),
        sorted(buffers, key=lambda b: (-max(live[max(b.first, 0) : b.last + 1]), -b.size)),
    )
    start = min(orders, key=lambda order: _top(_first_fit(order)))
    best = _improved(start, bound)
    return MemoryPlan(
        arena_bytes=_top(best),
        offsets={name: best[b] for b in buffers for name in b.tensors},
        buffers=tuple(buffers),
        lower_bound=bound,
        peak_node=live.index(bound) if live else 0,
    )


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _top(placed: dict[Buffer, int]) -> int:
    return max((offset + _aligned(b.size) for b, offset in placed.items()), default=0)


def _improved(order: Sequence[Buffer], bound: int) -> dict[Buffer, int]:
    """First fit in the best order found by swapping two buffers at a time."""
    rng = random.Random(0)
    current, best = list(order), _first_fit(order)
    for _ in range(_SWAPS):
        if _top(best) <= bound or len(current) < 2:
            break
        i, j = rng.sample(range(len(current)), 2)
        current[i], current[j] = current[j], current[i]
        placed = _first_fit(current)
        if _top(placed) <= _top(best):
            best = placed
        else:
            current[i], current[j] = current[j], current[i]
    return best


def _first_fit(order: Sequence[Buffer]) -> dict[Buffer, int]:
    placed: dict[Buffer, int] = {}
    for buffer in order:
        taken = sorted(
            (offset, offset + _aligned(other.size))
            for other, offset in placed.items()
            if other.overlaps(buffer)
        )
        offset = 0
        for low, high in taken:
            if offset + _aligned(buffer.size) <= low:
                break
            offset = max(offset, high)
        placed[buffer] = offset
    return placed
