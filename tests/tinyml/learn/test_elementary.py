# SPDX-License-Identifier: Apache-2.0
"""The elementary functions of firmware without a C library."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from tests.tinyml.learn.conftest import Load
from tests.tinyml.learn.networks import mlp
from tinyml.learn import LearnOptions

ULP = 2.0

# Name, exact function, interval.
FUNCTIONS = [
    ("tml_expf", np.exp, -87.3, 88.7),
    ("tml_expf", np.exp, -1e-3, 1e-3),
    ("tml_logf", np.log, 1e-37, 1e38),
    ("tml_logf", np.log, 0.5, 2.0),
    ("tml_tanhf", np.tanh, -10.0, 10.0),
    ("tml_tanhf", np.tanh, -1e-3, 1e-3),
    ("tml_sigmoidf", lambda x: 1 / (1 + np.exp(-x)), -80.0, 80.0),
    ("tml_sqrtf", np.sqrt, 1e-37, 1e38),
]


@pytest.fixture
def c(load: Load) -> ctypes.CDLL:
    return load(mlp((1, 2)), LearnOptions("all")).c


def points(low: float, high: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    if low > 0:
        values = np.exp(rng.uniform(np.log(low), np.log(high), 20000))
    else:
        values = rng.uniform(low, high, 20000)
    return values.astype(np.float32)


@pytest.mark.parametrize(("name", "exact", "low", "high"), FUNCTIONS)
def test_within_two_units_in_the_last_place(c: ctypes.CDLL, name, exact, low, high):
    function = getattr(c, name)
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    x = points(low, high)
    seen = np.array([function(float(v)) for v in x], np.float64)
    wanted = exact(x.astype(np.float64))
    error = np.abs(seen - wanted) / np.spacing(np.abs(wanted).astype(np.float32)).astype(float)
    assert error.max() <= ULP, (error.max(), x[error.argmax()])


def test_ends(c: ctypes.CDLL, tmp_path: Path):
    def at(name: str, x: float) -> float:
        function = getattr(c, name)
        function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
        return float(function(x))

    assert at("tml_expf", 200.0) == np.inf
    assert at("tml_expf", -200.0) == 0.0
    assert at("tml_expf", 0.0) == 1.0
    assert np.isnan(at("tml_expf", np.nan))
    assert at("tml_logf", 0.0) == -np.inf
    assert at("tml_logf", 1.0) == 0.0
    assert np.isnan(at("tml_logf", -1.0))
    assert at("tml_tanhf", 50.0) == 1.0
    assert at("tml_tanhf", -50.0) == -1.0
    assert at("tml_tanhf", 0.0) == 0.0
    assert at("tml_sigmoidf", -200.0) == 0.0
    assert at("tml_sigmoidf", 200.0) == 1.0
    assert at("tml_sqrtf", 0.0) == 0.0
    assert np.isnan(at("tml_sqrtf", -1.0))
    assert at("tml_sqrtf", np.inf) == np.inf
