# SPDX-License-Identifier: Apache-2.0
"""Tables by which TFLite computes int16 functions, and how it interpolates in them.

Source: TensorFlow Lite common.h (`gen_lut`, `lut_lookup`, `sigmoid_table_uint16`). Generated C
reads the same numbers from the weights blob.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinyml.ir.fixedpoint import Int64
from tinyml.ir.tensor import Array

_INTERVALS = 512
# Where TFLite's printed table is one above the nearest integer.
_ROUNDED_UP = (
    *(4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40, 41),
    *(43, 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255),
)


def _sigmoid_table() -> Array:
    exact = 65536.0 / (1.0 + np.exp(-np.arange(256) / 24.0))
    table = np.rint(exact)
    table[list(_ROUNDED_UP)] += 1
    return np.asarray(table, np.uint16)


# sigmoid(i / 24) in Q0.16, uint16 (256).
SIGMOID = _sigmoid_table()


def _function_table(function: Callable[[Array], Array], low: float, high: float) -> Array:
    """513 samples of a function in Q0.15; each but the last is moved by half the error that
    linear interpolation makes in the middle of its interval."""
    step = np.float32((high - low) / _INTERVALS)
    scale = np.float32(32768)
    points = np.float32(low) + np.arange(_INTERVALS, dtype=np.float32) * step
    following = np.float32(low) + np.arange(1, _INTERVALS + 1, dtype=np.float32) * step
    sample = _round(function(points) * scale)
    middle = _round(function(points + step / np.float32(2)) * scale)
    interpolated = _round((function(following) * scale + sample) / np.float32(2))
    moved = sample - _round((interpolated - middle) / np.float32(2))
    last = _round(function(np.array([high], np.float32)) * scale)
    return np.asarray(np.clip(np.concatenate([moved, last]), -32768, 32767), np.int16)


def _round(x: Array) -> Array:
    return np.asarray(np.trunc(x + np.copysign(np.float32(0.5), x)), np.float32)


# exp over [-10, 0] and 1 / (1 + x) over [0, 1], int16 (513).
EXP = _function_table(lambda x: np.exp(x.astype(np.float64)).astype(np.float32), -10.0, 0.0)
RECIPROCAL = _function_table(lambda x: np.float32(1) / (np.float32(1) + x), 0.0, 1.0)


def lookup(x: Int64, table: Array) -> Int64:
    """Interpolates in a table of 513 entries; ``x`` int16 spans the table's range."""
    index = 256 + (x >> 7)
    wide = table.astype(np.int64)
    slope = wide[index + 1] - wide[index]
    return np.asarray(wide[index] + ((slope * (x & 127) + 64) >> 7), np.int64)


def sigmoid_position(x: Int64, multiplier: int, shift: int) -> Int64:
    """int16 input on the scale of `SIGMOID`, 24 * 512 steps for 1.0; the multiplier is
    `sigmoid_multiplier`'s."""
    half = 1 << (shift - 1) if shift > 0 else 0
    return np.asarray((x * multiplier + half) >> shift, np.int64)


def sigmoid_multiplier(scale: float, exact_shifts: tuple[int, ...]) -> tuple[int, int]:
    """Multiplier and right shift that take an int16 input of ``scale`` to 1 / (3 * 4096).

    Args:
        exact_shifts: logarithms of scale * 4096 that the function takes as a shift of 3.
    """
    logarithm = np.float32(np.log(np.float32(scale))) * np.float32(
        np.float32(1) / np.float32(np.log(np.float32(2)))
    )
    nearest = int(_round(np.asarray(logarithm)))
    if abs(float(logarithm) - nearest) < 1e-3 and 12 + nearest in exact_shifts:
        return 3 << (12 + nearest), 0
    multiplier, shift = scale * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = multiplier * 2.0, shift + 1
    return int(multiplier), shift


def sigmoid16(position: Int64) -> Int64:
    """Logistic function of a `sigmoid_position` in Q0.15."""
    size = np.abs(position)
    high = size >> 9
    table = SIGMOID.astype(np.int64)
    at = np.minimum(high, 254)
    inner = (table[at] << 9) + (size & 511) * (table[at + 1] - table[at])
    value = np.where(high >= 255, 0x7FFF << 10, inner)
    value = np.where(position >= 0, value + 512, (1 << 25) - value + 511)
    return np.asarray(value >> 10, np.int64)


def tanh16(position: Int64) -> Int64:
    """Hyperbolic tangent of a `sigmoid_position` in Q0.15."""
    size = np.abs(position)
    high = size >> 8
    table = SIGMOID.astype(np.int64)
    at = np.minimum(high, 254)
    inner = (table[at] << 8) + (size & 255) * (table[at + 1] - table[at])
    value = np.where(high >= 255, 0xFFFF << 8, inner)
    value = np.where(position >= 0, value - (1 << 23) + 128, (1 << 23) - value + 127)
    return np.asarray(value >> 8, np.int64)
