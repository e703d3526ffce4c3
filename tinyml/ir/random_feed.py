# SPDX-License-Identifier: Apache-2.0
"""Random inputs of a graph: every integer its inputs can hold, ids inside the tables they name."""

from __future__ import annotations

import numpy as np

from tinyml.ir.graph import Graph
from tinyml.ir.tensor import Array, DType, Tensor

# Ids that no operator bounds.
_FREE_IDS = 128


def random_feed(graph: Graph, rng: np.random.Generator) -> dict[str, Array]:
    """An array for each graph input, of its shape and dtype; floats are standard normal."""
    return {name: _random(graph, graph.tensors[name], rng) for name in graph.inputs}


def _random(graph: Graph, tensor: Tensor, rng: np.random.Generator) -> Array:
    if tensor.dtype is DType.FLOAT32:
        return rng.standard_normal(tensor.shape).astype(np.float32)
    ids = tensor.quant is None and tensor.dtype is not DType.BOOL
    low, high = (0, id_count(graph, tensor) - 1) if ids else tensor.dtype.limits
    return rng.integers(low, high, tensor.shape, endpoint=True).astype(tensor.dtype.numpy)


def id_count(graph: Graph, tensor: Tensor) -> int:
    """How many ids an integer tensor without quantisation may take: 0 up to this number."""
    counts = [
        count
        for node in graph.consumers(tensor.name)
        if (count := node.op.id_count([t.shape for t in graph.ins(node)])) is not None
    ]
    return min(counts, default=_FREE_IDS)
