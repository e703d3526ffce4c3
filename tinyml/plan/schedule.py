# SPDX-License-Identifier: Apache-2.0
"""Groups: nodes that run together, a row at a time, so that tensors between them are never whole.

Only the rows that a reader still needs are kept, in a line buffer that is shifted down when it is
full; nothing is computed twice. Rows of a dying input make room for rows of the output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tinyml.ir.graph import Graph, Node
from tinyml.plan.liveness import IN_PLACE, Copies, Lifetimes, aligned
from tinyml.plan.rows import RowRule, row_bytes, row_count

_NEVER = 1 << 40


@dataclass(frozen=True)
class Step:
    """One output row of one node.

    Args:
        node: its index in the graph.
        row: of the output.
    """

    node: int
    row: int


@dataclass(frozen=True)
class Shift:
    """Moves the rows of a line buffer that are still needed to its start.

    Args:
        tensor: whose line buffer.
        rows: by how many rows.
        kept: how many rows are moved.
    """

    tensor: str
    rows: int
    kept: int


@dataclass(frozen=True)
class Group:
    """Consecutive nodes that run as one.

    Args:
        first, last: node indices, inclusive.
        steps: in order of execution; empty for a single node that runs as a whole.
        lines: rows of the line buffer of each tensor that stays inside the group.
        distances: for pairs of a dying input and a new whole output, by owner, the one that lies
            higher first: they may overlap if they start so many bytes apart. Pairs that must be
            apart are not listed; those listed both ways with 0 are apart or start at one place.
        scratch: bytes that kernels of the group need while they run, one after the other.
        copies: bytes of the constants of nodes that are copied to RAM before the group runs.
    """

    first: int
    last: int
    steps: tuple[Step | Shift, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)
    distances: Mapping[tuple[str, str], int] = field(default_factory=dict)
    scratch: int = 0
    copies: Mapping[int, int] = field(default_factory=dict)


def with_copies(group: Group, copies: Copies) -> Group:
    """The group copying constants from slow flash, the smallest first, within the budget."""
    left, chosen = copies.budget, {}
    inside = [i for i in range(group.first, group.last + 1) if i in copies.sizes]
    for index in sorted(inside, key=lambda i: copies.sizes[i]):
        size = aligned(copies.sizes[index])
        if size <= left:
            chosen[index] = size
            left -= size
    return replace(group, copies=chosen)


def whole_group(graph: Graph, index: int, lives: Lifetimes, isa: str) -> Group:
    """A single node run as a whole; elementwise kernels may write over a dying dense input."""
    node = graph.nodes[index]
    scratch = node.op.c_scratch(graph.ins(node), graph.out(node), isa)
    distances: dict[tuple[str, str], int] = {}
    out = graph.out(node)
    if node.op.c_in_place(graph.ins(node), out, isa):
        owner = lives.owner[node.inputs[0]]
        if lives.last[owner] == index and out.bytes <= lives.size[owner]:
            distances[owner, out.name] = 0
            if not node.op.c_in_order(graph.ins(node), out, isa):
                distances[out.name, owner] = 0
    if isinstance(node.op, IN_PLACE) and len(set(node.inputs)) == len(node.inputs):
        for tensor in graph.ins(node):
            if not tensor.is_constant and tensor.shape == out.shape:
                owner = lives.owner[tensor.name]
                if lives.last[owner] == index and tensor.bytes == out.bytes:
                    distances[owner, out.name] = 0
    return Group(index, index, distances=distances, scratch=scratch)


def row_group(
    graph: Graph,
    first: int,
    last: int,
    rules: Sequence[RowRule | None],
    lives: Lifetimes,
    scratch: Sequence[int],
) -> Group | None:
    """Nodes ``first`` to ``last`` run by rows; None where that cannot be.

    Args:
        rules: of every node of the graph.
        scratch: of every node when it runs by rows, see `row_scratch`.
    """
    simulation = _Simulation(graph, first, last, rules, lives)
    if not simulation.possible:
        return None
    simulation.run()
    return Group(
        first,
        last,
        tuple(simulation.with_shifts()),
        dict(simulation.capacity),
        simulation.useful_distances(),
        max(scratch[first : last + 1]),
    )


def turned(
    graph: Graph, group: Group, rules: Sequence[RowRule | None], lives: Lifetimes
) -> Group | None:
    """The group from the last row to the first: its output lies above its input. Only for single
    nodes that are not elementwise, and only where the group overlaps something; else None."""
    node = graph.nodes[group.first]
    rule = rules[group.first]
    if group.first != group.last or not group.steps or not group.distances or rule is None:
        return None
    if isinstance(node.op, IN_PLACE):
        return None
    out = graph.out(node)
    distances = {}
    for tensor, window in zip(graph.ins(node), rule.windows, strict=True):
        owner = lives.owner.get(tensor.name)
        if owner is None or window is None or (owner, out.name) not in group.distances:
            continue
        rows = row_count(tensor)
        distances[out.name, owner] = max(
            window.high(y, rows) * row_bytes(tensor) - y * row_bytes(out) for y in range(rule.rows)
        )
    steps = tuple(s for s in reversed(group.steps) if isinstance(s, Step))
    return replace(group, steps=steps, distances=distances)


class _Simulation:
    """Runs the nodes row by row on paper, on demand of the outputs."""

    def __init__(
        self,
        graph: Graph,
        first: int,
        last: int,
        rules: Sequence[RowRule | None],
        lives: Lifetimes,
    ) -> None:
        self.graph, self.first, self.last, self.lives = graph, first, last, lives
        self.nodes: dict[int, Node] = {i: graph.nodes[i] for i in range(first, last + 1)}
        self.rules: dict[int, RowRule] = {}
        self.producer = {n.output: i for i, n in self.nodes.items()}
        # (node, window) of each reader in the group; None as the window for "whole".
        self.readers: dict[str, list[tuple[int, int]]] = {}
        self.done = dict.fromkeys(self.nodes, 0)
        self.steps: list[Step] = []
        self.capacity: dict[str, int] = {}
        self.distance: dict[tuple[str, str], int] = {}
        self.possible = self._collect(rules)

    def _collect(self, rules: Sequence[RowRule | None]) -> bool:
        for index, node in self.nodes.items():
            rule = rules[index]
            if rule is None:
                return False
            self.rules[index] = rule
            for position, name in enumerate(node.inputs):
                if self.graph.tensors[name].is_constant:
                    continue
                if rule.windows[position] is None and name in self.producer:
                    return False
                self.readers.setdefault(name, []).append((index, position))
        outside = set(self.graph.outputs)
        for index, node in enumerate(self.graph.nodes):
            if not self.first <= index <= self.last:
                outside.update(node.inputs)
        self.internal = [t for t in self.producer if t not in outside]
        self.sinks = [i for i, n in self.nodes.items() if n.output in outside]
        own = self.lives.owner
        dying = [
            name
            for name in self.readers
            if name not in self.producer and self.lives.last[own[name]] <= self.last
        ]
        self.dying = {own[name]: name for name in dying}
        # Memory read under two names, through a reshape, is not followed.
        return len(self.dying) == len(dying)

    def run(self) -> None:
        """Makes every row of the outputs."""
        while True:
            waiting = [s for s in self.sinks if self.done[s] < self.rules[s].rows]
            if not waiting:
                return
            self._advance(min(waiting, key=lambda s: self.done[s] / self.rules[s].rows))

    def _advance(self, index: int) -> None:
        """One step of the node, or of what it waits for."""
        while True:
            lacking = self._lacking(index)
            if lacking is None:
                break
            index = lacking
        self._step(index)

    def _lacking(self, index: int) -> int | None:
        """The producer of rows that the node's next row needs and that are not there."""
        y, rule = self.done[index], self.rules[index]
        for name, window in zip(self.nodes[index].inputs, rule.windows, strict=True):
            producer = self.producer.get(name)
            if window is None or producer is None:
                continue
            if self.done[producer] < window.high(y, row_count(self.graph.tensors[name])):
                return producer
        return None

    def _step(self, index: int) -> None:
        out, y = self.nodes[index].output, self.done[index]
        if out in self.internal:
            live = y + 1 - self._low(out)
            self.capacity[out] = max(self.capacity.get(out, 1), live)
        else:
            self._note_distances(index, y)
        self.steps.append(Step(index, y))
        self.done[index] += 1

    def _low(self, name: str, but: int = -1) -> int:
        """The lowest row of a tensor that some reader still needs, not counting ``but``."""
        low = _NEVER
        for reader, position in self.readers.get(name, ()):
            if reader == but:
                continue
            y, rule = self.done[reader], self.rules[reader]
            if y < rule.rows:
                window = rule.windows[position]
                low = min(low, 0 if window is None else window.low(y))
        return low

    def _note_distances(self, index: int, y: int) -> None:
        node = self.nodes[index]
        out = self.graph.out(node)
        for owner, name in self.dying.items():
            tensor = self.graph.tensors[name]
            reader = -1
            if (
                isinstance(node.op, IN_PLACE)
                and node.inputs.count(name) == 1
                and tensor.shape == out.shape
                and tensor.bytes == out.bytes
            ):
                # It reads each byte before it writes the one in the same place.
                reader = index
            end, low = (y + 1) * row_bytes(out), self._low(name, but=reader)
            read = min(low * row_bytes(tensor), tensor.bytes) if low < _NEVER else tensor.bytes
            key = (owner, out.name)
            self.distance[key] = max(self.distance.get(key, 0), end - read)

    def useful_distances(self) -> dict[tuple[str, str], int]:
        """Distances smaller than the output, which would be that far below in any case."""
        size = self.lives.size
        return {k: d for k, d in self.distance.items() if d < size[k[1]]}

    def with_shifts(self) -> list[Step | Shift]:
        """The steps, with a shift wherever a line buffer is full."""
        self.done = dict.fromkeys(self.nodes, 0)
        base = dict.fromkeys(self.internal, 0)
        made: list[Step | Shift] = []
        for step in self.steps:
            out = self.nodes[step.node].output
            if out in base and step.row - base[out] >= self.capacity[out]:
                low = min(self._low(out), step.row)
                made.append(Shift(out, low - base[out], step.row - low))
                base[out] = low
            made.append(step)
            self.done[step.node] += 1
        return made
