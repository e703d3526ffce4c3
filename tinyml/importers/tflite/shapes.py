# SPDX-License-Identifier: Apache-2.0
"""Computes what a file computes from constants alone.

Keras leaves the batch open, so that its files take shapes apart and put them together again:
SHAPE, STRIDED_SLICE, PACK before each RESHAPE, products of sizes before each Dense layer on more
than two axes. With a batch of 1 every size is known when the file is read. The file declares 1
for sizes that depend on the batch, products of sizes included; such tensors get the shape that
follows from their operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tinyml.importers.tflite.draft import Draft
from tinyml.importers.tflite.file import Options, StoredModel, StoredOperator
from tinyml.ir.tensor import Array

# Shapes and axes; what is longer is data.
_MOST = 64
# What FILL may make, in all.
_MOST_FILLED = 1 << 20
_INTEGERS = ("INT32", "INT64")
_Rule = Callable[[Sequence[Array], Options], Array]


def fold_shapes(model: StoredModel) -> StoredModel:
    """The model with constants in the place of operators that only see constants."""
    draft = Draft(model)
    gone: list[StoredOperator] = []
    filled = 0
    for operator in model.operators:
        _settle(draft, operator)
        made = _value(draft, operator)
        if made is None or len(operator.outputs) != 1:
            continue
        index = operator.outputs[0]
        stored = draft.tensors[index]
        filled += made.size if operator.kind in _FILLS else 0
        if made.size != math.prod(stored.shape) or filled > _MOST_FILLED:
            continue
        buffer = draft.store(made, stored.type)
        draft.tensors[index] = replace(stored, buffer=buffer)
        gone.append(operator)
    draft.replace_operators(gone, {})
    return draft.finish()


def _settle(draft: Draft, operator: StoredOperator) -> None:
    """Gives an output that the file leaves open the shape that its inputs have by now."""
    if len(operator.outputs) != 1 or not operator.inputs or operator.inputs[0] < 0:
        return
    index = operator.outputs[0]
    stored = draft.tensors[index]
    if stored.signature is None or -1 not in stored.signature:
        return
    shapes = [draft.tensors[i].shape if i >= 0 else () for i in operator.inputs]
    try:
        found = _shape(draft, operator, shapes, stored.shape)
    except (ValueError, IndexError):
        return
    if found != stored.shape and len(found) == len(stored.shape) and min(found, default=1) > 0:
        draft.tensors[index] = replace(stored, shape=found)


_KEEPING = (
    *("ABS", "CAST", "DEQUANTIZE", "ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG"),
    *("LOGISTIC", "LOG_SOFTMAX", "NEG", "QUANTIZE", "RELU", "RELU6", "RSQRT", "SOFTMAX", "SQRT"),
    *("SQUARE", "TANH"),
)
_SPREADING = ("ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "PRELU")
_WINDOWED = ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D")


def _shape(
    draft: Draft,
    operator: StoredOperator,
    shapes: Sequence[tuple[int, ...]],
    declared: tuple[int, ...],
) -> tuple[int, ...]:
    x, kind = shapes[0], operator.kind
    second = draft.constant(operator.inputs[1], _MOST) if len(operator.inputs) > 1 else None
    if kind in _KEEPING:
        return x
    if kind in _SPREADING:
        return tuple(int(d) for d in np.broadcast_shapes(*shapes))
    if kind in _WINDOWED:
        same = operator.options.integer("Padding") == 0
        strides = [operator.options.integer(f"Stride{side}") for side in "HW"]
        if same and min(strides) > 0:
            return (x[0], *(-(-d // s) for d, s in zip(x[1:3], strides, strict=True)), declared[3])
        return (x[0], *declared[1:])
    if kind == "CONCATENATION":
        axis = operator.options.integer("Axis")
        axis += len(x) if axis < 0 else 0
        return tuple(sum(s[a] for s in shapes) if a == axis else d for a, d in enumerate(x))
    if kind == "FULLY_CONNECTED" and len(shapes[1]) == 2:
        outputs, inputs = shapes[1]
        kept = len(declared) == len(x) and x[-1] == inputs
        return (*x[:-1], outputs) if kept else (math.prod(x) // inputs, outputs)
    if second is None:
        return declared
    if kind == "RESHAPE":
        wanted = [int(d) for d in second.ravel()]
        known = math.prod(d for d in wanted if d != -1)
        return tuple(math.prod(x) // max(known, 1) if d == -1 else d for d in wanted)
    if kind == "TILE":
        return tuple(d * int(n) for d, n in zip(x, second.ravel(), strict=True))
    if kind == "TRANSPOSE":
        return tuple(x[int(a)] for a in second.ravel())
    if kind == "EXPAND_DIMS" and second.size == 1:
        at = int(second.item())
        at = at + len(x) + 1 if at < 0 else at
        return (*x[:at], 1, *x[at:])
    third = draft.constant(operator.inputs[2], _MOST) if len(operator.inputs) > 2 else None
    if third is None or third.size != 2 * second.size:
        return declared
    block, pads = second.ravel().astype(np.int64), third.reshape(-1, 2).astype(np.int64)
    times, sides = int(np.prod(block)), x[1 : 1 + block.size]
    if kind == "SPACE_TO_BATCH_ND":
        inner = (np.array(sides) + pads.sum(axis=1)) // block
        return (x[0] * times, *(int(d) for d in inner), *x[1 + block.size :])
    if kind == "BATCH_TO_SPACE_ND":
        inner = np.array(sides) * block - pads.sum(axis=1)
        return (x[0] // times, *(int(d) for d in inner), *x[1 + block.size :])
    return declared


def _value(draft: Draft, operator: StoredOperator) -> Array | None:
    """What the operator makes, None where that depends on the model's inputs."""
    if not operator.outputs or draft.constant(operator.outputs[0], _MOST) is not None:
        return None
    kind = draft.tensors[operator.outputs[0]].type
    if operator.kind == "SHAPE" and len(operator.inputs) == 1 and operator.inputs[0] >= 0:
        return np.array(draft.tensors[operator.inputs[0]].shape, np.int64)
    rule = _RULES.get(operator.kind)
    whole = kind in _INTEGERS
    if operator.kind in _FILLS:
        whole = kind in (*_INTEGERS, "INT8", "INT16")
    if rule is None or not whole or not operator.inputs:
        return None
    values = [draft.constant(i, _MOST) for i in operator.inputs]
    given = [v for v in values if v is not None]
    if len(given) != len(values):
        return None
    try:
        return rule(given, operator.options)
    except (ValueError, IndexError, TypeError, MemoryError, AttributeError):
        # The translator of the operator says what is wrong with it.
        return None


