# SPDX-License-Identifier: Apache-2.0
"""int16 activations against TFLite-Micro. Functions of one value are compared on all of them.

LiteRT is no witness here: its int16 SUM, RSQRT and FULLY_CONNECTED differ where TFLite-Micro is
right.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.ops.test_elementwise import broadcast_shapes
from tests.tinyml.ops.windows import windows
from tests.tinyml.single_op import (
    activation,
    assert_equal_everywhere,
    ids,
    model,
    powers,
    random_feeds,
    seeds,
    weights_and_bias,
    wide,
    zero_points,
)
from tinyml.ir import DType, Graph, Quantisation, Tensor
from tinyml.ops import (
    Abs,
    Activation,
    Add,
    BatchMatMul,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Gather,
    LeakyRelu,
    Logistic,
    Mean,
    Mul,
    Pad,
    Relu,
    Requantise,
    Reshape,
    Rsqrt,
    Slice,
    Softmax,
    SquaredDifference,
    Sub,
    Sum,
    Tanh,
    Transpose,
)
from tinyml.verify import onnx_lsb

I16 = DType.INT16
EVERY_INT16 = np.arange(-32768, 32768).astype(np.int16).reshape(1, 256, 256, 1)
EVERY_INT8 = np.arange(-128, 128).astype(np.int8).reshape(1, 256)
fused = st.sampled_from([Activation.NONE, Activation.RELU])


def check(graph: Graph, seed: int, count: int = 2) -> None:
    assert_equal_everywhere(graph, random_feeds(graph, np.random.default_rng(seed), count), None)


@pytest.mark.parametrize("op", [Add, Sub, Mul])
@settings(max_examples=60)
@given(
    shapes=broadcast_shapes(),
    clamp=fused,
    scale=powers(-20, 0),
    between=powers(-4, 4),
    ratio=powers(-6, 4),
    seed=seeds,
)
def test_add_sub_mul(op, shapes, clamp, scale, between, ratio, seed):
    a, b = wide("a", shapes[0], scale), wide("b", shapes[1], scale * between)
    natural = 20000 * a.q.s * b.q.s if op is Mul else max(a.q.s, b.q.s)
    check(model(op(clamp), [a, b], natural * ratio, 0, I16), seed)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
@settings(max_examples=60)
@given(
    shapes=broadcast_shapes(),
    scale=powers(-10, 0),
    between=powers(-3, 3),
    ratio=powers(-3, 8),
    zeros=st.tuples(zero_points, zero_points, zero_points),
    seed=seeds,
)
def test_squared_difference(dtype, shapes, scale, between, ratio, zeros, seed):
    if dtype is I16:
        a, b = wide("a", shapes[0], scale), wide("b", shapes[1], scale * between)
        target, zero = 4e4 * max(a.q.s, b.q.s) ** 2 * ratio, 0
    else:
        a = activation("a", shapes[0], scale, zeros[0])
        b = activation("b", shapes[1], scale * between, zeros[1])
        target, zero = 100 * max(a.q.s, b.q.s) ** 2 * ratio, zeros[2]
    check(model(SquaredDifference(), [a, b], target, zero, dtype), seed)


@settings(max_examples=60)
@given(scale=powers(-16, -7))
def test_logistic_and_tanh(scale):
    for op in (Logistic(), Tanh()):
        graph = model(op, [wide("x", EVERY_INT16.shape, scale)], 1 / 32768, 0, I16)
        assert_equal_everywhere(graph, [{"x": EVERY_INT16}], None)


@pytest.mark.parametrize("op", [Relu(), LeakyRelu(0.1), Abs(), Requantise()])
@settings(max_examples=40)
@given(scale=powers(-20, 0), ratio=powers(-4, 12))
def test_functions(op, scale, ratio):
    x = wide("x", EVERY_INT16.shape, scale)
    graph = model(op, [x], scale * ratio, 0, I16)
    assert_equal_everywhere(graph, [{"x": EVERY_INT16}], None)


@settings(max_examples=40)
@given(scale=powers(-20, 0), ratio=powers(-6, 6), zero=zero_points)
def test_requantise_between_int8_and_int16(scale, ratio, zero):
    narrow = activation("x", EVERY_INT8.shape, scale, zero)
    graph = model(Requantise(), [narrow], scale / 256 * ratio, 0, I16)
    assert_equal_everywhere(graph, [{"x": EVERY_INT8}], None)
    x = wide("x", EVERY_INT16.shape, scale)
    graph = model(Requantise(), [x], scale * 256 * ratio, zero)
    assert_equal_everywhere(graph, [{"x": EVERY_INT16}], None)


@settings(max_examples=40)
@given(scale=powers(-20, 0), ratio=powers(-5, 5))
def test_rsqrt(scale, ratio):
    """TFLite-Micro stops on negative inputs."""
    x = np.arange(0, 32768).astype(np.int16).reshape(1, 128, 256)
    # The greatest result is that of 1.
    graph = model(Rsqrt(), [wide("x", x.shape, scale)], ratio / 3e4 / scale**0.5, 0, I16)
    assert_equal_everywhere(graph, [{"x": x}], None)


@settings(max_examples=60)
@given(zero=zero_points, scale=powers(-20, 0), ratio=powers(-5, 5), zero_out=zero_points)
def test_rsqrt_of_int8(zero, scale, ratio, zero_out):
    x = np.arange(zero, 128).astype(np.int8).reshape(1, -1)
    graph = model(
        Rsqrt(), [activation("x", x.shape, scale, zero)], ratio / 127 / scale**0.5, zero_out
    )
    assert_equal_everywhere(graph, [{"x": x}], None)


@settings(max_examples=80)
@given(
    lead=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    depth=st.integers(1, 60),
    scale=powers(-16, -4),
    seed=seeds,
)
def test_softmax(lead, depth, scale, seed):
    graph = model(Softmax(), [wide("x", (*lead, depth), scale)], 1 / 32768, 0, I16)
    check(graph, seed, 4)


@settings(max_examples=60)
@given(
    depth=st.integers(1, 600), scale=powers(-16, -2), high=st.integers(1, 600), spread=powers(0, 15)
)
def test_softmax_near_the_reals(depth, scale, high, spread):
    """Within what `verify` allows onnxruntime, worst where few elements are large and all others
    far below: those count 2 / 32768 each."""
    graph = model(Softmax(), [wide("x", (2, depth), scale)], 1 / 32768, 0, I16)
    x = np.full((2, depth), -spread)
    x[0, :high] = spread
    x[1] = np.random.default_rng(depth).standard_normal(depth) * spread
    x = np.clip(np.rint(x), -32768, 32767).astype(np.int16)
    tensor, out = graph.tensors["x"], graph.tensors["out"]
    seen = Softmax().run_int([x], [tensor], out)
    real = out.q.quantise(Softmax().run_float([tensor.q.dequantise(x)]), I16)
    assert np.abs(seen - real.astype(int)).max() <= onnx_lsb(Softmax(), out)


@pytest.mark.parametrize("op", [Mean, Sum])
@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
@settings(max_examples=60)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    first=st.integers(0, 3),
    count=st.integers(1, 2),
    scale=powers(-12, 0),
    ratio=powers(-2, 4),
    zeros=st.tuples(zero_points, zero_points),
    seed=seeds,
)
def test_mean_and_sum(op, dtype, shape, first, count, scale, ratio, zeros, seed):
    first = min(first, len(shape) - 1)
    axes = tuple(range(first, min(first + count, len(shape))))
    if dtype is I16:
        graph = model(op(axes), [wide("x", shape, scale)], scale * ratio, 0, I16)
    else:
        x = activation("x", shape, scale, zeros[0])
        graph = model(op(axes), [x], scale * ratio, zeros[1])
    check(graph, seed)


@settings(max_examples=60)
@given(
    rows=st.integers(1, 3),
    inputs=st.integers(1, 700),
    outputs=st.integers(1, 5),
    clamp=fused,
    scale=powers(-14, -6),
    ratio=powers(-2, 4),
    seed=seeds,
)
def test_fully_connected(rows, inputs, outputs, clamp, scale, ratio, seed):
    rng = np.random.default_rng(seed)
    constants = weights_and_bias(rng, (outputs, inputs), 0, scale, bias_dtype=DType.INT64)
    target = scale * ratio * inputs**0.5
    graph = model(
        FullyConnected(clamp), [wide("x", (rows, inputs), scale), *constants], target, 0, I16
    )
    check(graph, seed)


@pytest.mark.parametrize("bias_dtype", [DType.INT32, DType.INT64])
@settings(max_examples=40)
@given(data=st.data(), seed=seeds, clamp=fused)
def test_convolutions(bias_dtype, data, seed, clamp):
    rng = np.random.default_rng(seed)
    size = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    window = data.draw(windows(size, dilated=True))
    depth, outputs = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    x = wide("x", (1, *size, depth), 0.001)
    shape = (outputs, *window.kernel, depth)
    constants = weights_and_bias(rng, shape, 0, x.q.s, bias_dtype=bias_dtype)
    check(model(Conv2D(window, clamp), [x, *constants], 0.002, 0, I16), seed)
    if bias_dtype is DType.INT64:
        shape = (1, *window.kernel, depth * 2)
        constants = weights_and_bias(rng, shape, 3, x.q.s, bias_dtype=bias_dtype)
        check(model(DepthwiseConv2D(window, clamp), [x, *constants], 0.001, 0, I16), seed)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
@settings(max_examples=60)
@given(
    lead=st.lists(st.integers(1, 3), max_size=2),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 20), st.integers(1, 5)),
    transposed=st.booleans(),
    zeros=st.tuples(zero_points, zero_points, zero_points),
    seed=seeds,
)
def test_batch_matmul(dtype, lead, sizes, transposed, zeros, seed):
    rows, depth, columns = sizes
    a, b = (*lead, rows, depth), (*lead, *((columns, depth) if transposed else (depth, columns)))
    if dtype is I16:
        ins = [wide("a", a, 0.0004), wide("b", b, 0.0002)]
        check(model(BatchMatMul(transposed), ins, 0.003, 0, I16), seed)
    else:
        ins = [activation("a", a, 0.04, zeros[0]), activation("b", b, 0.02, zeros[1])]
        check(model(BatchMatMul(transposed), ins, 0.3, zeros[2]), seed)


@settings(max_examples=60)
@given(
    table=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    axis=st.integers(0, 2),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=2),
    seed=seeds,
)
def test_gather(table, axis, shape, seed):
    rng = np.random.default_rng(seed)
    axis = min(axis, len(table) - 1)
    data = rng.integers(-128, 128, table).astype(np.int8)
    quant = Quantisation.per_tensor(0.02, 3)
    constant = Tensor("table", tuple(table), DType.INT8, quant, data)
    graph = model(Gather(axis), [constant, ids("ids", shape)], 0.02, 3)
    check(graph, seed)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, ...], Slice]:
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    begin = [draw(st.integers(0, d - 1)) for d in shape]
    stride = [draw(st.integers(1, 3)) for _ in shape]
    size = [
        draw(st.integers(1, (d - 1 - b) // s + 1))
        for d, b, s in zip(shape, begin, stride, strict=True)
    ]
    return tuple(shape), Slice(tuple(begin), tuple(size), tuple(stride))


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
@settings(max_examples=60)
@given(box=boxes(), seed=seeds)
def test_slice(dtype, box, seed):
    shape, op = box
    x = Tensor("x", shape, dtype, Quantisation.per_tensor(0.1, 0))
    check(model(op, [x], 0.1, 0, dtype), seed)


def test_movement():
    x, y = wide("x", (1, 3, 4, 5), 0.1), wide("y", (1, 3, 4, 2), 0.1)
    check(model(Transpose((0, 3, 1, 2)), [x], 0.1, 0, I16), 0)
    check(model(Reshape((12, 5)), [x], 0.1, 0, I16), 0)
    check(model(Pad((0, 1, 2, 0), (0, 0, 1, 3)), [x], 0.1, 0, I16), 0)
    check(model(Concatenation(3), [x, y], 0.1, 0, I16), 0)
