# SPDX-License-Identifier: Apache-2.0
"""Functions by table: the nearest integers, exact on every runtime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.single_op import activation, assert_equal_everywhere, model, powers, zero_points
from tinyml.ops import Function
from tinyml.ops.function import FUNCTIONS
from tinyml.ops.unary import ALL_INT8

EVERY_VALUE = ALL_INT8.reshape(1, 16, 16)
PARAMETERS = {
    "celu": (0.7,),
    "clip": (-0.4, 1.1),
    "elu": (1.67, 1.05),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (-0.3,),
    "pow": (3.0,),
    "shrink": (0.5, 0.25),
    "thresholdedrelu": (0.6,),
}


def function(name: str) -> Function:
    return Function(name, PARAMETERS.get(name, ()))


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(FUNCTIONS)), powers(-8, 1), zero_points, powers(-8, 1), zero_points)
def test_every_value_on_every_runtime(name, scale, zero, out_scale, out_zero):
    x = activation("x", (1, 16, 16), scale, zero)
    graph = model(function(name), [x], out_scale, out_zero)
    assert_equal_everywhere(graph, [{"x": EVERY_VALUE}])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_are_the_nearest_to_the_reals(name):
    x = activation("x", (1, 16, 16), 0.02, 10)
    graph = model(function(name), [x], 0.03, -20)
    out = graph.tensors["out"]
    real = (ALL_INT8.astype(np.float64) - 10) * x.q.s
    with np.errstate(all="ignore"):
        exact = np.asarray(FUNCTIONS[name](real, *PARAMETERS.get(name, ())), np.float64)
    inside = np.isfinite(exact)
    seen = function(name).run_int([EVERY_VALUE], [x], out).ravel()
    wanted = np.clip(exact / out.q.s - 20, -128, 127)
    assert np.all(np.abs(seen - wanted)[inside] <= 0.5 + 1e-6)


def test_where_there_is_no_value_it_is_that_of_nothing():
    x = activation("x", (1, 16, 16), 0.1, 0)
    out = model(Function("sqrt"), [x], 0.02, -128).tensors["out"]
    seen = Function("sqrt").run_int([EVERY_VALUE], [x], out).ravel()
    assert set(seen[:128]) == {-128}
    out = model(Function("reciprocal"), [x], 0.1, 0).tensors["out"]
    assert Function("reciprocal").run_int([EVERY_VALUE], [x], out).ravel()[128] == 127
