# SPDX-License-Identifier: Apache-2.0
"""fixedpoint.h equals the numpy arithmetic, on this machine's compiler with UBSan on."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tinyml.ir import fixedpoint
from tinyml.runtimes.build import firmware_root

SOURCE = """
#include "tinyml/fixedpoint.h"
int32_t requantise(int32_t x, int32_t m, int32_t s) { return tml_requantise(x, m, s); }
int32_t exponential(int32_t x) { return tml_exp_on_negative_q5(x); }
int32_t reciprocal(int32_t x) { return tml_one_over_one_plus_x(x); }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder: Path = tmp_path_factory.mktemp("fixedpoint")
    (folder / "f.c").write_text(SOURCE)
    command = ["cc", "-std=c11", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    command += ["-Wconversion", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    command += [f"-I{firmware_root() / 'include'}", str(folder / "f.c"), "-o", str(folder / "f.so")]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "f.so"))


def extremes_and(rng: np.random.Generator, low: int, high: int, count: int) -> list[int]:
    values = [low, low + 1, -1, 0, 1, high - 1, high, *rng.integers(low, high + 1, count)]
    return [int(v) for v in values if low <= v <= high]


def test_requantise(library):
    rng = np.random.default_rng(0)
    for x in extremes_and(rng, -(2**31), 2**31 - 1, 400):
        for shift in (-31, -8, -1, 0, 1, 7):
            multiplier = int(rng.integers(2**30, 2**31))
            expected = int(fixedpoint.requantise(x, multiplier, shift))
            assert library.requantise(x, multiplier, shift) == expected


def test_exponential(library):
    for x in extremes_and(np.random.default_rng(1), -(2**31), 0, 2000):
        expected = int(fixedpoint.exp_on_negative(np.array([x], np.int64), 5)[0])
        assert library.exponential(x) == expected


def test_reciprocal(library):
    for x in extremes_and(np.random.default_rng(2), 0, 2**31 - 1, 2000):
        expected = int(fixedpoint.one_over_one_plus_x(np.array([x], np.int64))[0])
        assert library.reciprocal(x) == expected
