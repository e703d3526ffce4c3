# SPDX-License-Identifier: Apache-2.0
"""Reorders operators so that less is live at once.

Requires: an int8 graph.
Ensures: every tensor is written before it is read; the arena that a plan of the new order needs,
by the sum of live bytes, is no larger than before.

Exact for graphs whose sets of finished nodes are few enough to visit all; else each step takes
the ready node that leaves least alive, and the order with the lower peak wins.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinyml.ir.graph import Graph, Node
from tinyml.passes.manager import Pass

# States that the exact search may visit.
_STATES = 4000


class OrderNodes(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        self.before = peak(graph)
        candidates = [graph.nodes, _exact(graph) or _greedy(graph)]
        graph.nodes = min(candidates, key=lambda nodes: peak(graph, nodes))

    def ensures(self, graph: Graph) -> str | None:
        after = peak(graph)
        return None if after <= self.before else f"the peak grew to {after} B"


def peak(graph: Graph, nodes: Sequence[Node] | None = None) -> int:
    """Largest sum of live activations while nodes run one by one, in bytes."""
    state = _State(graph)
    return max((state.step(n) for n in nodes or graph.nodes), default=0)


class _State:
    """What is live between nodes."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.readers: dict[str, int] = dict.fromkeys(graph.kept, 1)
        for node in graph.nodes:
            for name in set(node.inputs):
                if not graph.tensors[name].is_constant and name not in graph.variables:
                    self.readers[name] = self.readers.get(name, 0) + 1
        self.live = sum(graph.tensors[n].bytes for n in graph.inputs)

    def step(self, node: Node) -> int:
        """Runs a node and returns the bytes live while it runs."""
        self.live += self.graph.out(node).bytes
        during = self.live
        for name in set(node.inputs):
            if name in self.readers:
                self.readers[name] -= 1
                if not self.readers[name]:
                    self.live -= self.graph.tensors[name].bytes
        return during


def _needs(graph: Graph) -> list[set[int]]:
    """The nodes that each node waits for."""
    writer = {n.output: i for i, n in enumerate(graph.nodes)}
    return [{writer[i] for i in n.inputs if i in writer} for n in graph.nodes]


def _exact(graph: Graph) -> list[Node] | None:
    """The order of least peak by dynamic programming over sets of finished nodes; None where
    there are too many."""
    needs = [sum(1 << i for i in found) for found in _needs(graph)]
    masks = {}
    for name in [*graph.inputs, *(n.output for n in graph.nodes)]:
        readers = [i for i, n in enumerate(graph.nodes) if name in n.inputs]
        writer = next((i for i, n in enumerate(graph.nodes) if n.output == name), None)
        never = name in graph.kept
        masks[name] = (writer, sum(1 << i for i in readers), never, graph.tensors[name].bytes)

    def live(done: int) -> int:
        total = 0
        for writer, readers, never, size in masks.values():
            written = writer is None or done >> writer & 1
            if written and (never or readers & ~done):
                total += size
        return total

    full = (1 << len(graph.nodes)) - 1
    best: dict[int, tuple[int, list[int]]] = {0: (0, [])}
    visited = 0
    for _ in graph.nodes:
        following: dict[int, tuple[int, list[int]]] = {}
        for done, (high, order) in best.items():
            alive = live(done)
            for i, need in enumerate(needs):
                if done >> i & 1 or need & ~done:
                    continue
                after = done | 1 << i
                reached = max(high, alive + graph.out(graph.nodes[i]).bytes)
                if after not in following or reached < following[after][0]:
                    following[after] = (reached, [*order, i])
        visited += len(following)
        if visited > _STATES:
            return None
        best = following
    return [graph.nodes[i] for i in best[full][1]]


def _greedy(graph: Graph) -> list[Node]:
    needs, done, made = _needs(graph), set[int](), list[Node]()
    state = _State(graph)
    while len(made) < len(graph.nodes):
        ready = [i for i in range(len(needs)) if i not in done and needs[i] <= done]

        def growth(index: int) -> int:
            node = graph.nodes[index]
            dying = [n for n in set(node.inputs) if state.readers.get(n) == 1]
            return graph.out(node).bytes - sum(graph.tensors[n].bytes for n in dying)

        chosen = min(ready, key=lambda i: (growth(i), i))
        state.step(graph.nodes[chosen])
        done.add(chosen)
        made.append(graph.nodes[chosen])
    return made
