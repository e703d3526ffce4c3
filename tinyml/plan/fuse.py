# SPDX-License-Identifier: Apache-2.0
"""Chooses which nodes run together by rows.

The least peak over all ways to cut the node list into groups, then, among those, the fewest rows
made one at a time: a group is not formed where it saves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinyml.ir.graph import Graph
from tinyml.plan.liveness import (
    Buffer,
    Copies,
    Lifetimes,
    aligned,
    copy_name,
    lifetimes,
    scratch_name,
)
from tinyml.plan.rows import row_bytes, row_rule, row_scratch
from tinyml.plan.schedule import Group, row_group, whole_group, with_copies

# Longer groups exist only in nets whose peak they no longer lower.
LONGEST = 32


@dataclass(frozen=True)
class _Choice:
    group: Group
    peak: int
    cost: int


def choose_groups(
    graph: Graph, isa: str, *, by_rows: bool = True, copies: Copies | None = None
) -> tuple[Group, ...]:
    """The groups of a graph in order of execution; with ``by_rows`` off, every node by itself.

    Args:
        isa: the instruction set that kernels are chosen for; they differ in scratch memory.
        copies: what may be copied from slow flash.
    """
    copies = copies or Copies(0, {})
    lives = lifetimes(graph)
    whole = [
        _choice(graph, with_copies(whole_group(graph, i, lives, isa), copies), lives)
        for i in range(len(graph.nodes))
    ]
    if not by_rows:
        return tuple(c.group for c in whole)
    options = _options(graph, lives, whole, isa, copies)
    least = _least_peak(options)
    return tuple(c.group for c in _cheapest(options, least))


def _options(
    graph: Graph, lives: Lifetimes, whole: Sequence[_Choice], isa: str, copies: Copies
) -> list[list[_Choice]]:
    """The groups that end at each node."""
    rules = [row_rule(graph, n) for n in graph.nodes]
    scratch = [row_scratch(graph, n, r, isa) for n, r in zip(graph.nodes, rules, strict=True)]
    highest = max((c.peak for c in whole), default=0)
    options: list[list[_Choice]] = []
    for last in range(len(graph.nodes)):
        ending = [whole[last]]
        for first in range(last, max(-1, last - LONGEST), -1):
            if rules[first] is None:
                break
            # Memory that no grouping of these nodes can avoid.
            if _outside(first, last, lives) >= highest:
                continue
            group = row_group(graph, first, last, rules, lives, scratch)
            if group is not None:
                ending.append(_choice(graph, with_copies(group, copies), lives))
        options.append(ending)
    return options


def _outside(first: int, last: int, lives: Lifetimes) -> int:
    return sum(
        aligned(size)
        for name, size in lives.size.items()
        if lives.first[name] < first and lives.last[name] > last
    )


def _choice(graph: Graph, group: Group, lives: Lifetimes) -> _Choice:
    return _Choice(group, live_bytes(graph, group, lives), len(group.steps))


def live_bytes(graph: Graph, group: Group, lives: Lifetimes) -> int:
    """Bytes that any plan needs while a group runs: what is live, less what may overlap."""
    total = sum(
        aligned(size)
        for name, size in lives.size.items()
        if name not in group.lines
        and lives.first[name] <= group.last
        and lives.last[name] >= group.first
    )
    total += sum(aligned(line_bytes(graph, group, name)) for name in group.lines)
    total += aligned(group.scratch) + sum(group.copies.values())
    saved: dict[str, int] = {}
    for (high, low), distance in group.distances.items():
        over, under = aligned(lives.size[high]), aligned(lives.size[low])
        both = max(over + aligned(distance), under)
        born = low if lives.first[low] >= group.first else high
        saved[born] = saved.get(born, 0) + max(under + over - both, 0)
    return total - sum(min(s, aligned(lives.size[b])) for b, s in saved.items())


def line_bytes(graph: Graph, group: Group, name: str) -> int:
    """Bytes of a group's line buffer."""
    return group.lines[name] * row_bytes(graph.tensors[name])


def _least_peak(options: Sequence[Sequence[_Choice]]) -> int:
    best = [0]
    for ending in options:
        best.append(min(max(best[c.group.first], c.peak) for c in ending))
    return best[-1]


def _cheapest(options: Sequence[Sequence[_Choice]], peak: int) -> list[_Choice]:
    """The cheapest sequence of groups whose peaks are within ``peak``."""
    never = 1 << 60
    cost, chosen = [0], []
    for ending in options:
        fits = [c for c in ending if c.peak <= peak]
        best = min(fits, key=lambda c: cost[c.group.first] + c.cost, default=None)
        chosen.append(best)
        cost.append(never if best is None else min(never, cost[best.group.first] + best.cost))
    path: list[_Choice] = []
    end = len(options)
    while end:
        last = chosen[end - 1]
        assert last is not None
        path.append(last)
        end = last.group.first
    return path[::-1]


def buffers_of(graph: Graph, groups: Sequence[Group]) -> list[Buffer]:
    """The buffers of a graph's activations, with lifetimes widened to whole groups."""
    lives = lifetimes(graph)
    spans = {i: (g.first, g.last) for g in groups for i in range(g.first, g.last + 1)}
    lines = {name: g for g in groups for name in g.lines}
    members: dict[str, list[str]] = {}
    for name, owner in lives.owner.items():
        members.setdefault(owner, []).append(name)
    made = []
    for owner, names in members.items():
        if owner in lines:
            group = lines[owner]
            size = line_bytes(graph, group, owner)
            made.append(Buffer(tuple(names), size, group.first, group.last))
            continue
        first, last = lives.first[owner], lives.last[owner]
        first = spans[first][0] if first >= 0 else first
        last = spans[last][1] if 0 <= last < len(graph.nodes) else last
        made.append(Buffer(tuple(names), lives.size[owner], first, last))
    for group in groups:
        if group.scratch:
            scratch = tuple(scratch_name(i) for i in range(group.first, group.last + 1))
            made.append(Buffer(scratch, group.scratch, group.first, group.last))
        for index, size in group.copies.items():
            made.append(Buffer((copy_name(index),), size, group.first, group.last))
    return made
