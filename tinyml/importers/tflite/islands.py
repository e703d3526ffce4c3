# SPDX-License-Identifier: Apache-2.0
"""Turns elementwise float functions between DEQUANTIZE and QUANTIZE into tables.

TensorFlow's converter leaves ELU, GELU, EXP, NEG and others in float inside an int8 model. A
function of one int8 tensor has 256 results, whatever its formula: they are computed here in
single precision, as TFLite-Micro computes them at run time. Operators that only move elements
are moved onto integers with them.

What goes beyond int32 on its way to an integer, which C leaves undefined, saturates here; what is
no number becomes real zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tinyml.importers.tflite.draft import Draft
from tinyml.importers.tflite.file import (
    Options,
    StoredModel,
    StoredOperator,
    StoredQuantisation,
)
from tinyml.importers.tflite.tables import TABLE
from tinyml.ir.tensor import Array, Quantisation

_ALL = np.arange(-128, 128, dtype=np.int64)
_MOVES = ("CONCATENATION", "RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE", "PACK")
# No honest island is deeper, and files may nest without end.
_DEPTH = 64
# An int8 tensor and its real value for each of the 256 integers.
_Curve = tuple[int | None, Array]


def fold_islands(model: StoredModel) -> StoredModel:
    """The model with a TABLE in the place of each QUANTIZE that ends such an island."""
    draft = Draft(model)
    ends = [o for o in model.operators if o.kind == "QUANTIZE" and _ends_island(draft, o)]
    if not ends:
        return model
    islands = _Islands(draft)
    instead = {}
    for end in ends:
        made = islands.integers(end)
        if made is not None:
            instead[id(end)] = made
    draft.replace_operators([], instead)
    floats = [o for o in draft.operators if o.outputs and _is_float(draft, o.outputs[0])]
    draft.sweep(floats)
    return draft.finish()


def _is_float(draft: Draft, index: int) -> bool:
    return index >= 0 and draft.tensors[index].type == "FLOAT32"


def _ends_island(draft: Draft, operator: StoredOperator) -> bool:
    if len(operator.inputs) != 1 or len(operator.outputs) != 1:
        return False
    out = draft.tensors[operator.outputs[0]]
    return _is_float(draft, operator.inputs[0]) and out.type == "INT8" and _plain(out.quant)


def _plain(quant: StoredQuantisation) -> bool:
    fine = len(quant.scale) == 1 and len(quant.zero_point) <= 1 and not quant.custom
    return fine and math.isfinite(quant.scale[0]) and quant.scale[0] > 0


class _Islands:
    """Follows float tensors back to the int8 ones they come from."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._writers = draft.writers()
        self._curves: dict[int, _Curve | None] = {}

    def integers(self, end: StoredOperator) -> list[StoredOperator] | None:
        """What makes the output of a QUANTIZE out of int8 tensors, None where that is no
        elementwise function."""
        made: list[StoredOperator] = []
        fine = self._make(end.inputs[0], end.outputs[0], end, made, _DEPTH)
        return made if fine else None

    def _make(
        self, index: int, out: int, end: StoredOperator, made: list[StoredOperator], depth: int
    ) -> bool:
        curve = self._curve(index, _DEPTH)
        quant = self._draft.tensors[out].quant
        if curve is not None and curve[0] is not None:
            table = self._draft.tensors[out]
            values = _quantised(curve[1], quant)
            stored = self._draft.store(values, "INT8")
            name = f"{table.name}_table"
            constant = replace(table, name=name, shape=(256,), signature=None, buffer=stored)
            inputs = (curve[0], self._draft.add(constant))
            made.append(StoredOperator(TABLE, inputs, (out,), end.options))
            return True
        writer = self._writers.get(index)
        if writer is None or writer.kind not in _MOVES or depth == 0 or len(writer.outputs) != 1:
            return False
        parts: list[int] = []
        for part in writer.inputs:
            if not _is_float(self._draft, part):
                parts.append(part)
                continue
            stored_part = self._draft.tensors[part]
            name = f"{stored_part.name}_int8"
            inner = self._draft.add(replace(stored_part, name=name, type="INT8", quant=quant))
            if not self._make(part, inner, end, made, depth - 1):
                return False
            parts.append(inner)
        made.append(replace(writer, inputs=tuple(parts), outputs=(out,)))
        return True

    def _curve(self, index: int, depth: int) -> _Curve | None:
        if index not in self._curves:
            self._curves[index] = None  # a cycle is no function
            self._curves[index] = self._found(index, depth)
        return self._curves[index]

    def _found(self, index: int, depth: int) -> _Curve | None:
        stored = self._draft.tensors[index] if index >= 0 else None
        if stored is None or depth == 0:
            return None
        if stored.type in ("FLOAT32", "BOOL"):
            known = self._draft.constant(index, 1 << 20) if stored.type == "FLOAT32" else None
            if known is not None:
                return (None, known.ravel()[:1]) if np.unique(known).size == 1 else None
        writer = self._writers.get(index)
        if writer is None or len(writer.outputs) != 1 or not writer.inputs:
            return None
        if writer.kind == "DEQUANTIZE":
            source = self._draft.tensors[writer.inputs[0]] if writer.inputs[0] >= 0 else None
            if source is None or source.type != "INT8" or not _plain(source.quant):
                return None
            zero = (source.quant.zero_point or (0,))[0]
            real = (_ALL - zero) * float(source.quant.scale[0])
            return writer.inputs[0], real.astype(np.float32)
        function = _FUNCTIONS.get(writer.kind)
        if function is None or len(writer.inputs) != _ARITY[writer.kind]:
            return None
        curves = [self._curve(i, depth - 1) for i in writer.inputs]
        given = [c for c in curves if c is not None]
        sources = {c[0] for c in given if c[0] is not None}
        if len(given) != len(curves) or len(sources) != 1:
            return None
        shapes = {
            self._draft.tensors[i].shape
            for i, c in zip(writer.inputs, given, strict=True)
            if c[0] is not None
        }
        if shapes != {stored.shape}:
            return None  # something is spread over an axis
        with np.errstate(all="ignore"):
            value = function([c[1] for c in given], writer.options)
        return sources.pop(), value


