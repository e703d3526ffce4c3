# SPDX-License-Identifier: Apache-2.0
"""What takes several elements together: means and extremes over axes, softmax, normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from tinyml.importers.onnx.registry import Unsupported, attributes_of, required, translates
from tinyml.ops import (
    Abs,
    Add,
    Function,
    LayerNorm,
    LogSoftmax,
    Mean,
    Mul,
    ReduceMax,
    ReduceMin,
    Reduction,
    Reshape,
    Softmax,
    Sum,
    Transpose,
)

if TYPE_CHECKING:
    from tinyml.importers.onnx.importer import Translation

_REDUCTIONS: dict[str, type[Reduction]] = {
    "ReduceMax": ReduceMax,
    "ReduceMean": Mean,
    "ReduceMin": ReduceMin,
    "ReduceSum": Sum,
}


@translates(*_REDUCTIONS)
def _reduce(t: Translation, node: onnx.NodeProto) -> None:
    _bind_reduced(t, node, _REDUCTIONS[node.op_type], t.read(node.input[0]))


@translates("ReduceL1", "ReduceL2", "ReduceSumSquare")
def _norm(t: Translation, node: onnx.NodeProto) -> None:
    x = t.read(node.input[0])
    parts = t.apply(Abs(), [x]) if node.op_type == "ReduceL1" else t.apply(Mul(), [x, x])
    then = Function("sqrt") if node.op_type == "ReduceL2" else None
    _bind_reduced(t, node, Sum, parts, then)


def _bind_reduced(
    t: Translation,
    node: onnx.NodeProto,
    op: type[Reduction],
    x: str,
    then: Function | None = None,
) -> None:
    """Binds what ``op`` makes of x over the node's axes, and ``then`` of that."""
    given, shape = attributes_of(node), t.graph.tensors[x].shape
    axes = t.constant(node, 1) if len(node.input) > 1 else None
    listed = given.get("axes", ()) if axes is None else axes.ravel()
    wanted = sorted({int(a) % len(shape) for a in listed})
    if not wanted and given.get("noop_with_empty_axes", 0):
        raise Unsupported("no axes")
    wanted = wanted or list(range(len(shape)))
    if wanted == list(range(wanted[0], wanted[0] + len(wanted))):
        made = t.apply(op(tuple(wanted)), [x])
    else:
        # Those that go are put side by side.
        kept = [a for a in range(len(shape)) if a not in wanted]
        turn = (*kept, *wanted)
        turned = t.apply(Transpose(turn), [x])
        made = t.apply(op(tuple(range(len(kept), len(shape)))), [turned])
        back = tuple(int(i) for i in np.argsort(turn))
        made = t.apply(Transpose(back), [made])
    if then is not None:
        made = t.apply(then, [made])
    if not given.get("keepdims", 1):
        left = tuple(size for axis, size in enumerate(shape) if axis not in wanted)
        made = t.apply(Reshape(left), [made])
    t.bind(node.output[0], made)


@translates("Softmax", "LogSoftmax")
def _softmax(t: Translation, node: onnx.NodeProto) -> None:
    rank = len(t.shape(node.input[0]))
    axis = int(attributes_of(node).get("axis", -1 if t.opset >= 13 else 1)) % rank
    x = t.read(node.input[0])
    op = Softmax() if node.op_type == "Softmax" else LogSoftmax()
    if axis == rank - 1:
        t.bind(node.output[0], t.apply(op, [x]))
        return
    swap = list(range(rank))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    turn = Transpose(tuple(swap))
    t.bind(node.output[0], t.apply(turn, [t.apply(op, [t.apply(turn, [x])])]))


@translates("LayerNormalization")
def _layer_norm(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    shape = t.shape(node.input[0])
    if int(given.get("axis", -1)) % len(shape) != len(shape) - 1:
        raise Unsupported("axes other than the last")
    if any(node.output[1:]):
        raise Unsupported("its mean or deviation as an output")
    gain, offset = required(t, node, 1), t.constant(node, 2)
    offset = np.zeros_like(gain) if offset is None else offset
    constants = [t.store(f"{node.output[0]}_gain", np.broadcast_to(gain, shape[-1:]))]
    constants.append(t.store(f"{node.output[0]}_offset", np.broadcast_to(offset, shape[-1:])))
    op = LayerNorm(float(given.get("epsilon", 1e-5)))
    t.bind(node.output[0], t.apply(op, [t.read(node.input[0]), *constants]))


@translates("BatchNormalization")
def _batch_normalization(t: Translation, node: onnx.NodeProto) -> None:
    scale, bias, mean, variance = (required(t, node, i).astype(np.float64) for i in range(1, 5))
    gain = scale / np.sqrt(variance + attributes_of(node).get("epsilon", 1e-5))
    rank = len(t.shape(node.input[0]))
    shape = (1, -1) + (1,) * (rank - 2)
    x = t.apply(Mul(), [t.read(node.input[0]), t.store(f"{node.name}_gain", gain.reshape(shape))])
    offset = (bias - mean * gain).reshape(shape)
    t.bind(node.output[0], t.apply(Add(), [x, t.store(f"{node.name}_offset", offset)]))


@translates("GroupNormalization", "InstanceNormalization")
def _group_norm(t: Translation, node: onnx.NodeProto) -> None:
    """Layer normalisation of each group as one row, then a gain and offset by channel."""
    given, shape = attributes_of(node), t.shape(node.input[0])
    channels = shape[1]
    groups = int(given.get("num_groups", channels))
    gain, offset = required(t, node, 1), required(t, node, 2)
    if groups < 1 or channels % groups:
        raise Unsupported(f"{groups} groups of {channels} channels")
    if gain.size != channels:
        # Before operator set 21 they were one for each group.
        gain, offset = (np.repeat(v, channels // groups) for v in (gain, offset))
    width = int(np.prod(shape)) // groups
    name = node.output[0]
    constants = [t.store(f"{name}_ones", np.ones(width))]
    constants.append(t.store(f"{name}_zeros", np.zeros(width)))
    rows = t.apply(Reshape((1, groups, width)), [t.read(node.input[0])])
    made = t.apply(LayerNorm(float(given.get("epsilon", 1e-5))), [rows, *constants])
    made = t.apply(Reshape(shape), [made])
    by_channel = (1, channels) + (1,) * (len(shape) - 2)
    made = t.apply(Mul(), [made, t.store(f"{name}_gain", gain.reshape(by_channel))])
    made = t.apply(Add(), [made, t.store(f"{name}_offset", offset.reshape(by_channel))])
    t.bind(name, made)
