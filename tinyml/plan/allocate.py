# SPDX-License-Identifier: Apache-2.0
"""Offsets in the arena, chosen at compile time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinyml.ir.graph import Graph
from tinyml.plan.liveness import Buffer, live_buffers

ALIGNMENT = 16


@dataclass(frozen=True)
class MemoryPlan:
    """A placed arena.

    Args:
        arena_bytes: total size.
        offsets: byte offset of each activation.
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


def plan_memory(graph: Graph) -> MemoryPlan:
    """Places every activation so that no two live buffers overlap.

    Greedy first fit is run in several orders and the smallest arena kept; it stops early when
    an order reaches the live-set lower bound, which most layer-by-layer networks do.
    """
    buffers = live_buffers(graph)
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
    best: dict[Buffer, int] | None = None
    for order in orders:
        placed = _first_fit(order)
        if best is None or _top(placed) < _top(best):
            best = placed
        if _top(best) <= bound:
            break
    assert best is not None
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