def table_of(operator: StoredOperator, source: Quantisation, target: Quantisation) -> Array:
    """The 256 int8 results of a float function of one int8 tensor."""
    real = ((_ALL - source.z) * source.s).astype(np.float32)
    with np.errstate(all="ignore"):
        value = _FUNCTIONS[operator.kind]([real], operator.options)
    return _quantised(value, StoredQuantisation((target.s,), (target.z,)))


def _quantised(real: Array, quant: StoredQuantisation) -> Array:
    """Integers of single-precision values, halves rounded away from zero (TFLite
    AffineQuantize)."""
    zero = (quant.zero_point or (0,))[0]
    with np.errstate(all="ignore"):
        steps = real.astype(np.float32) / np.float32(quant.scale[0])
        rounded = np.trunc(steps + np.copysign(np.float32(0.5), steps))
        # A float just below one half must not be lifted over it by the sum.
        rounded = np.where(np.abs(steps - np.trunc(steps)) < 0.5, np.trunc(steps), rounded)
    whole = np.nan_to_num(rounded.astype(np.float64), nan=0.0, posinf=1e9, neginf=-1e9)
    return np.asarray(np.clip(whole + zero, -128, 127), np.int8)


_ACTIVATION = {v: k for k, v in vars(schema.ActivationFunctionType).items() if isinstance(v, int)}


def _fused(value: Array, options: Options) -> Array:
    name = "NONE"
    if options.name in ("AddOptions", "SubOptions", "MulOptions", "DivOptions"):
        name = _ACTIVATION.get(options.integer("FusedActivationFunction"), "NONE")
    bounds = {"RELU": (0, None), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}.get(name)
    return value if bounds is None else np.clip(value, *bounds)


def _gelu(values: Sequence[Array], options: Options) -> Array:
    x = values[0].astype(np.float64)
    if options.name == "GeluOptions" and options.boolean("Approximate"):
        return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    return np.asarray(0.5 * x * (1 + np.array([math.erf(v / math.sqrt(2)) for v in x])))


def _leaky(values: Sequence[Array], options: Options) -> Array:
    alpha = np.float32(options.real("Alpha"))
    return np.where(values[0] > 0, values[0], values[0] * alpha)


def _unary(function: Callable[[Any], Any]) -> Callable[[Sequence[Array], Options], Array]:
    return lambda values, options: np.asarray(function(values[0]), np.float32)


def _binary(
    function: Callable[[Any, Any], Any],
) -> Callable[[Sequence[Array], Options], Array]:
    return lambda values, options: np.asarray(
        _fused(np.asarray(function(values[0], values[1])), options)
    )


_ONE: dict[str, Callable[[Any], Any]] = {
    "NEG": np.negative,
    "EXP": np.exp,
    "LOG": np.log,
    "SQRT": np.sqrt,
    "RSQRT": lambda x: np.float32(1) / np.sqrt(x),
    "SQUARE": np.square,
    "ABS": np.abs,
    "SIN": np.sin,
    "COS": np.cos,
    "FLOOR": np.floor,
    "CEIL": np.ceil,
    "ROUND": np.rint,
    "TANH": np.tanh,
    "LOGISTIC": lambda x: np.float32(1) / (np.float32(1) + np.exp(-x)),
    "RELU": lambda x: np.maximum(x, 0),
    "RELU6": lambda x: np.clip(x, 0, 6),
    "ELU": lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x),
    "HARD_SWISH": lambda x: x * np.clip(x + np.float32(3), 0, 6) / np.float32(6),
}
_TWO: dict[str, Callable[[Any, Any], Any]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "DIV": np.divide,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "SQUARED_DIFFERENCE": lambda a, b: np.square(a - b),
    "POW": np.power,
    "GREATER": np.greater,
    "GREATER_EQUAL": np.greater_equal,
    "LESS": np.less,
    "LESS_EQUAL": np.less_equal,
    "EQUAL": np.equal,
    "NOT_EQUAL": np.not_equal,
}
_FUNCTIONS: dict[str, Callable[[Sequence[Array], Options], Array]] = {
    **{k: _unary(f) for k, f in _ONE.items()},
    **{k: _binary(f) for k, f in _TWO.items()},
    "GELU": _gelu,
    "LEAKY_RELU": _leaky,
    "SELECT_V2": lambda values, options: np.where(values[0], values[1], values[2]),
}
_ARITY = {
    **dict.fromkeys(_ONE, 1),
    **dict.fromkeys(_TWO, 2),
    "GELU": 1,
    "LEAKY_RELU": 1,
    "SELECT_V2": 3,
}
