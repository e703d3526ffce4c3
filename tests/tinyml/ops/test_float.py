# SPDX-License-Identifier: Apache-2.0
"""The float references against PyTorch, and the integer references against the float ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.ops.windows import windows
from tests.tinyml.single_op import activation, model, seeds, weights_and_bias
from tinyml.ir import Operator, Tensor
from tinyml.ir.operator import affine
from tinyml.ir.tensor import Array, DType
from tinyml.ops import (
    Activation,
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    HardSwish,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Pad,
    Relu,
    Relu6,
    Requantise,
    Reshape,
    Softmax,
    Sub,
    Table,
    Tanh,
    Transpose,
    Window,
)

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
channels = st.integers(1, 6)
activations = st.sampled_from(Activation)

CLAMPS = {
    Activation.NONE: lambda x: x,
    Activation.RELU: F.relu,
    Activation.RELU6: F.relu6,
}


def image(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(0, 2, shape).astype(np.float32)


def nchw(x: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def nhwc(x: torch.Tensor) -> Array:
    return x.numpy().transpose(0, 2, 3, 1)


def padded(x: torch.Tensor, window: Window, value: float = 0.0) -> torch.Tensor:
    top, bottom, left, right = window.padding
    return F.pad(x, (left, right, top, bottom), value=value)


def check(op: Operator, inputs: list[Array], expected: Array, tolerance: float = 2e-5) -> None:
    result = op.run_float(inputs)
    assert result.dtype == np.float32
    assert result.shape == expected.shape == op.infer([x.shape for x in inputs])
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


@given(data=st.data(), size=sizes, inputs=channels, outputs=channels, fused=activations, seed=seeds)
def test_conv2d(data, size, inputs, outputs, fused, seed):
    window, rng = data.draw(windows(size, dilated=True)), np.random.default_rng(seed)
    x, bias = image(rng, 1, *size, inputs), image(rng, outputs)
    weights = image(rng, outputs, *window.kernel, inputs)
    value = F.conv2d(
        padded(nchw(x), window),
        nchw(weights),
        torch.from_numpy(bias),
        window.stride,
        dilation=window.dilation,
    )
    check(Conv2D(window, fused), [x, weights, bias], nhwc(CLAMPS[fused](value)), 1e-4)


@given(
    data=st.data(),
    size=sizes,
    inputs=channels,
    multiplier=st.integers(1, 3),
    fused=activations,
    seed=seeds,
)
def test_depthwise_conv2d(data, size, inputs, multiplier, fused, seed):
    window, rng = data.draw(windows(size, dilated=True)), np.random.default_rng(seed)
    outputs = inputs * multiplier
    x, bias = image(rng, 1, *size, inputs), image(rng, outputs)
    weights = image(rng, 1, *window.kernel, outputs)
    value = F.conv2d(
        padded(nchw(x), window),
        torch.from_numpy(np.ascontiguousarray(weights.transpose(3, 0, 1, 2))),
        torch.from_numpy(bias),
        window.stride,
        dilation=window.dilation,
        groups=inputs,
    )
    check(DepthwiseConv2D(window, fused), [x, weights, bias], nhwc(CLAMPS[fused](value)), 1e-4)


@given(
    lead=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    inputs=st.integers(1, 30),
    outputs=channels,
    fused=activations,
    seed=seeds,
)
def test_fully_connected(lead, inputs, outputs, fused, seed):
    rng = np.random.default_rng(seed)
    arrays = [image(rng, *lead, inputs), image(rng, outputs, inputs), image(rng, outputs)]
    value = CLAMPS[fused](F.linear(*map(torch.from_numpy, arrays)))
    check(FullyConnected(fused), arrays, value.numpy(), 1e-4)


@given(data=st.data(), size=sizes, depth=channels, seed=seeds)
def test_max_pool2d(data, size, depth, seed):
    window = data.draw(windows(size))
    x = image(np.random.default_rng(seed), 1, *size, depth)
    value = F.max_pool2d(padded(nchw(x), window, -math.inf), window.kernel, window.stride)
    check(MaxPool2D(window), [x], nhwc(value), 0.0)


@given(data=st.data(), size=sizes, depth=channels, seed=seeds)
def test_average_pool2d(data, size, depth, seed):
    window = data.draw(windows(size, paddings=("SAME", "VALID")))
    x = nchw(image(np.random.default_rng(seed), 1, *size, depth))
    # The mean over the taps inside the input: sums over counts, both by torch.
    sums = F.avg_pool2d(padded(x, window), window.kernel, window.stride)
    inside = F.avg_pool2d(padded(torch.ones_like(x), window), window.kernel, window.stride)
    check(AveragePool2D(window), [nhwc(x)], nhwc(sums / inside))


@given(size=sizes, depth=channels, seed=seeds)
def test_mean(size, depth, seed):
    x = image(np.random.default_rng(seed), 1, *size, depth)
    check(Mean(), [x], torch.from_numpy(x).mean((1, 2), keepdim=True).numpy())


@pytest.mark.parametrize(
    ("op", "reference"), [(Add, torch.add), (Sub, torch.sub), (Mul, torch.mul)]
)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    data=st.data(),
    fused=activations,
    seed=seeds,
)
def test_add_sub_mul(op, reference, shape, data, fused, seed):
    mask = data.draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
    other = [1 if one else size for one, size in zip(mask, shape, strict=True)]
    rng = np.random.default_rng(seed)
    a, b = image(rng, *shape), image(rng, *other)
    value = CLAMPS[fused](reference(torch.from_numpy(a), torch.from_numpy(b))).numpy()
    check(op(fused), [a, b], value)
    if op is Sub:
        value = CLAMPS[fused](torch.from_numpy(b) - torch.from_numpy(a)).numpy()
    check(op(fused), [b, a], value)


UNARY = [
    (Relu(), F.relu),
    (Relu6(), F.relu6),
    (LeakyRelu(0.01), lambda x: F.leaky_relu(x, 0.01)),
    (LeakyRelu(0.5), lambda x: F.leaky_relu(x, 0.5)),
    (Logistic(), torch.sigmoid),
    (Tanh(), torch.tanh),
    (HardSwish(), F.hardswish),
    (Requantise(), lambda x: x),
    (Softmax(), lambda x: F.softmax(x, -1)),
]


@pytest.mark.parametrize(("op", "reference"), UNARY, ids=lambda value: getattr(value, "kind", ""))
@given(
    shape=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    size=st.sampled_from([1e-3, 1.0, 8.0, 1e3]),
    seed=seeds,
)
def test_unary(op, reference, shape, size, seed):
    x = (image(np.random.default_rng(seed), *shape) * size).astype(np.float32)
    check(op, [x], reference(torch.from_numpy(x)).numpy())


@given(shape=st.lists(st.integers(1, 5), min_size=4, max_size=4), data=st.data(), seed=seeds)
def test_movement(shape, data, seed):
    order = tuple(data.draw(st.permutations(range(4))))
    amounts = st.lists(st.integers(0, 2), min_size=4, max_size=4).map(tuple)
    before, after = data.draw(amounts), data.draw(amounts)
    axis = data.draw(st.integers(0, 3))
    rng = np.random.default_rng(seed)
    x, y = image(rng, *shape), image(rng, *shape)
    tensor = torch.from_numpy(x)
    widths = [w for pair in zip(reversed(before), reversed(after), strict=True) for w in pair]
    check(Transpose(order), [x], tensor.permute(order).numpy(), 0.0)
    check(Pad(before, after), [x], F.pad(tensor, widths).numpy(), 0.0)
    check(Reshape((x.size,)), [x], tensor.flatten().numpy(), 0.0)
    joined = torch.cat([tensor, torch.from_numpy(y)], axis).numpy()
    check(Concatenation(axis), [x, y], joined, 0.0)


def test_table_is_defined_on_integers_only():
    table = np.random.default_rng(0).integers(-128, 128, 256).astype(np.int8)
    x = np.arange(-128, 128).astype(np.int8)
    tensors = [activation("x", (256,), 1.0, 0), Tensor("t", (256,), DType.INT8, None, table)]
    assert Table().infer([(2, 3), (256,)]) == (2, 3)
    result = Table().run_int([x, table], tensors, activation("y", (256,), 1.0, 0))
    np.testing.assert_array_equal(result, table)
    with pytest.raises(ValueError, match="256"):
        Table().infer([(2, 3), (255,)])
    with pytest.raises(NotImplementedError):
        Table().run_float([x, table])


WINDOW = Window((3, 3), (1, 2), (1, 1), (1, 1, 1, 1))
SHAPE = (1, 6, 6, 4)


def weighted(op: Operator, rng: np.random.Generator, shape: tuple[int, ...], axis: int):
    return op, [activation("x", SHAPE, 0.03, 5), *weights_and_bias(rng, shape, axis, 0.03)]


@pytest.mark.parametrize("fused", Activation)
@settings(max_examples=15)
@given(seed=seeds)
def test_the_integers_are_those_of_the_reals(fused, seed):
    """Rounding once is within half a step of the float reference on the same numbers. Rounding
    twice costs a quarter more where the second shift is one bit, which only the mean reaches."""
    rng = np.random.default_rng(seed)
    x, y = activation("x", SHAPE, 0.03, 5), activation("y", SHAPE, 0.017, -20)
    cases: list[tuple[Operator, list[Tensor]]] = [
        weighted(Conv2D(WINDOW, fused), rng, (5, 3, 3, 4), 0),
        weighted(DepthwiseConv2D(WINDOW, fused), rng, (1, 3, 3, 8), 3),
        weighted(FullyConnected(fused), rng, (7, 4), 0),
        *((kind(fused), [x, y]) for kind in (Add, Sub, Mul)),
        *((op, [x]) for op, _ in UNARY if not isinstance(op, Relu6)),
        (Mean(), [x]),
    ]
    for op, ins in cases:
        integers = [
            rng.integers(-128, 128, t.shape).astype(np.int8) if t.data is None else t.data
            for t in ins
        ]
        real = op.run_float([t.q.dequantise(i) for t, i in zip(ins, integers, strict=True)])
        fixed = isinstance(op, Logistic | Tanh | Softmax)
        quant = op.fixed_quantisation() if fixed else affine(real.min(), real.max())
        graph = model(op, ins, quant.s, quant.z)
        result = op.run_int(integers, ins, graph.tensors["out"]).astype(int)
        exact = np.clip(real.astype(np.float64) / quant.s + quant.z, -128, 127)
        bound = 0.76 if isinstance(op, Mean) else 0.55
        assert np.abs(result - exact).max() <= bound, op.kind
