# SPDX-License-Identifier: Apache-2.0
"""One operator as a model, on every runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tinyml.ir import DType, Graph, Node, Operator, Quantisation, Tensor
from tinyml.ir.random_feed import id_count, random_feed
from tinyml.ir.tensor import Array
from tinyml.runtimes.interpreters import LiteRt, TfliteMicro
from tinyml.writers.tflite import write_tflite


def activation(name: str, shape: Sequence[int], scale: float, zero: int) -> Tensor:
    """An int8 activation."""
    return Tensor(name, tuple(shape), DType.INT8, Quantisation.per_tensor(scale, zero))


def wide(name: str, shape: Sequence[int], scale: float) -> Tensor:
    """An int16 activation."""
    return Tensor(name, tuple(shape), DType.INT16, Quantisation.per_tensor(scale, 0))


def ids(name: str, shape: Sequence[int]) -> Tensor:
    """An int32 activation without quantisation."""
    return Tensor(name, tuple(shape), DType.INT32)


def flags(name: str, shape: Sequence[int]) -> Tensor:
    """Truth values."""
    return Tensor(name, tuple(shape), DType.BOOL)


def model(
    op: Operator,
    ins: Sequence[Tensor],
    scale: float,
    zero: int,
    dtype: DType = DType.INT8,
) -> Graph:
    """A graph of one node; constants are the inputs that have data."""
    shape = op.infer([t.shape for t in ins])
    plain = dtype in (DType.INT32, DType.BOOL)
    out = Tensor("out", shape, dtype, None if plain else Quantisation.per_tensor(scale, zero))
    graph = Graph(
        "single",
        {**{t.name: t for t in ins}, "out": out},
        [Node(op, tuple(t.name for t in ins), "out", "layer")],
        [t.name for t in ins if t.data is None],
        ["out"],
    )
    graph.check()
    return graph


def weights_and_bias(
    rng: np.random.Generator,
    shape: Sequence[int],
    axis: int,
    input_scale: float,
    *,
    scale_range: tuple[float, float] = (0.001, 0.02),
    bias_limit: int = 20000,
    bias_dtype: DType = DType.INT32,
) -> list[Tensor]:
    """Random per-channel int8 weights and a bias."""
    channels = shape[axis]
    scales = rng.uniform(*scale_range, channels)
    data = rng.integers(-127, 128, shape).astype(np.int8)
    bias = rng.integers(-bias_limit, bias_limit + 1, channels).astype(bias_dtype.numpy)
    quant = Quantisation.per_channel(scales, axis)
    of_bias = Quantisation.per_channel(np.array(quant.scale) * input_scale, 0)
    return [
        Tensor("weights", tuple(shape), DType.INT8, quant, data),
        Tensor("bias", (channels,), bias_dtype, of_bias, bias),
    ]


def random_feeds(graph: Graph, rng: np.random.Generator, count: int) -> list[dict[str, Array]]:
    """Random inputs, the extremes, and real zero everywhere."""
    feeds = [random_feed(graph, rng) for _ in range(count)]
    tensors = [graph.tensors[n] for n in graph.inputs]
    for end in (0, 1):
        feeds.append({t.name: _filled(t, _ends(graph, t)[end]) for t in tensors})
    feeds.append({t.name: _filled(t, t.quant.z if t.quant else 0) for t in tensors})
    return feeds


def _ends(graph: Graph, tensor: Tensor) -> tuple[int, int]:
    whole = tensor.quant is None and tensor.dtype is not DType.BOOL
    return (0, id_count(graph, tensor) - 1) if whole else tensor.dtype.limits


def _filled(tensor: Tensor, value: int) -> Array:
    return np.full(tensor.shape, value, tensor.dtype.numpy)


def assert_equal_everywhere(
    graph: Graph, feeds: Sequence[dict[str, Array]], litert: int | None = 0
) -> None:
    """The integer reference, TFLite-Micro and LiteRT give the same integers.

    Args:
        litert: LiteRT's allowed difference, for its named exceptions; None where it has none.
    """
    data = write_tflite(graph)
    micro, lite = TfliteMicro(data, graph), LiteRt(data)
    node = graph.nodes[-1]
    ins, out = graph.ins(node), graph.out(node)
    for feed in feeds:
        arrays = [t.data if t.data is not None else feed[t.name] for t in ins]
        expected = node.op.run_int(arrays, ins, out)
        assert expected.dtype == out.dtype.numpy
        assert expected.shape == out.shape
        np.testing.assert_array_equal(micro.run(feed)[0], expected, "TFLite-Micro")
        if litert is not None:
            seen = lite.run(feed)["out"]
            assert seen.shape == expected.shape
            off = np.abs(seen.astype(int) - expected)
            assert off.max(initial=0) <= litert, f"LiteRT differs by {off.max()}"


def powers(low: float, high: float) -> st.SearchStrategy[float]:
    """Positive reals whose logarithm is spread over [low, high], both powers of two."""
    return st.floats(low, high).map(lambda exponent: float(np.float32(2.0**exponent)))


# An activation's range is 255 of these: from a thousandth of a millionth to 10**8.
scales = powers(-26, 20)
zero_points = st.integers(-128, 127)
seeds = st.integers(0, 2**32 - 1)
