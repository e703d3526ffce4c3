# SPDX-License-Identifier: Apache-2.0
"""What pruning saved: layers that run through a sparse kernel."""

from __future__ import annotations

from typing import Any

from tinyml.ir.graph import Graph
from tinyml.ir.tensor import DType
from tinyml.kernels.choose import choose, density, record_bytes
from tinyml.kernels.sparse import SPARSE
from tinyml.ops.weighted import Weighted


def sparse_layers(graph: Graph, isa: str) -> list[dict[str, Any]]:
    """For each layer with a sparse kernel: name, kernel, density, bytes of its record, and those
    of the dense one.

    Args:
        graph: as the C writer takes it.
        isa: see `Target.isa`.
    """
    found = []
    for node in graph.nodes:
        ins = graph.ins(node)
        if not isinstance(node.op, Weighted) or ins[0].dtype is not DType.INT8:
            continue
        layer = node.op.c_layer(ins, graph.out(node))
        chosen = choose(layer, isa)
        if chosen not in SPARSE:
            continue
        dense = choose(layer, f"{isa.partition('/')[0]}/off")
        found.append(
            {
                "name": node.name,
                "kernel": chosen.kernel,
                "density": round(density(layer), 4),
                "bytes": record_bytes(chosen, layer),
                "dense_bytes": record_bytes(dense, layer),
            }
        )
    return found
