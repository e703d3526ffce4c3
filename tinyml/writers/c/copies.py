# SPDX-License-Identifier: Apache-2.0
"""Which constants are worth copying from slow flash to RAM, and how large they are."""

from __future__ import annotations

from tinyml.ir.graph import Graph, Node
from tinyml.ops import Conv2D, DepthwiseConv2D, FullyConnected
from tinyml.plan import Copies, MemoryPlan
from tinyml.plan.rows import row_form, row_rule
from tinyml.writers.c.emitter import CEmitter

_NOWHERE = MemoryPlan(0, {}, (), (), 0, True, 0, 0)


def worth_copying(graph: Graph, isa: str, budget: int) -> Copies:
    """The constants that a layer reads once for several outputs and that fit the budget.

    Args:
        budget: bytes of RAM for copies that are there at once.
    """
    sizes = {}
    for index, node in enumerate(graph.nodes):
        if isinstance(node.op, Conv2D | DepthwiseConv2D | FullyConnected):
            outputs = graph.out(node).elements // graph.out(node).shape[-1]
            size = _record_bytes(graph, node, isa)
            if outputs > 1 and size <= budget:
                sizes[index] = size
    return Copies(budget, sizes)


def _record_bytes(graph: Graph, node: Node, isa: str) -> int:
    """The larger record of the node run whole and run by rows."""
    rule = row_rule(graph, node)
    forms = [(node.op, graph.ins(node), graph.out(node))]
    if rule is not None:
        form = row_form(graph, node, rule, rule.rows // 2)
        forms.append((form.op, list(form.ins), form.out))
    largest = 0
    for op, ins, out in forms:
        emitter = CEmitter(_NOWHERE, isa)
        emitter.begin(0, {t.name: "0" for t in (*ins, out)})
        op.to_c(emitter, ins, out)
        largest = max(largest, len(emitter.finished_blob()))
    return largest
