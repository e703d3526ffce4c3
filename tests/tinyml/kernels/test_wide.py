# SPDX-License-Identifier: Apache-2.0
"""Layers of int16 activations: every kernel equals the integer reference, through ctypes and, many
layers in one graph, on the emulated cores."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.tinyml.kernels.test_variants import GUARD, Program, library, needs_compiler
from tests.tinyml.layers import add_layer, assert_layers_equal
from tests.tinyml.single_op import weights_and_bias, wide
from tinyml.ir import DType, Graph, Tensor
from tinyml.kernels import ISAS, applicable, choose
from tinyml.ops import Activation, Conv2D, DepthwiseConv2D, FullyConnected, Window
from tinyml.ops.weighted import Weighted
from tinyml.targets import Target

__all__ = ["library"]  # a fixture

Case = tuple[Weighted, list[Tensor]]
CHANNELS = (1, 3, 4, 5, 8, 12, 16, 20, 24)
# With most sums inside the output's range, with many beyond it, and finer than a high word can be.
OUTPUT_SCALES = (2.0, 0.05, 1e-7)


def random_case(rng: np.random.Generator) -> Case:
    """An operator and its tensors."""
    fused = (Activation.NONE, Activation.RELU)[rng.integers(2)]
    kind = (Conv2D, DepthwiseConv2D, FullyConnected)[rng.integers(3)]
    channels = int(rng.choice(CHANNELS))
    dtype = DType.INT32 if kind is Conv2D and rng.random() < 0.2 else DType.INT64

    def constants(shape: tuple[int, ...], axis: int) -> list[Tensor]:
        limit = int(rng.choice([20000, 2**31 - 1]))
        return weights_and_bias(rng, shape, axis, 0.001, bias_limit=limit, bias_dtype=dtype)

    outputs = int(rng.integers(1, 10))
    if kind is FullyConnected:
        inputs = int(rng.choice([*CHANNELS, 256, 520]))
        x = wide("x", (int(rng.integers(1, 4)), inputs), 0.001)
        return FullyConnected(fused), [x, *constants((outputs, inputs), 0)]
    height, width = (int(n) for n in rng.integers(1, 8, 2))
    kernel = [(1, 1), (3, 3), (2, 3), (3, 1), (1, 4)][rng.integers(5)]
    stride, dilation = (tuple(int(n) for n in rng.integers(1, 3, 2)) for _ in range(2))
    pads = [int(rng.integers((k - 1) * d + 1)) for k, d in zip(kernel, dilation, strict=True)]
    window = Window(kernel, stride, dilation, (pads[0], pads[0], pads[1], pads[1]))
    rows, columns = window.extent
    shape = (1, max(height, rows), max(width, columns), channels)
    x = wide("x", shape, 0.001)
    if kind is Conv2D:
        return Conv2D(window, fused), [x, *constants((outputs, *kernel, channels), 0)]
    multiplier = int(rng.choice([1, 1, 1, 2]))
    return DepthwiseConv2D(window, fused), [x, *constants((1, *kernel, channels * multiplier), 3)]


def inputs(rng: np.random.Generator, x: Tensor) -> np.ndarray:
    limits = np.array(rng.choice([[-32768, 32768], [-32768, -32767], [32767, 32768]]))
    return rng.integers(*limits, x.shape).astype(np.int16)


@needs_compiler
@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from(OUTPUT_SCALES))
def test_kernels_equal_the_reference(library: ctypes.CDLL, seed: int, scale: float):
    rng = np.random.default_rng(seed)
    op, ins = random_case(rng)
    out = wide("out", op.infer([t.shape for t in ins]), scale)
    x = inputs(rng, ins[0])
    assume(scale > 1e-6 or ins[2].dtype is DType.INT64)
    layer = op.c_layer(ins, out)
    assume(layer.shift.max() < 15)  # what 64-bit accumulators allow
    expected = op.run_int([x, ins[1].data, ins[2].data], ins, out)
    for variant in {v for isa in ISAS for v in applicable(layer, isa)}:
        guarded = np.full(out.elements + 2 * GUARD, 0x5A5A, np.int16)
        y = guarded[GUARD:-GUARD]
        Program(library, variant, layer).run(x.ravel().copy(), y, (0, 0))
        np.testing.assert_array_equal(y.reshape(out.shape), expected, variant.kernel)
        ends = np.concatenate([guarded[:GUARD], guarded[-GUARD:]])
        assert (ends == 0x5A5A).all(), variant.kernel


def test_on_targets(tmp_path: Path, board: Target):
    rng = np.random.default_rng(1)
    graph = Graph("wide", {}, [], [], [])
    for index in range(40):
        op, ins = random_case(rng)
        add_layer(graph, op, ins, wide("out", (), OUTPUT_SCALES[index % 2]))
    feeds = [{n: inputs(rng, graph.tensors[n]) for n in graph.inputs} for _ in range(3)]
    kernels = assert_layers_equal(graph, board, tmp_path, feeds)
    for kernel in ("conv2d", "depthwise_conv2d"):
        assert {f"tml_{kernel}_s16_{board.isa}", f"tml_{kernel}_s16"} <= kernels


def test_sums_that_need_64_bits_take_the_portable_kernel():
    rng = np.random.default_rng(0)
    x, out = wide("x", (1, 520), 0.001), wide("out", (1, 3), 0.05)

    def kernel(largest: int) -> str:
        weights, bias = weights_and_bias(rng, (3, 520), 0, 0.001, bias_dtype=DType.INT64)
        weights = replace(weights, data=np.full((3, 520), largest, np.int8))
        return choose(FullyConnected().c_layer([x, weights, bias], out), "dsp").kernel

    assert kernel(127) == "tml_fully_connected_s16"
    assert kernel(100) == "tml_conv2d_s16_dsp"
