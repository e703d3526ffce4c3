# SPDX-License-Identifier: Apache-2.0
"""What only moves, picks or repeats elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx

from tinyml.importers.onnx.registry import Unsupported, attributes_of, required, translates
from tinyml.ops import Concatenation, Gather, Pad, Reshape, Slice, Transpose

if TYPE_CHECKING:
    from tinyml.importers.onnx.importer import Translation

# A transpose in C has as many at the most.
_MOST_AXES = 4


@translates("Identity", "Dropout")
def _identity(t: Translation, node: onnx.NodeProto) -> None:
    t.bind(node.output[0], t.read(node.input[0]))


@translates("Cast")
def _cast(t: Translation, node: onnx.NodeProto) -> None:
    if attributes_of(node)["to"] != onnx.TensorProto.FLOAT:
        raise Unsupported("casts to anything but float32")
    t.bind(node.output[0], t.read(node.input[0]))


@translates("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def _reshape(t: Translation, node: onnx.NodeProto) -> None:
    shape = t.shape(node.input[0])
    given = attributes_of(node)
    if node.op_type == "Flatten":
        axis = int(given.get("axis", 1)) % (len(shape) + 1)
        target = [math.prod(shape[:axis]), math.prod(shape[axis:])]
    elif node.op_type == "Reshape":
        target = [int(v) for v in required(t, node, 1)]
        if not given.get("allowzero", 0):
            target = [shape[i] if v == 0 else v for i, v in enumerate(target)]
        if -1 in target:
            rest = math.prod(v for v in target if v != -1)
            target[target.index(-1)] = math.prod(shape) // rest
    else:
        axes = t.constant(node, 1)
        if axes is None:
            axes = np.array(given.get("axes", [i for i, v in enumerate(shape) if v == 1]))
        if node.op_type == "Squeeze":
            dropped = {int(a) % len(shape) for a in axes}
            target = [v for i, v in enumerate(shape) if i not in dropped]
        else:
            rank = len(shape) + len(axes)
            ones = {int(a) % rank for a in axes}
            rest_of = iter(shape)
            target = [1 if i in ones else next(rest_of) for i in range(rank)]
    t.bind(node.output[0], t.apply(Reshape(tuple(target)), [t.read(node.input[0])]))


@translates("Transpose")
def _transpose(t: Translation, node: onnx.NodeProto) -> None:
    shape = t.shape(node.input[0])
    permutation = tuple(attributes_of(node).get("perm", range(len(shape))[::-1]))
    x = t.read(node.input[0])
    if len(shape) > _MOST_AXES:
        joined, turn = _joined(shape, permutation)
        if len(joined) > _MOST_AXES:
            raise Unsupported(f"{permutation} of {shape}; it moves more than {_MOST_AXES} axes")
        made = tuple(shape[axis] for axis in permutation)
        x = t.apply(Transpose(turn), [t.apply(Reshape(joined), [x])])
        t.bind(node.output[0], t.apply(Reshape(made), [x]))
        return
    t.bind(node.output[0], t.apply(Transpose(permutation), [x]))


def _joined(
    shape: Sequence[int], permutation: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The same move of fewer axes: without those of size 1, neighbours that stay so as one."""
    runs: list[list[int]] = []
    for axis in permutation:
        if shape[axis] == 1:
            continue
        between = range(runs[-1][-1] + 1, axis) if runs else range(0)
        if runs and axis > runs[-1][-1] and all(shape[a] == 1 for a in between):
            runs[-1].append(axis)
        else:
            runs.append([axis])
    order = sorted(runs)
    joined = tuple(math.prod(shape[a] for a in run) for run in order)
    return joined, tuple(order.index(run) for run in runs)


