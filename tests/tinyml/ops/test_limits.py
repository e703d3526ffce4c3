# SPDX-License-Identifier: Apache-2.0
"""Outside the scales that the other runtimes compute, the integer reference still follows the
real function, and what they do there is what limits.py says."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings

from tests.tinyml.ops.limits import (
    ADD_OUTPUT_RATIO_ABORTS,
    FIXED_FUNCTION_SCALE_MAX,
    FIXED_FUNCTION_SCALE_MIN,
    HARD_SWISH_RATIO_REFUSED,
    LITERT_LOGISTIC_COARSE_LSB,
    LITERT_LOGISTIC_LSB,
    LOGISTIC_COARSE_SCALE,
    RELU6_SCALE_MIN,
    SOFTMAX_SCALE_ABORTS,
)
from tests.tinyml.single_op import activation, model, powers, zero_points
from tinyml.errors import QuantisationError, TinymlError
from tinyml.ir import Graph
from tinyml.ir.tensor import Array
from tinyml.ops import Activation, Add, HardSwish, Logistic, Mul, Relu6, Softmax, Sub, Tanh
from tinyml.ops.unary import ALL_INT8
from tinyml.runtimes.interpreters import LiteRt, TfliteMicro
from tinyml.verify import LITERT_LSB
from tinyml.writers.tflite import write_tflite

EVERY_VALUE = ALL_INT8.reshape(1, 16, 16, 1)


def integers(graph: Graph) -> Array:
    """The integer reference on every value."""
    node = graph.nodes[0]
    return node.op.run_int([EVERY_VALUE], graph.ins(node), graph.out(node)).astype(int)


def reals(graph: Graph) -> Array:
    """The float reference on every value, on the output's grid."""
    node = graph.nodes[0]
    real = node.op.run_float([graph.ins(node)[0].q.dequantise(EVERY_VALUE)])
    return graph.out(node).q.quantise(real).astype(int)


def tflite_micro(graph: Graph) -> Array:
    return TfliteMicro(write_tflite(graph), graph).run({"x": EVERY_VALUE})[0].astype(int)


def litert(graph: Graph) -> Array:
    return LiteRt(write_tflite(graph)).run({"x": EVERY_VALUE})["out"].astype(int)


def unary(op: Logistic | Tanh | Relu6, scale: float, zero: int) -> Graph:
    x = activation("x", EVERY_VALUE.shape, scale, zero)
    quant = x.q if isinstance(op, Relu6) else op.fixed_quantisation()
    return model(op, [x], quant.s, quant.z)


def test_the_verifier_and_these_tests_state_one_bound():
    assert LITERT_LSB[Logistic] == LITERT_LOGISTIC_LSB


@pytest.mark.parametrize("op", [Logistic(), Tanh()])
@settings(max_examples=60)
@given(scale=powers(3, 30), zero=zero_points)
def test_fixed_functions_beyond_the_coarsest_scale(op, scale, zero):
    assert scale >= FIXED_FUNCTION_SCALE_MAX
    graph = unary(op, scale, zero)
    expected = reals(graph)
    np.testing.assert_allclose(integers(graph), expected, atol=1)
    # TFLite-Micro alone is wrong, and only where the input is real zero.
    off = np.abs(tflite_micro(graph) - expected)
    assert off[zero == EVERY_VALUE] == 128
    assert off[zero != EVERY_VALUE].max() <= 1
    np.testing.assert_allclose(litert(graph), expected, atol=1)


@pytest.mark.parametrize("op", [Logistic(), Tanh()])
@settings(max_examples=60)
@given(scale=powers(-90, -28.1), zero=zero_points)
def test_fixed_functions_below_the_finest_scale(op, scale, zero):
    assert scale < FIXED_FUNCTION_SCALE_MIN
    graph = unary(op, scale, zero)
    np.testing.assert_allclose(integers(graph), reals(graph), atol=1)
    np.testing.assert_allclose(litert(graph), reals(graph), atol=1)


@pytest.mark.parametrize("op", [Logistic(), Tanh()])
def test_tflite_micro_saturates_below_the_finest_scale(op):
    below, above = (unary(op, FIXED_FUNCTION_SCALE_MIN * factor, 0) for factor in (0.99, 1.0))
    assert np.abs(tflite_micro(below) - integers(below)).max() >= 127
    np.testing.assert_array_equal(tflite_micro(above), integers(above))


