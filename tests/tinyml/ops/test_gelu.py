# SPDX-License-Identifier: Apache-2.0
"""GELU and tables: exact on every runtime, though TFLite-Micro has neither."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings

from tests.tinyml.single_op import activation, assert_equal_everywhere, model, powers, zero_points
from tinyml.importers.tflite import import_tflite
from tinyml.ops import Gelu, Table
from tinyml.ops.unary import ALL_INT8
from tinyml.writers.tflite import write_tflite

EVERY_VALUE = ALL_INT8.reshape(1, 16, 16)


@settings(max_examples=10, deadline=None)
@given(powers(-8, 1), zero_points, powers(-8, 1), zero_points)
def test_every_value_on_every_runtime(scale, zero, out_scale, out_zero):
    graph = model(Gelu(), [activation("x", (1, 16, 16), scale, zero)], out_scale, out_zero)
    assert_equal_everywhere(graph, [{"x": EVERY_VALUE}])


@pytest.mark.parametrize("tanh", [False, True])
def test_integers_are_the_nearest_to_the_reals(tanh):
    x = activation("x", (1, 16, 16), 0.05, 10)
    graph = model(Gelu(tanh), [x], 0.03, -120)
    seen = Gelu(tanh).run_int([EVERY_VALUE], [x], graph.tensors["out"])
    for value, result in zip(EVERY_VALUE.ravel(), seen.ravel(), strict=True):
        real = (int(value) - 10) * x.q.s
        if tanh:
            inner = math.sqrt(2 / math.pi) * (real + 0.044715 * real**3)
            exact = 0.5 * real * (1 + math.tanh(inner))
        else:
            exact = 0.5 * real * (1 + math.erf(real / math.sqrt(2)))
        wanted = min(max(exact / graph.tensors["out"].q.s - 120, -128), 127)
        assert abs(int(result) - wanted) <= 0.5 + 1e-6


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_float_is_pytorchs(approximate):
    torch = pytest.importorskip("torch")
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    theirs = torch.nn.functional.gelu(torch.from_numpy(x), approximate=approximate).numpy()
    np.testing.assert_allclose(
        Gelu(approximate == "tanh").run_float([x]), theirs, rtol=0, atol=1e-6
    )


def test_a_file_gives_the_table_back():
    x = activation("x", (1, 16, 16), 0.05, 10)
    graph = model(Gelu(), [x], 0.03, -120)
    read = import_tflite(write_tflite(graph), "back")
    assert [type(n.op) for n in read.nodes] == [Table]
    values = read.tensors[read.nodes[0].inputs[1]].values
    wanted = Gelu().map_int8(ALL_INT8.astype(np.int64), x.q, graph.tensors["out"].q)
    np.testing.assert_array_equal(values, wanted)
