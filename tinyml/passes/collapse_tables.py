# SPDX-License-Identifier: Apache-2.0
"""Collapses elementwise operators of one int8 tensor into one table of 256 results.

Requires: an int8 graph.
Ensures: no table reads a tensor that only a table wrote for it; SiLU, which TFLite spells as
LOGISTIC and MUL, is one table, and so are arithmetic with a constant of one value and a choice by
what the tensor is compared with. Exact by
construction: the table is made by running the operators on all 256 values.
"""

from __future__ import annotations

import numpy as np

from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import Array, DType, Tensor
from tinyml.ops import LogicalNot, Select, Unary
from tinyml.ops.binary import Binary
from tinyml.ops.table import Table
from tinyml.ops.unary import ALL_INT8
from tinyml.passes.manager import Pass


class CollapseTables(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        # What each elementwise result is: its source tensor and its value for each int8.
        known: dict[str, tuple[str, Array]] = {}
        for node in list(graph.nodes):
            found = self._as_table(graph, node, known)
            if found is None:
                continue
            source, values = found
            known[node.output] = found
            if graph.out(node).dtype is DType.BOOL:
                continue  # nothing reads it any more where a table took over
            table = graph.add(
                Tensor(f"{node.output}_table", (256,)).with_data(values, graph.out(node).q)
            )
            graph.replace_nodes([node], [Node(Table(), (source, table), node.output, node.name)])

    def ensures(self, graph: Graph) -> str | None:
        for node in graph.nodes:
            producer = graph.producer(node.inputs[0])
            if isinstance(node.op, Table) and producer and isinstance(producer.op, Table):
                return f"two tables in a row at '{node.name}'"
        return None

    @staticmethod
    def _as_table(
        graph: Graph, node: Node, known: dict[str, tuple[str, Array]]
    ) -> tuple[str, Array] | None:
        if not isinstance(node.op, Unary | Binary | LogicalNot | Select | Table):
            return None
        if isinstance(node.op, Table):
            source, values = known.get(node.inputs[0], (node.inputs[0], ALL_INT8))
            table = graph.tensors[node.inputs[1]].values
            return source, np.asarray(table[values.astype(np.int64) + 128])
        ins, out = graph.ins(node), graph.out(node)
        if any(t.dtype not in (DType.INT8, DType.BOOL) for t in (*ins, out)):
            return None
        sources, feeds = set(), []
        for tensor in ins:
            if tensor.data is not None:
                # A constant of one value is a number.
                if np.unique(tensor.data).size != 1:
                    return None
                feeds.append(np.broadcast_to(tensor.data.ravel()[:1], ALL_INT8.shape))
            elif tensor.shape == out.shape and (tensor.name in known or tensor.dtype is DType.INT8):
                source, values = known.get(tensor.name, (tensor.name, ALL_INT8))
                sources.add(source)
                feeds.append(values)
            else:
                return None
        if len(sources) != 1:
            return None
        return sources.pop(), np.asarray(node.op.run_int(feeds, ins, out))
