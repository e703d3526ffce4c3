# SPDX-License-Identifier: Apache-2.0
"""What pruning saved: layers that run through a sparse kernel."""

from __future__ import annotations

from typing import Any

from tinyml.ir.graph import Graph
from tinyml.kernels import choose
from tinyml.kernels.sparse import SPARSE
from tinyml.ops.layers import weighted_layers


def sparse_layers(graph: Graph, isa: str) -> list[dict[str, Any]]:
    """For each layer with a sparse kernel: name, kernel, density, bytes of its record, and those
    of the dense one.

    Args:
        graph: as the C writer takes it.
        isa: what kernels were chosen for.
    """
    found = []
    for node, layer in weighted_layers(graph):
        chosen = choose(layer, isa)
        if chosen not in SPARSE:
            continue
        dense = choose(layer, f"{isa.partition('/')[0]}/off")
        found.append(
            {
                "name": node.name,
                "kernel": chosen.kernel,
                "density": round(layer.density, 4),
                "bytes": chosen.record_bytes(layer),
                "dense_bytes": dense.record_bytes(layer),
            }
        )
    return found
