# SPDX-License-Identifier: Apache-2.0
"""Small random graphs that hold one node of each operator beyond the int8 convolutional ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.tinyml.single_op import activation, flags, ids, weights_and_bias, wide
from tinyml.ir import DType, Graph, Node, Operator, Quantisation, Tensor
from tinyml.ops import (
    Abs,
    Activation,
    Add,
    ArgMax,
    ArgMin,
    AveragePool2D,
    BatchMatMul,
    Compare,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Gather,
    L2Normalize,
    LeakyRelu,
    Logical,
    LogicalNot,
    Logistic,
    LogSoftmax,
    Maximum,
    MaxPool2D,
    Mean,
    Minimum,
    Mul,
    Pad,
    Prelu,
    ReduceMax,
    ReduceMin,
    Relation,
    Relu,
    Requantise,
    Reshape,
    ResizeBilinear,
    Rsqrt,
    Select,
    Slice,
    Softmax,
    SquaredDifference,
    Sub,
    Sum,
    Tanh,
    Transpose,
    Window,
)


@dataclass(frozen=True)
class Specimen:
    """One node: constants are the inputs that have data.

    Args:
        scale, zero, dtype: of the output.
    """

    op: Operator
    ins: Sequence[Tensor]
    scale: float
    zero: int
    dtype: DType


def specimens(rng: np.random.Generator) -> Iterator[Specimen]:
    """Every operator once, with random sizes, scales and constants."""

    def integer(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    def real(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    image = (1, integer(1, 4), integer(1, 4), integer(1, 5))
    small = (2, integer(1, 4), integer(2, 6))
    narrow = activation("x", small, real(0.02, 0.1), integer(-128, 127))
    x, y = wide("x", small, real(0.0005, 0.002)), wide("y", small, real(0.0005, 0.002))
    last = wide("y", (1, 1, small[2]), 0.001)
    fused = Activation.RELU if rng.random() < 0.3 else Activation.NONE

    def of(op: Operator, *ins: Tensor, scale: float = 0.002) -> Specimen:
        return Specimen(op, ins, scale, 0, DType.INT16)

    yield of(Add(fused), x, y)
    yield of(Add(), x, last)
    yield of(Sub(), x, y)
    yield of(Mul(fused), x, last, scale=0.0005)
    yield of(SquaredDifference(), x, y, scale=0.05)
    yield of(Logistic(), wide("x", small, 1 / 4096), scale=1 / 32768)
    yield of(Tanh(), x, scale=1 / 32768)
    yield of(Relu(), x)
    yield of(LeakyRelu(0.2), x)
    yield of(Abs(), x)
    yield of(Rsqrt(), x, scale=0.002)
    yield of(Softmax(), x, scale=1 / 32768)
    yield of(Mean((2,)), x)
    yield of(Mean((1,)), x)
    yield of(Sum((1, 2)), x, scale=0.01)
    yield of(Requantise(), x)
    yield of(Requantise(), narrow)
    yield Specimen(Requantise(), [x], 0.3, integer(-128, 127), DType.INT8)
    yield of(BatchMatMul(True), x, wide("y", (2, 3, small[2]), 0.001), scale=0.0002)
    yield of(Transpose((2, 0, 1)), x, scale=x.q.s)
    yield of(Reshape((small[1], 2 * small[2])), x, scale=x.q.s)
    yield of(Pad((0, 1, 2), (1, 0, 1)), x, scale=x.q.s)
    yield of(Pad((1, 0, 2), (0, 1, 1), integer(-32768, 32767)), x, scale=x.q.s)
    yield of(Concatenation(2), x, replace(last, shape=(2, small[1], 3), quant=x.quant), scale=x.q.s)
    yield of(Slice((0, 0, 1), (2, small[1], small[2] - 1)), x, scale=x.q.s)
    yield of(Slice((1, 0, 0), (1, 1, (small[2] + 1) // 2), (1, 1, 2)), x, scale=x.q.s)

    kernel = (integer(1, min(3, image[1])), integer(1, min(3, image[2])))
    window = Window(kernel, (integer(1, 2), 1), (1, 1), (kernel[0] - 1, 0, 0, kernel[1] - 1))
    pixels = wide("x", image, 0.001)
    for bias in (DType.INT32, DType.INT64):
        shape = (integer(1, 5), *kernel, image[3])
        constants = weights_and_bias(rng, shape, 0, 0.001, bias_dtype=bias)
        yield of(Conv2D(window, fused), pixels, *constants)
    constants = weights_and_bias(rng, (1, *kernel, 2 * image[3]), 3, 0.001, bias_dtype=DType.INT64)
    yield of(DepthwiseConv2D(window), pixels, *constants, scale=0.001)
    yield of(AveragePool2D(Window(kernel)), pixels, scale=0.001)
    yield of(MaxPool2D(window), pixels, scale=0.001)
    rows = wide("x", (integer(1, 3), integer(500, 530)), 0.001)
    constants = weights_and_bias(rng, (3, rows.shape[1]), 0, 0.001, bias_dtype=DType.INT64)
    yield of(FullyConnected(fused), rows, *constants, scale=0.02)

    zeros = [integer(-128, 127) for _ in range(3)]
    a = activation("a", small, 0.04, zeros[0])
    b = activation("b", (2, small[2], 4), 0.03, zeros[1])
    yield Specimen(BatchMatMul(), [a, b], 0.2, zeros[2], DType.INT8)
    yield Specimen(SquaredDifference(), [a, replace(a, name="b")], 0.4, zeros[2], DType.INT8)
    yield Specimen(Rsqrt(), [a], 0.1, zeros[2], DType.INT8)
    yield Specimen(Abs(), [a], 0.05, zeros[2], DType.INT8)
    yield Specimen(Mean((2,)), [a], 0.05, zeros[2], DType.INT8)
    yield Specimen(Sum((1,)), [a], 0.1, zeros[2], DType.INT8)
    yield Specimen(ReduceMax((1,)), [a], 0.04, zeros[0], DType.INT8)
    yield Specimen(ReduceMin((1, 2)), [a], 0.04, zeros[0], DType.INT8)
    slope = activation("b", (1, 1, small[2]), 0.01, zeros[1])
    yield Specimen(Prelu(), [a, slope], 0.05, zeros[2], DType.INT8)
    picture = activation("a", image, 0.04, zeros[0])
    for corners, halves in ((False, False), (True, False), (False, True)):
        resized = ResizeBilinear((integer(1, 9), integer(1, 9)), corners, halves)
        yield Specimen(resized, [picture], 0.04, zeros[0], DType.INT8)
    yield Specimen(Slice((0, 0, 1), (2, 1, 1), (1, 2, 1)), [a], 0.04, zeros[0], DType.INT8)
    a2 = activation("a", (3, small[2]), 0.04, zeros[0])
    many = activation("a", (2, integer(1, 9), integer(1, 3), integer(1, 9)), 0.04, zeros[0])
    yield Specimen(Pad((0, 1), (2, 0), integer(-128, 127)), [a2], 0.04, zeros[0], DType.INT8)
    for op in (Maximum(), Minimum()):
        for shape in (many.shape, (1, 1, 1, many.shape[3])):
            yield Specimen(
                op, [many, replace(many, name="b", shape=shape)], 0.04, zeros[0], DType.INT8
            )
    yield of(Maximum(), x, replace(last, quant=x.quant), scale=x.q.s)
    yield of(Minimum(), x, replace(x, name="y"), scale=x.q.s)
    for axes in ((1,), (1, 2), (3,)):
        yield Specimen(ReduceMax(axes), [many], 0.04, zeros[0], DType.INT8)
    yield Specimen(ArgMax(), [many], 1.0, 0, DType.INT32)
    yield Specimen(ArgMin(), [many], 1.0, 0, DType.INT32)
    near = activation("b", (1, *many.shape[1:3], 1), 0.03, zeros[1])
    for relation in Relation:
        yield Specimen(Compare(relation), [many, near], 1.0, 0, DType.BOOL)
    some = ids("ids", (2, 5))
    yield Specimen(Compare(Relation.LESS_EQUAL), [some, replace(some, name="i")], 1, 0, DType.BOOL)
    yield Specimen(Compare(Relation.NOT_EQUAL), [some, replace(some, name="i")], 1, 0, DType.BOOL)
    yes, no = flags("yes", many.shape), flags("no", (1, 1, 1, many.shape[3]))
    for either in (False, True):
        yield Specimen(Logical(either), [yes, no], 1.0, 0, DType.BOOL)
    yield Specimen(LogicalNot(), [yes], 1.0, 0, DType.BOOL)
    for condition, second in ((yes, many), (no, replace(many, shape=no.shape))):
        parts = [condition, many, replace(second, name="b")]
        yield Specimen(Select(), parts, 0.04, zeros[0], DType.INT8)
    yield of(Select(), flags("f", small), x, replace(last, quant=x.quant), scale=x.q.s)
    yield Specimen(LogSoftmax(), [many], 1 / 16, 127, DType.INT8)
    yield Specimen(L2Normalize(), [many], 1 / 128, 0, DType.INT8)
    table = Tensor(
        "table",
        (7, 5),
        DType.INT8,
        Quantisation.per_tensor(0.1, 5),
        rng.integers(-128, 128, (7, 5)).astype(np.int8),
    )
    yield Specimen(Gather(), [table, ids("ids", (1, 4))], 0.1, 5, DType.INT8)
    yield Specimen(Gather(1), [table, ids("ids", (3,))], 0.1, 5, DType.INT8)


def graph_of(
    rng: np.random.Generator, rounds: int, make: Callable[..., Iterator[Specimen]]
) -> Graph:
    """Independent nodes side by side, ``rounds`` times each."""
    graph = Graph("specimens", {}, [], [], [])
    for _ in range(rounds):
        for specimen in make(rng):
            index = len(graph.nodes)
            names = [graph.add(replace(t, name=f"{t.name}_{index}")) for t in specimen.ins]
            quant = Quantisation.per_tensor(specimen.scale, specimen.zero)
            shape = specimen.op.infer([t.shape for t in specimen.ins])
            whole = specimen.dtype in (DType.INT32, DType.BOOL)
            out = graph.add(Tensor(f"out_{index}", shape, specimen.dtype, None if whole else quant))
            graph.inputs += [n for n in names if not graph.tensors[n].is_constant]
            graph.outputs.append(out)
            graph.nodes.append(Node(specimen.op, tuple(names), out, f"{specimen.op.kind} {index}"))
    graph.check()
    return graph
