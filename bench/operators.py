# SPDX-License-Identifier: Apache-2.0
"""The operators that have one kernel on a core, as layers to measure: each once or twice, with the
sizes of real networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinyml.ir import DType, Operator, Quantisation, Tensor
from tinyml.ops import (
    Abs,
    Add,
    ArgMax,
    AveragePool2D,
    BatchMatMul,
    Concatenation,
    Gather,
    LeakyRelu,
    Logistic,
    Lstm,
    Maximum,
    MaxPool2D,
    Mean,
    Mul,
    Pad,
    ReduceMax,
    Requantise,
    Rsqrt,
    Slice,
    Softmax,
    SquaredDifference,
    Sub,
    Sum,
    Svdf,
    Table,
    Tanh,
    Transpose,
    Window,
)


@dataclass(frozen=True)
class Plain:
    """A node to measure.

    Args:
        op: the operator.
        ins: its inputs; constants have data.
        out: grid of the output.
        dtype: of the output.
        of: what the table says beside the operator and the inputs' sizes.
    """

    op: Operator
    ins: Sequence[Tensor]
    out: Quantisation
    dtype: DType = DType.INT8
    of: str = ""


IMAGE = (1, 16, 16, 16)
_GRID = Quantisation.per_tensor(0.05, -3)
_WIDE = Quantisation.per_tensor(0.001, 0)
_RNG = np.random.default_rng(0)


def _x(shape: tuple[int, ...], name: str = "x", scale: float = 0.05) -> Tensor:
    return Tensor(name, shape, DType.INT8, Quantisation.per_tensor(scale, -3))


def _wide(shape: tuple[int, ...], name: str = "x", scale: float = 0.001) -> Tensor:
    return Tensor(name, shape, DType.INT16, Quantisation.per_tensor(scale, 0))


def _constant(
    name: str, shape: tuple[int, ...], scale: float, dtype: DType = DType.INT8, limit: int = 127
) -> Tensor:
    data = _RNG.integers(-limit, limit + 1, shape).astype(dtype.numpy)
    return Tensor(name, shape, dtype, Quantisation.per_tensor(scale, 0), data)


def _of_grid(op: Operator, shape: tuple[int, ...], of: str = "") -> Plain:
    return Plain(op, [_x(shape)], _GRID, of=of)


def _pair(op: Operator, other: tuple[int, ...] = IMAGE) -> Plain:
    return Plain(op, [_x(IMAGE), _x(other, "y", 0.03)], Quantisation.per_tensor(0.3, -128))


def _int16(op: Operator, *ins: Tensor, scale: float = 0.002) -> Plain:
    return Plain(op, ins, Quantisation.per_tensor(scale, 0), DType.INT16, "int16")


def _svdf() -> Plain:
    """64 filters over 10 steps."""
    ins = [
        _x((1, 40)),
        _constant("feature", (64, 40), 0.01),
        _constant("time", (64, 10), 0.001, DType.INT16, 2000),
        _constant("bias", (64,), 0.000001, DType.INT32, 1000),
        _wide((1, 640), "state", 0.0005),
    ]
    return Plain(Svdf(1), ins, Quantisation.per_tensor(0.1, 0))


def _lstm() -> Plain:
    """One step of 24 units over 20 inputs."""
    ins = [_x((1, 1, 20))]
    ins += [_constant(f"w{g}", (24, 20), 0.01) for g in range(4)]
    ins += [_constant(f"r{g}", (24, 24), 0.01) for g in range(4)]
    ins += [_constant(f"b{g}", (24,), 0.0003, DType.INT32, 4000) for g in range(4)]
    hidden = Quantisation.per_tensor(1 / 128, 3)
    ins.append(Tensor("hidden", (1, 24), DType.INT8, hidden))
    ins.append(_wide((1, 24), "cell", 2.0**-12))
    return Plain(Lstm(), ins, hidden)


def _window(kernel: int, stride: int) -> Window:
    return Window((kernel, kernel), (stride, stride))


_ROW = (1, 32, 64)
PLAIN = (
    *(_pair(Add()), _pair(Add(), (1, 1, 1, 16)), _pair(Sub())),
    *(_pair(Mul()), _pair(Mul(), (1, 1, 1, 16)), _pair(Mul(), (1, 16, 16, 1))),
    _pair(SquaredDifference()),
    Plain(Maximum(), [_x(IMAGE), _x(IMAGE, "y")], _GRID),
    *(_of_grid(MaxPool2D(_window(2, 2)), IMAGE), _of_grid(MaxPool2D(_window(3, 1)), IMAGE)),
    _of_grid(AveragePool2D(_window(6, 1)), (1, 6, 6, 64)),
    _of_grid(AveragePool2D(_window(2, 2)), IMAGE),
    *(_of_grid(Mean(), (1, 6, 6, 64)), _of_grid(Mean((2,)), _ROW, "last axis")),
    *(_of_grid(Sum(), (1, 6, 6, 64)), _of_grid(ReduceMax(), (1, 6, 6, 64))),
    Plain(ArgMax(), [_x((1, 64))], _GRID, DType.INT32),
    Plain(Softmax(), [_x((1, 64))], Softmax().fixed_quantisation()),
    Plain(Softmax(), [_x((32, 32))], Softmax().fixed_quantisation()),
    Plain(Table(), [_x(IMAGE), _constant("table", (256,), 0.05)], _GRID),
    *(_of_grid(Transpose((0, 3, 1, 2)), IMAGE), _of_grid(Transpose((0, 2, 1, 3)), IMAGE)),
    _of_grid(Pad((0, 1, 1, 0), (0, 1, 1, 0)), IMAGE),
    _of_grid(Slice((0, 0, 0, 4), (1, 16, 16, 8)), IMAGE),
    Plain(Concatenation(3), [_x(IMAGE), _x(IMAGE, "y")], _GRID),
    Plain(
        Gather(),
        [_constant("table", (40, 64), 0.05), Tensor("ids", (1, 32), DType.INT32)],
        Quantisation.per_tensor(0.05, 0),
    ),
    Plain(BatchMatMul(), [_x(_ROW), _x((1, 64, 32), "y")], Quantisation.per_tensor(0.3, -3)),
    Plain(
        BatchMatMul(True),
        [_x(_ROW), _x(_ROW, "y")],
        Quantisation.per_tensor(0.3, -3),
        of="transposed",
    ),
    *(_svdf(), _lstm()),
    Plain(Requantise(), [_x(IMAGE)], _WIDE, DType.INT16, "to int16"),
    Plain(Requantise(), [_wide(IMAGE)], _GRID, of="to int8"),
    _int16(Add(), _wide(IMAGE), _wide(IMAGE, "y", 0.0007)),
    _int16(Mul(), _wide(IMAGE), _wide(IMAGE, "y"), scale=0.0005),
    _int16(Mul(), _wide(IMAGE), _wide((1, 1, 1, 16), "y"), scale=0.0005),
    _int16(SquaredDifference(), _wide(IMAGE), _wide(IMAGE, "y"), scale=0.05),
    *(
        _int16(Logistic(), _wide(IMAGE), scale=1 / 32768),
        _int16(Tanh(), _wide(IMAGE), scale=1 / 32768),
    ),
    *(_int16(LeakyRelu(0.2), _wide(IMAGE)), _int16(Abs(), _wide(IMAGE))),
    *(_int16(Rsqrt(), _wide(IMAGE)), _int16(Mean((2,)), _wide(_ROW))),
    _int16(Softmax(), _wide((32, 32)), scale=1 / 32768),
    _int16(Transpose((0, 3, 1, 2)), _wide(IMAGE), scale=0.001),
    _int16(BatchMatMul(True), _wide(_ROW), _wide(_ROW, "y"), scale=0.01),
)