def _strided_slice(values: Sequence[Array], options: Options) -> Array:
    x, begin, end, stride = values
    if x.ndim != 1 or begin.size != 1 or options.integer("EllipsisMask"):
        raise ValueError("of one axis")
    if options.integer("ShrinkAxisMask"):
        return np.asarray(x[int(begin[0])])
    low = None if options.integer("BeginMask") else int(begin[0])
    high = None if options.integer("EndMask") else int(end[0])
    return x[low : high : int(stride[0])]


def _slice(values: Sequence[Array], options: Options) -> Array:
    x, begin, size = values
    if x.ndim != 1:
        raise ValueError("of one axis")
    low, count = int(begin.item()), int(size.item())
    return x[low : x.size if count < 0 else low + count]


def _pack(values: Sequence[Array], options: Options) -> Array:
    return np.stack(list(values), options.integer("Axis"))


def _concatenation(values: Sequence[Array], options: Options) -> Array:
    return np.concatenate(list(values), options.integer("Axis"))


def _gather(values: Sequence[Array], options: Options) -> Array:
    if options.integer("BatchDims"):
        raise ValueError("batches")
    return np.take(values[0], values[1].astype(np.int64), options.integer("Axis"))


def _product(values: Sequence[Array], options: Options) -> Array:
    axes = tuple(int(a) for a in values[1].ravel())
    return np.asarray(np.prod(values[0].astype(np.int64), axis=axes))


def _fill(values: Sequence[Array], options: Options) -> Array:
    size = [int(d) for d in values[0].ravel()]
    if math.prod(size) > _MOST_FILLED or min(size, default=1) < 0:
        raise ValueError("large")
    return np.full(size, values[1].item())


def _elementwise(function: Callable[[Array, Array], Array]) -> _Rule:
    return lambda values, options: function(values[0], values[1])


_FILLS = ("FILL",)
_RULES: dict[str, _Rule] = {
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "PACK": _pack,
    "CONCATENATION": _concatenation,
    "GATHER": _gather,
    "REDUCE_PROD": _product,
    "FILL": _fill,
    "ADD": _elementwise(np.add),
    "SUB": _elementwise(np.subtract),
    "MUL": _elementwise(np.multiply),
    "MAXIMUM": _elementwise(np.maximum),
    "MINIMUM": _elementwise(np.minimum),
    "FLOOR_DIV": _elementwise(np.floor_divide),
    "CAST": lambda values, options: values[0],
    "RESHAPE": lambda values, options: values[0],
    "SQUEEZE": lambda values, options: values[0],
    "EXPAND_DIMS": lambda values, options: values[0],
}
