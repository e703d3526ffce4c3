# SPDX-License-Identifier: Apache-2.0
"""Offsets in the arena, chosen at compile time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tinyml.errors import TargetError
from tinyml.ir.graph import Graph
from tinyml.plan.fuse import buffers_of, choose_groups, live_bytes
from tinyml.plan.liveness import Buffer, Copies, aligned, lifetimes
from tinyml.plan.rows import row_rule
from tinyml.plan.schedule import Group, turned

_SWAPS = 600
# The exact search: for graphs of so many buffers, trying so many placements.
_SEARCH_BUFFERS = 24
_SEARCH_NODES = 5_000

# The distance of one memory's addresses from the next one's, in the search.
_FAR = 1 << 32

Distances = Mapping[tuple[int, int], int]


@dataclass(frozen=True)
class MemoryPlan:
    """A placed arena.

    Args:
        arena_bytes: total size.
        offsets: byte offset of each activation, or of its line buffer, and of each node's
            scratch memory (`scratch_name`) and copied constants (`copy_name`).
        buffers: the placed buffers with their lifetimes.
        groups: nodes that run together, in order.
        lower_bound: largest sum of simultaneously live bytes less what may overlap; no plan of
            these groups is smaller.
        proven: whether no plan of these groups is smaller than this one: it meets the bound, or
            the search tried every order.
        unfused_bytes: what the arena would be if every node ran by itself.
        peak_node: index of the node where the bound is reached.
        regions: the memory of each activation that is not in the arena: 1 is the second region.
        extra_bytes: what is used of each region after the first.
        state_bytes: the front of the arena, which holds the graph's variables between runs.
    """

    arena_bytes: int
    offsets: dict[str, int]
    buffers: tuple[Buffer, ...]
    groups: tuple[Group, ...]
    lower_bound: int
    proven: bool
    unfused_bytes: int
    peak_node: int
    regions: Mapping[str, int] = field(default_factory=dict)
    extra_bytes: tuple[int, ...] = ()
    state_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """RAM of all activations."""
        return self.arena_bytes + sum(self.extra_bytes)


def plan_memory(
    graph: Graph,
    isa: str = "portable",
    *,
    by_rows: bool = True,
    regions: Sequence[int] = (),
    copies: Copies | None = None,
) -> MemoryPlan:
    """Places every activation so that no byte is overwritten while it is needed.

    Args:
        isa: the instruction set that kernels are chosen for, see `Target.isa`: they differ in
            scratch memory.
        by_rows: whether nodes may run by rows where that saves memory.
        regions: bytes of each memory, where RAM is several. Inputs and outputs are in the first,
            the caller's arena. One memory is filled before the next is used.
        copies: constants that may be copied from slow flash.

    Raises:
        TargetError: the activations do not fit the regions.
    """
    if graph.variables:
        return _behind_state(graph, isa, regions)
    plan = _plan_arena(graph, isa, copies, by_rows=by_rows)
    if not regions or plan.arena_bytes <= regions[0]:
        return plan
    return _spread(graph, plan, regions)


def _plan_arena(graph: Graph, isa: str, copies: Copies | None, *, by_rows: bool) -> MemoryPlan:
    whole = choose_groups(graph, isa, by_rows=False, copies=copies)
    plan = _placed(graph, whole)
    if not by_rows:
        return plan
    groups = choose_groups(graph, isa, copies=copies)
    if all(not g.steps for g in groups):
        return plan
    fused = _placed(graph, groups, plan.arena_bytes)
    return fused if fused.arena_bytes < plan.arena_bytes else plan


def _behind_state(graph: Graph, isa: str, regions: Sequence[int]) -> MemoryPlan:
    """Variables first, each whole; behind them a plan that takes them for constants."""
    offsets, state = {}, 0
    for name in graph.variables:
        offsets[name] = state
        state += aligned(graph.tensors[name].bytes)
    still = graph.copy()
    for name, initial in graph.variables.items():
        still.tensors[name] = replace(graph.tensors[name], data=initial)
    still.variables, still.updates = {}, {}
    values = [v for v in graph.updates.values() if v not in graph.outputs]
    still.outputs = [*graph.outputs, *dict.fromkeys(values)]
    left = (max(regions[0] - state, 0), *regions[1:]) if regions else ()
    plan = plan_memory(still, isa, by_rows=False, regions=left)
    moved = {n: o if n in plan.regions else state + o for n, o in plan.offsets.items()}
    return replace(
        plan,
        arena_bytes=state + plan.arena_bytes,
        offsets={**offsets, **moved},
        lower_bound=state + plan.lower_bound,
        unfused_bytes=state + plan.unfused_bytes,
        state_bytes=state,
    )


def _placed(graph: Graph, groups: tuple[Group, ...], unfused: int | None = None) -> MemoryPlan:
    lives = lifetimes(graph)
    buffers = buffers_of(graph, groups)
    live = [live_bytes(graph, g, lives) for g in groups]
    bound = max(live, default=0)
    groups, offsets, proven = _best_directions(graph, groups, buffers, bound)
    top = _top(buffers, offsets)
    return MemoryPlan(
        arena_bytes=top,
        offsets={name: offsets[i] for i, b in enumerate(buffers) for name in b.tensors},
        buffers=tuple(buffers),
        groups=groups,
        lower_bound=bound,
        proven=proven,
        unfused_bytes=top if unfused is None else unfused,
        peak_node=groups[live.index(bound)].last if live else 0,
    )


def _best_directions(
    graph: Graph, groups: tuple[Group, ...], buffers: Sequence[Buffer], bound: int
) -> tuple[tuple[Group, ...], list[int], bool]:
    """Which groups run from the last row up, so that their output lies above their input.

    Outputs of groups that run downwards lie ever lower; in turns they stay in place.
    """
    lives = lifetimes(graph)
    rules = [row_rule(graph, n) for n in graph.nodes]
    other = [turned(graph, g, rules, lives) for g in groups]

    def tried(choice: Sequence[bool]) -> tuple[tuple[Group, ...], list[int], bool]:
        picked = tuple(
            o if up and o is not None else g for g, o, up in zip(groups, other, choice, strict=True)
        )
        return picked, *place(buffers, _distances(buffers, picked), bound)

    best = tried([False] * len(groups))
    turnable = [i for i, o in enumerate(other) if o is not None]
    starts = [[i in turnable[k::2] for i in range(len(groups))] for k in (0, 1)]
    if _top(buffers, best[1]) > bound and turnable:
        for choice in starts:
            found = tried(choice)
            if _top(buffers, found[1]) < _top(buffers, best[1]):
                best = found
    return best


def _distances(buffers: Sequence[Buffer], groups: Sequence[Group]) -> Distances:
    index = {b.tensors[0]: i for i, b in enumerate(buffers)}
    return {
        (index[high], index[low]): aligned(d)
        for g in groups
        for (high, low), d in g.distances.items()
    }


def _spread(graph: Graph, plan: MemoryPlan, regions: Sequence[int]) -> MemoryPlan:
    """The plan's buffers over several memories."""
    own = {*graph.inputs, *graph.outputs}
    pinned = {i for i, b in enumerate(plan.buffers) if own & set(b.tensors)}
    problem = _Problem(plan.buffers, _distances(plan.buffers, plan.groups), regions, pinned)
    every = range(len(plan.buffers))
    orders = (
        sorted(every, key=lambda i: (i not in pinned, -plan.buffers[i].size)),
        sorted(every, key=lambda i: (i not in pinned, plan.buffers[i].first)),
        sorted(every, key=lambda i: -plan.buffers[i].size),
    )
    start = min(orders, key=lambda order: problem.cost(problem.first_fit(order)))
    offsets = _improved(problem, start, problem.overflow - 1)
    if problem.cost(offsets) >= problem.overflow:
        sizes = ", ".join(f"{r:,} B" for r in regions)
        raise TargetError(
            f"the model's {plan.arena_bytes:,} B of activations do not fit the target's regions "
            f"({sizes})",
            "Lower the input resolution, or give the regions more of the RAM.",
        )
    tops = problem.tops(offsets)
    names = {name: i for i, b in enumerate(plan.buffers) for name in b.tensors}
    return replace(
        plan,
        arena_bytes=tops[0],
        extra_bytes=tuple(tops[1:]),
        offsets={n: offsets[i] % _FAR for n, i in names.items()},
        regions={n: offsets[i] // _FAR for n, i in names.items() if offsets[i] >= _FAR},
        proven=False,
    )


def place(buffers: Sequence[Buffer], distances: Distances, bound: int) -> tuple[list[int], bool]:
    """Offsets for buffers, and whether they are known to be best.

    Greedy first fit is run in several orders, the best of which is improved by seeded random
    swaps. Where that stays above the bound, orders are searched exhaustively within a limit: some
    order of first fit is optimal, the one by offset of an optimal plan pushed down.

    Args:
        distances: for pairs (a, b) of buffers: a may overlap b if it starts so many bytes higher;
            with 0 both ways only if they start together.
        bound: a size that no plan can beat.
    """
    problem = _Problem(buffers, distances)
    every = range(len(buffers))
    span = [b.last - b.first + 1 for b in buffers]
    orders = (
        sorted(every, key=lambda i: (-buffers[i].size, buffers[i].first)),
        sorted(every, key=lambda i: (-span[i] * buffers[i].size, buffers[i].first)),
        sorted(every, key=lambda i: (buffers[i].first, -buffers[i].size)),
        sorted(every, key=lambda i: (-buffers[i].last, -buffers[i].size)),
    )
    start = min(orders, key=lambda order: _top(buffers, problem.first_fit(order)))
    best = _improved(problem, start, bound)
    if _top(buffers, best) <= bound:
        return best, True
    if len(buffers) > _SEARCH_BUFFERS:
        return best, False
    return _searched(problem, best, bound)


class _Problem:
    """Which buffers conflict, and how."""

    def __init__(
        self,
        buffers: Sequence[Buffer],
        distances: Distances,
        regions: Sequence[int] = (_FAR,),
        pinned: Iterable[int] = (),
    ) -> None:
        self.buffers = buffers
        # Region r is the addresses from r * _FAR on: memories never meet.
        self.regions = regions
        self.pinned = frozenset(pinned)
        self.sizes = [aligned(b.size) for b in buffers]
        # For each buffer x and conflicting y: x must not start in (offset of y - before,
        # offset of y + after).
        self.conflicts: list[list[tuple[int, int, int]]] = []
        for x, b in enumerate(buffers):
            found = []
            for y, other in enumerate(buffers):
                if x == y or not b.overlaps(other):
                    continue
                before = distances.get((y, x), self.sizes[x])
                after = distances.get((x, y), self.sizes[y])
                if before == after == 0:
                    # Both lie where they start together, or apart.
                    found += [(y, self.sizes[x], 0), (y, 0, self.sizes[y])]
                else:
                    found.append((y, before, after))
            self.conflicts.append(found)

    def lowest(self, x: int, placed: Mapping[int, int]) -> int:
        """The lowest offset for a buffer among those placed."""
        taken = sorted(
            (placed[y] - before, placed[y] + after)
            for y, before, after in self.conflicts[x]
            if y in placed
        )
        last = 0 if x in self.pinned else len(self.regions) - 1
        for region in range(last + 1):
            offset, end = region * _FAR, region * _FAR + self.regions[region]
            for low, high in taken:
                if offset <= low:
                    break
                offset = max(offset, high)
            if offset + self.sizes[x] <= end or region == last:
                return offset
        raise AssertionError("a plan has at least one region")

    def tops(self, offsets: Sequence[int]) -> list[int]:
        """Bytes used of each region."""
        used = [0] * len(self.regions)
        for offset, size in zip(offsets, self.sizes, strict=True):
            used[offset // _FAR] = max(used[offset // _FAR], offset % _FAR + size)
        return used

    @property
    def overflow(self) -> int:
        """What a plan costs at least that does not fit."""
        return 1 << 50

    def cost(self, offsets: Sequence[int]) -> int:
        """Bytes used; much more where a region overflows."""
        used = self.tops(offsets)
        over = sum(max(u - r, 0) for u, r in zip(used, self.regions, strict=True))
        return sum(used) + over * self.overflow

    def first_fit(self, order: Iterable[int]) -> list[int]:
        """Offsets by buffer, each the lowest that those before it in the order leave."""
        placed: dict[int, int] = {}
        for x in order:
            placed[x] = self.lowest(x, placed)
        return [placed[i] for i in range(len(self.buffers))]


def _top(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    pairs = zip(offsets, buffers, strict=True)
    return max((offset + aligned(b.size) for offset, b in pairs), default=0)


def _improved(problem: _Problem, order: Sequence[int], bound: int) -> list[int]:
    """First fit in the best order found by swapping two buffers at a time."""
    rng = random.Random(0)
    current, best = list(order), problem.first_fit(order)
    top = problem.cost(best)
    for _ in range(_SWAPS):
        if top <= bound or len(current) < 2:
            break
        i, j = rng.sample(range(len(current)), 2)
        current[i], current[j] = current[j], current[i]
        placed = problem.first_fit(current)
        if problem.cost(placed) <= top:
            best, top = placed, problem.cost(placed)
        else:
            current[i], current[j] = current[j], current[i]
    return best


def _searched(problem: _Problem, best: list[int], bound: int) -> tuple[list[int], bool]:
    """Depth first through all orders of first fit, cutting those that cannot get lower."""
    count = len(problem.buffers)
    top = _top(problem.buffers, best)
    tried = 0

    def descend(placed: dict[int, int]) -> bool:
        """Whether everything below was tried or cut for a reason."""
        nonlocal best, top, tried
        if len(placed) == count:
            best = [placed[i] for i in range(count)]
            top = _top(problem.buffers, best)
            return True
        lowest = {x: problem.lowest(x, placed) for x in range(count) if x not in placed}
        if any(offset + problem.sizes[x] >= top for x, offset in lowest.items()):
            return True
        highest = max(placed.values(), default=0)
        # In order of offset: a buffer that would start lower belongs to another branch.
        for x in sorted(lowest, key=lambda x: (lowest[x], -problem.sizes[x])):
            if lowest[x] < highest:
                continue
            tried += 1
            if tried > _SEARCH_NODES:
                return False
            if not descend({**placed, x: lowest[x]}):
                return False
            if top <= bound:
                return True
        return True

    complete = descend({})
    return best, complete
