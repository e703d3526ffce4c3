# SPDX-License-Identifier: Apache-2.0
"""Products of matrices: by weights, which are fully connected layers, and of two activations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from tinyml.importers.onnx.registry import Unsupported, attributes_of, required, translates
from tinyml.ir.tensor import Array, Quantisation
from tinyml.ops import BatchMatMul, FullyConnected, Transpose

if TYPE_CHECKING:
    from tinyml.importers.onnx.importer import Translation


@translates("Gemm")
def _gemm(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    weights = required(t, node, 1)
    if given.get("transA", 0):
        raise Unsupported("transA")
    if not given.get("transB", 0):
        weights = weights.T
    alpha = given.get("alpha", 1.0)
    grid = t.stored(node.input[1], 0 if given.get("transB", 0) else 1, 0) if alpha == 1 else None
    weights = weights * alpha
    bias = t.constant(node, 2)
    bias = np.zeros(1) if bias is None else bias * given.get("beta", 1.0)
    t.bind(node.output[0], _fully_connected(t, node, weights, bias, grid))


@translates("MatMul")
def _matmul(t: Translation, node: onnx.NodeProto) -> None:
    if t.is_constant(node.input[1]):
        weights = required(t, node, 1)
        if weights.ndim != 2:
            raise Unsupported(f"a constant of shape {weights.shape}; a matrix is supported")
        grid = t.stored(node.input[1], 1, 0)
        made = _fully_connected(t, node, weights.T, np.zeros(1), grid)
        t.bind(node.output[0], made)
        return
    left, right = (t.read(i) for i in node.input)
    turned = t.graph.producer(right)
    rank = len(t.graph.tensors[right].shape)
    swap = (*range(rank - 2), rank - 1, rank - 2)
    if turned is not None and turned.op == Transpose(swap):
        t.bind(node.output[0], t.apply(BatchMatMul(True), [left, turned.inputs[0]]))
    else:
        t.bind(node.output[0], t.apply(BatchMatMul(), [left, right]))


def _fully_connected(
    t: Translation,
    node: onnx.NodeProto,
    weights: Array,
    bias: Array,
    grid: Quantisation | None,
) -> str:
    row = np.broadcast_to(bias.reshape(-1), (weights.shape[0],))
    constants = [t.store(f"{node.output[0]}_weights", weights, grid)]
    constants.append(t.store(f"{node.output[0]}_bias", row))
    return t.apply(FullyConnected(), [t.read(node.input[0]), *constants])
