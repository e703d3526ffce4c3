# SPDX-License-Identifier: Apache-2.0
"""Operators on elements with the kernels of dual multiplications: the integers of the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.tinyml.layers import add_layer, assert_layers_equal
from tests.tinyml.single_op import activation, wide
from tinyml.errors import QuantisationError
from tinyml.ir import DType, Graph, Operator, Tensor
from tinyml.ir.fixedpoint import requantise
from tinyml.kernels import holds_lowest_product
from tinyml.ops import Activation, Add, Mul, Requantise, SquaredDifference, Sub
from tinyml.ops.add import AddSub
from tinyml.targets import Target

SHAPES = [
    *(((3, 5, 7), (3, 5, 7)), ((3, 5, 7), (1, 1, 7)), ((3, 5, 7), (1, 5, 7))),
    *(((3, 5, 7), (3, 5, 1)), ((3, 5, 7), (3, 1, 1)), ((3, 5, 7), (1, 1, 1))),
    *(((3, 5, 7), (3, 1, 7)), ((3, 1, 7), (1, 5, 7)), ((1, 5, 7), (1, 5, 1))),
]
LOWEST = {DType.INT8: -128, DType.INT16: -32768}


def values(rng: np.random.Generator, x: Tensor, kind: int) -> np.ndarray:
    low, high = x.dtype.limits
    edges = rng.choice([low, low + 1, -1, 0, 1, high - 1, high], x.shape)
    whole = rng.integers(low, high + 1, x.shape)
    return (whole if kind == 0 else edges if kind == 1 else np.full(x.shape, low)).astype(
        x.dtype.numpy
    )


def random_layers(rng: np.random.Generator) -> Graph:
    graph = Graph("elements", {}, [], [], [])

    def tensor(name: str, shape: tuple[int, ...], dtype: DType, scale: float) -> Tensor:
        if dtype is DType.INT16:
            return wide(name, shape, scale)
        return activation(name, shape, scale, int(rng.integers(-128, 128)))

    for index in range(64):
        dtype = (DType.INT8, DType.INT16)[index % 2]
        first = float(rng.choice([0.05, 0.001]))
        second = first * float(rng.choice([1.0, 0.999, 0.3, 0.01, 7.0]))
        shapes = SHAPES[rng.integers(len(SHAPES))]
        a = tensor("a", shapes[0], dtype, first)
        b = tensor("b", shapes[1], dtype, second)
        fused = (Activation.NONE, Activation.RELU)[rng.integers(2)]
        op: Operator = [Add(fused), Sub(fused), Mul(fused), SquaredDifference(), Requantise()][
            rng.integers(5)
        ]
        reach = {DType.INT8: 100, DType.INT16: 20000}[dtype] * float(rng.choice([0.02, 0.5, 3.0]))
        if isinstance(op, Requantise):
            other = (DType.INT8, DType.INT16)[rng.integers(2)]
            factor = float(rng.choice([3e-6, 0.004, 0.7, 1.0, 1.9, 250.0, 3e5]))
            out = tensor("out", (), other, first / factor)
            if dtype is other is DType.INT8:
                out = wide("out", (), first / factor)
            add_layer(graph, op, [a], out)
            continue
        if isinstance(op, AddSub):
            scale = max(first, second) * 2 * float(rng.choice([0.1, 0.7, 1.0, 20.0]))
        else:
            scale = first * second * reach
        ins = [a, b] if rng.random() < 0.5 else [b, a]
        out = tensor("out", (), dtype, scale)
        try:
            if isinstance(op, AddSub):
                op.multipliers(ins, out)
        except QuantisationError:
            continue
        add_layer(graph, op, ins, out)
    return graph


def test_on_targets(tmp_path: Path, board: Target):
    rng = np.random.default_rng(0)
    graph = random_layers(rng)
    feeds = [
        {n: values(rng, graph.tensors[n], kind) for n in graph.inputs} for kind in (0, 0, 1, 2)
    ]
    kernels = assert_layers_equal(graph, board, tmp_path, feeds)
    names = [f"{op}_{t}" for op in ("add", "sub", "mul") for t in ("s8", "s16")]
    names += ["squared_difference_s8", "requantise_s8_s16", "requantise_s16_s8"]
    assert {f"tml_{n}_dsp" for n in [*names, "requantise_s16_s16"]} <= kernels
    assert {"tml_add_s8", "tml_mul_s16"} <= kernels


def test_the_lowest_product_is_looked_at():
    """With an odd multiplier the product of lowest values comes out one lower before the last
    rounding, which matters on its border only."""
    multipliers = [((1 << 30) + k, -shift) for k in range(4000) for shift in (1, 3, 14)]
    held = [holds_lowest_product(m) for m in multipliers]
    assert 0 < held.count(False) < len(held) // 2
    for (multiplier, shift), holds in zip(multipliers, held, strict=True):
        exact = int(requantise(1 << 30, multiplier, shift))
        doubled = ((1 << 31) - 1) * multiplier + (1 << 31) >> 32
        assert ((doubled + (1 << -shift >> 1)) >> -shift == exact) == holds
