# SPDX-License-Identifier: Apache-2.0
"""How the operators of text models are said in the Graph: ids, embeddings, masked attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from tinyml.importers.onnx.operators import (
    TRANSLATORS,
    Unsupported,
    attributes_of,
    translates,
)
from tinyml.ops import (
    BatchMatMul,
    Gather,
    MaskedSoftmax,
    Mul,
    Rsqrt,
    Slice,
    Sqrt,
    Transpose,
)

if TYPE_CHECKING:
    from tinyml.importers.onnx.importer import Translation

# Scores below this count as masked out; frameworks write -inf, -1e4, or the least float.
_MASKED = -1e3


@translates("Gather")
def _gather(t: Translation, node: onnx.NodeProto) -> None:
    axis = int(attributes_of(node).get("axis", 0)) % len(t.shape(node.input[0]))
    if t.is_constant(node.input[1]):
        raise Unsupported("constant ids")
    t.bind(node.output[0], t.apply(Gather(axis), [t.read(i) for i in node.input]))


_matmul_by_constant = TRANSLATORS["MatMul"]


@translates("MatMul")
def _matmul(t: Translation, node: onnx.NodeProto) -> None:
    if t.is_constant(node.input[1]):
        _matmul_by_constant(t, node)
        return
    left, right = (t.read(i) for i in node.input)
    turned = t.graph.producer(right)
    rank = len(t.graph.tensors[right].shape)
    swap = (*range(rank - 2), rank - 1, rank - 2)
    if turned is not None and turned.op == Transpose(swap):
        t.bind(node.output[0], t.apply(BatchMatMul(True), [left, turned.inputs[0]]))
    else:
        t.bind(node.output[0], t.apply(BatchMatMul(), [left, right]))


@translates("Slice")
def _slice(t: Translation, node: onnx.NodeProto) -> None:
    shape = t.shape(node.input[0])
    starts, ends = t.constant(node, 1), t.constant(node, 2)
    axes, steps = t.constant(node, 3), t.constant(node, 4)
    if starts is None or ends is None:
        raise Unsupported("bounds that are not constant")
    chosen = range(len(starts)) if axes is None else [int(a) % len(shape) for a in axes]
    begin, size, stride = [0] * len(shape), list(shape), [1] * len(shape)
    for i, axis in enumerate(chosen):
        step = 1 if steps is None else int(steps[i])
        if step < 1:
            raise Unsupported(f"step {step}")
        low, high, _ = slice(int(starts[i]), int(ends[i])).indices(shape[axis])
        begin[axis], stride[axis] = low, step
        size[axis] = max(0, -(-(high - low) // step))
    op = Slice(tuple(begin), tuple(size), tuple(stride))
    t.bind(node.output[0], t.apply(op, [t.read(node.input[0])]))


@translates("Pow")
def _pow(t: Translation, node: onnx.NodeProto) -> None:
    exponent = t.constant(node, 1)
    if exponent is None or np.any(exponent != 2):
        raise Unsupported(f"exponent {exponent}; 2 is supported")
    x = t.read(node.input[0])
    t.bind(node.output[0], t.apply(Mul(), [x, x]))


@translates("Reciprocal")
def _reciprocal(t: Translation, node: onnx.NodeProto) -> None:
    root = t.graph.producer(t.read(node.input[0]))
    if root is None or not isinstance(root.op, Sqrt):
        raise Unsupported("anything but 1 / sqrt(x)")
    t.bind(node.output[0], t.apply(Rsqrt(), [root.inputs[0]]))


@translates("Equal")
def _equal(t: Translation, node: onnx.NodeProto) -> None:
    given = [t.constant(node, i) if t.is_constant(node.input[i]) else None for i in range(2)]
    side = next((i for i in range(2) if given[i] is None), None)
    value = None if side is None else given[1 - side]
    if side is None or value is None or value.size != 1:
        raise Unsupported("anything but ids against one constant")
    t.conditions[node.output[0]] = (t.read(node.input[side]), int(value.ravel()[0]))


@translates("Where")
def _where(t: Translation, node: onnx.NodeProto) -> None:
    condition = t.conditions.get(node.input[0])
    lowest = t.constant(node, 1) if t.is_constant(node.input[1]) else None
    if condition is None or lowest is None or np.any(lowest > _MASKED):
        raise Unsupported("anything but masking scores by Where(ids == padding, -inf, scores)")
    ids, padding = condition
    scores = t.read(node.input[2])
    if t.graph.tensors[ids].shape != (1, t.graph.tensors[scores].shape[-1]):
        raise Unsupported("a mask that is not one value a key")
    t.masked[node.output[0]] = (scores, ids, padding)


_softmax_of_all = TRANSLATORS["Softmax"]


@translates("Softmax")
def _softmax(t: Translation, node: onnx.NodeProto) -> None:
    found = t.masked.get(node.input[0])
    if found is None:
        _softmax_of_all(t, node)
        return
    scores, ids, padding = found
    rank = len(t.graph.tensors[scores].shape)
    if int(attributes_of(node).get("axis", -1)) % rank != rank - 1:
        raise Unsupported("a masked softmax over another axis than the last")
    t.bind(node.output[0], t.apply(MaskedSoftmax(padding), [scores, ids]))


def _renamed(kind: str) -> None:
    """Lets a condition pass an operator that only adds axes of size 1."""
    plain = TRANSLATORS[kind]

    @translates(kind)
    def translate(t: Translation, node: onnx.NodeProto) -> None:
        if node.input[0] in t.conditions:
            t.conditions[node.output[0]] = t.conditions[node.input[0]]
        else:
            plain(t, node)


for _kind in ("Unsqueeze", "Reshape", "Identity", "Expand"):
    if _kind in TRANSLATORS:
        _renamed(_kind)
