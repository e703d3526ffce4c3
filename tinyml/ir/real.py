# SPDX-License-Identifier: Apache-2.0
"""Runs an integer graph in real numbers: what its integers round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import Array, Tensor


def run_real(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """One sample through the network that the integers stand for: the same weights, saturation
    where the grids end, and no rounding.

    Args:
        graph: integer, without variables.
        feeds: integers of the declared shape and dtype for each graph input.

    Returns:
        Every activation by tensor name: real values where the tensor has a grid.
    """
    values = {name: _real(graph.tensors[name], array) for name, array in feeds.items()}
    for node in graph.nodes:
        ins, out = graph.ins(node), graph.out(node)
        arrays = [_real(t, t.data) if t.data is not None else values[t.name] for t in ins]
        values[out.name] = _saturated(out, _apply(node, arrays, ins, out))
    return values


def _real(tensor: Tensor, integers: Array) -> Array:
    return integers if tensor.quant is None else tensor.quant.dequantise(integers)


def _saturated(tensor: Tensor, real: Array) -> Array:
    if tensor.quant is None:
        return real
    low, high = tensor.q.dequantise(np.array(tensor.dtype.limits))
    return np.asarray(np.clip(real, low, high), np.float32)


def _apply(node: Node, arrays: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
    if node.op.kind != "table":
        return node.op.run_float(arrays)
    # Between the 256 points that it knows a function goes straight.
    points = ins[0].q.dequantise(np.arange(-128, 128))
    return np.interp(arrays[0], points, out.q.dequantise(ins[1].values))