@settings(max_examples=60)
@given(scale=powers(2, 2.999), zero=zero_points)
def test_a_coarse_logistic_is_off_by_the_stated_bound_from_the_real_one(scale, zero):
    assert scale >= LOGISTIC_COARSE_SCALE
    graph = unary(Logistic(), scale, zero)
    np.testing.assert_allclose(integers(graph), reals(graph), atol=LITERT_LOGISTIC_COARSE_LSB)


def test_the_coarse_logistic_needs_its_bound():
    graph = unary(Logistic(), LOGISTIC_COARSE_SCALE, 0)
    assert np.abs(integers(graph) - litert(graph)).max() == LITERT_LOGISTIC_COARSE_LSB


@settings(max_examples=60)
@given(scale=powers(-60, -28.6), zero=zero_points)
def test_relu6_below_the_finest_scale(scale, zero):
    assert scale < RELU6_SCALE_MIN
    graph = unary(Relu6(), scale, zero)
    np.testing.assert_array_equal(integers(graph), reals(graph))
    np.testing.assert_array_equal(integers(graph).ravel(), np.maximum(ALL_INT8, zero))


def test_a_fused_relu6_below_the_finest_scale_is_refused_by_tflite_micro():
    a, b = activation("x", (1, 4), 0.1, 0), activation("y", (1, 4), 0.1, 0)
    below = model(Mul(Activation.RELU6), [a, b], RELU6_SCALE_MIN * 0.999, 0)
    with pytest.raises(TinymlError, match="TFLite-Micro refuses"):
        TfliteMicro(write_tflite(below), below)
    TfliteMicro(write_tflite(model(Mul(Activation.RELU6), [a, b], RELU6_SCALE_MIN, 0)), below)


@pytest.mark.parametrize("ratio", [HARD_SWISH_RATIO_REFUSED, 1e-3, 1e-6])
def test_hard_swish_refuses_an_output_grid_that_tflite_micro_refuses(ratio):
    graph = model(HardSwish(), [activation("x", EVERY_VALUE.shape, 0.05, 3)], 0.05 * ratio, 4)
    with pytest.raises(QuantisationError, match=r"hard_swish.*1/128"):
        integers(graph)
    with pytest.raises(TinymlError, match="TFLite-Micro refuses"):
        TfliteMicro(write_tflite(graph), graph)


ABORT = """
import sys
from tests.tinyml.single_op import activation, model
from tinyml.ops import Add, Softmax
from tinyml.runtimes.interpreters import LiteRt, TfliteMicro
from tinyml.writers.tflite import write_tflite
kind, runtime, value = sys.argv[1], sys.argv[2], float(sys.argv[3])
x, y = activation("x", (1, 4), 1.0, 0), activation("y", (1, 4), 0.5, 0)
if kind == "softmax":
    graph = model(Softmax(), [activation("x", (1, 4), value, 0)], 1 / 256, -128)
else:
    graph = model(Add(), [x, y], value, 0)
data = write_tflite(graph)
TfliteMicro(data, graph) if runtime == "micro" else LiteRt(data)
print("alive")
"""


@pytest.mark.parametrize("runtime", ["micro", "lite"])
@pytest.mark.parametrize(
    ("kind", "limit"), [("softmax", SOFTMAX_SCALE_ABORTS), ("add", ADD_OUTPUT_RATIO_ABORTS)]
)
def test_other_runtimes_end_the_process_at_the_limit(kind, limit, runtime):
    for value, alive in ((limit, False), (limit * 1.01, True)):
        command = [sys.executable, "-c", ABORT, kind, runtime, repr(value)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.stdout.strip() == "alive") is alive, done.stderr
        assert (done.returncode == 0) is alive, done.stderr


@given(scale=powers(-60, -26), zero=zero_points)
def test_softmax_below_the_limit_is_refused(scale, zero):
    x = activation("x", (1, 8), scale, zero)
    graph = model(Softmax(), [x], 1 / 256, -128)
    with pytest.raises(QuantisationError, match="softmax"):
        Softmax().run_int([np.zeros((1, 8), np.int8)], [x], graph.tensors["out"])


@pytest.mark.parametrize("op", [Add(), Sub()])
@given(ratio=powers(-40, -19), zero=zero_points)
def test_add_below_the_limit_is_refused(op, ratio, zero):
    a, b = activation("a", (1, 4), 1.0, 0), activation("b", (1, 4), 0.5, 0)
    graph = model(op, [a, b], ratio, zero)
    values = np.zeros((1, 4), np.int8)
    with pytest.raises(QuantisationError, match=op.kind):
        op.run_int([values, values], [a, b], graph.tensors["out"])