@translates("Slice")
def _slice(t: Translation, node: onnx.NodeProto) -> None:
    shape = t.shape(node.input[0])
    starts, ends = (required(t, node, i).ravel() for i in (1, 2))
    axes, steps = t.constant(node, 3), t.constant(node, 4)
    begin, size, stride = [0] * len(shape), list(shape), [1] * len(shape)
    chosen = np.arange(len(starts)) if axes is None else axes.ravel()
    taken = np.ones(len(starts), np.int64) if steps is None else steps.ravel()
    for axis, start, end, step in zip(chosen, starts, ends, taken, strict=True):
        place = int(axis) % len(shape)
        if step < 1:
            raise Unsupported(f"step {step}; steps from 1 are supported")
        low, high, _ = slice(int(start), int(end)).indices(shape[place])
        if high <= low:
            raise Unsupported("an empty result")
        begin[place], stride[place] = low, int(step)
        size[place] = -(-(high - low) // int(step))
    op = Slice(tuple(begin), tuple(size), tuple(stride))
    t.bind(node.output[0], t.apply(op, [t.read(node.input[0])]))


@translates("Concat")
def _concat(t: Translation, node: onnx.NodeProto) -> None:
    axis = int(attributes_of(node)["axis"]) % len(t.shape(node.input[0]))
    t.bind(node.output[0], t.apply(Concatenation(axis), [t.read(i) for i in node.input]))


@translates("Pad")
def _pad(t: Translation, node: onnx.NodeProto) -> None:
    given = attributes_of(node)
    if given.get("mode", b"constant") != b"constant":
        raise Unsupported(f"mode {given['mode'].decode()}; constant zeros are supported")
    value = t.constant(node, 2)
    if value is not None and float(value) != 0.0:
        raise Unsupported(f"padding by {float(value)}; zeros are supported")
    rank = len(t.shape(node.input[0]))
    pads = [int(p) for p in required(t, node, 1)]
    axes = t.constant(node, 3)
    chosen = list(range(rank)) if axes is None else [int(a) % rank for a in axes]
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(chosen):
        before[axis], after[axis] = pads[i], pads[i + len(chosen)]
    if min(before + after) < 0:
        raise Unsupported("negative padding")
    t.bind(node.output[0], t.apply(Pad(tuple(before), tuple(after)), [t.read(node.input[0])]))


@translates("Split")
def _split(t: Translation, node: onnx.NodeProto) -> None:
    given, shape = attributes_of(node), t.shape(node.input[0])
    axis = int(given.get("axis", 0)) % len(shape)
    sizes = t.constant(node, 1)
    if sizes is None:
        count = len(node.output)
        each = -(-shape[axis] // count)
        listed = given.get("split", [each] * (count - 1) + [shape[axis] - each * (count - 1)])
    else:
        listed = [int(v) for v in sizes]
    x, at = t.read(node.input[0]), 0
    for output, size in zip(node.output, listed, strict=True):
        begin = tuple(at if a == axis else 0 for a in range(len(shape)))
        taken = tuple(size if a == axis else s for a, s in enumerate(shape))
        if output:
            t.bind(output, t.apply(Slice(begin, taken), [x]))
        at += size


@translates("Gather")
def _gather(t: Translation, node: onnx.NodeProto) -> None:
    shape = t.shape(node.input[0])
    axis = int(attributes_of(node).get("axis", 0)) % len(shape)
    if not t.is_constant(node.input[1]):
        t.bind(node.output[0], t.apply(Gather(axis), [t.read(i) for i in node.input]))
        return
    ids = required(t, node, 1)
    places = np.where(ids < 0, ids + shape[axis], ids).astype(np.int64)
    if np.any(places < 0) or np.any(places >= shape[axis]):
        raise Unsupported(f"positions outside axis {axis} of {shape}")
    picked = _pick(t, node, t.read(node.input[0]), [(axis, [int(p) for p in places.ravel()])])
    made = (*shape[:axis], *places.shape, *shape[axis + 1 :])
    t.bind(node.output[0], t.apply(Reshape(made), [picked]) if places.ndim != 1 else picked)


@translates("Expand")
def _expand(t: Translation, node: onnx.NodeProto) -> None:
    wanted = np.broadcast_shapes(t.shape(node.input[0]), tuple(required(t, node, 1).tolist()))
    x = t.with_rank(t.read(node.input[0]), len(wanted))
    if t.spread_anyway(node.output[0], math.prod(wanted)):
        t.bind(node.output[0], x)
        return
    held = t.graph.tensors[x].shape
    grown = [(a, [0] * s) for a, s in enumerate(wanted) if held[a] != s]
    t.bind(node.output[0], _pick(t, node, x, grown))


@translates("Tile")
def _tile(t: Translation, node: onnx.NodeProto) -> None:
    times, shape = required(t, node, 1), t.shape(node.input[0])
    repeated = [
        (axis, [*range(size)] * int(count))
        for axis, (size, count) in enumerate(zip(shape, times, strict=True))
        if count != 1
    ]
    t.bind(node.output[0], _pick(t, node, t.read(node.input[0]), repeated))


def _pick(
    t: Translation, node: onnx.NodeProto, x: str, wanted: Sequence[tuple[int, list[int]]]
) -> str:
    """The elements at some positions of each axis, given as (axis, positions)."""
    for axis, places in wanted:
        shape = t.graph.tensors[x].shape
        if places == list(range(shape[axis])):
            continue
        if places == list(range(places[0], places[0] + len(places))):
            begin = tuple(places[0] if a == axis else 0 for a in range(len(shape)))
            size = tuple(len(places) if a == axis else s for a, s in enumerate(shape))
            x = t.apply(Slice(begin, size), [x])
        else:
            ids = t.ids(f"{node.output[0]}_axis_{axis}", np.array(places))
            x = t.apply(Gather(axis), [x, ids])
    return x
