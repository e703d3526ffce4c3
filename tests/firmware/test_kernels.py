# SPDX-License-Identifier: Apache-2.0
"""Each portable kernel, called through ctypes, equals a reference written for these tests alone.

The reference is plain Python integers over one output at a time: exact rationals and the roundings
of gemmlowp by their definition, so that it shares no idea with the kernels or with tinyml/ops.
Kernels run with undefined behaviour trapping, and guard bytes around the output.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyml.runtimes.build import firmware_root

GUARD = 64
Array = np.ndarray

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    kernels = firmware_root() / "kernels"
    path = tmp_path_factory.mktemp("kernels") / "kernels.so"
    command = ["cc", "-std=c11", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    command += ["-Wconversion", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    command += [f"-I{firmware_root() / 'include'}", f"-I{kernels / 'common'}"]
    command += [str(p) for p in sorted((kernels / "portable").glob("*.c"))]
    subprocess.run([*command, "-o", str(path)], check=True)
    return ctypes.CDLL(str(path))


# ------------------------------------------------------------------ arithmetic by definition


def wrap(x: int) -> int:
    return (x + 2**31) % 2**32 - 2**31


def half_away(x: Fraction) -> int:
    """Nearest integer, halves away from zero."""
    whole = math.floor(abs(x) + Fraction(1, 2))
    return whole if x >= 0 else -whole


def high_multiply(a: int, b: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul: nearest, halves up."""
    return min(math.floor(Fraction(a * b, 2**31) + Fraction(1, 2)), 2**31 - 1)


def requantise(x: int, multiplier: int, shift: int) -> int:
    high = high_multiply(wrap(x << max(shift, 0)), multiplier)
    return half_away(Fraction(high, 2 ** max(-shift, 0)))


def clamp(x: int, low: int, high: int) -> int:
    return max(low, min(high, x))


# --------------------------------------------------------------------------------- calling C


def shape_struct(layout: str, *values: int) -> bytes:
    """A shape as the C compiler lays it out on this machine: natural alignment."""
    return struct.pack(f"@{layout}", *values)


def record(header: Sequence[int], *parts: Array) -> bytes:
    blob = struct.pack(f"<{len(header)}i", *header)
    for part in parts:
        blob += part.tobytes()
        blob += bytes(-len(blob) % 4)
    return blob


def call(
    function: Callable[..., None], size: int, *arguments: bytes | Array, rows: tuple[int, ...] = ()
) -> Array:
    """Calls a kernel; the output, which follows the arguments and precedes the range of rows of a
    kernel with a window, is made here. Returns int8 (size,)."""
    held = [np.frombuffer(bytes(a), np.uint8).copy() for a in arguments]
    output = np.full(size + 2 * GUARD, 0x5A, np.int8)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in held]
    function(*pointers, ctypes.c_void_p(output.ctypes.data + GUARD), *rows)
    assert (output[:GUARD] == 0x5A).all(), "wrote before the output"
    assert (output[GUARD + size :] == 0x5A).all(), "wrote behind the output"
    for array, given_bytes in zip(held, arguments, strict=True):
        assert array.tobytes() == bytes(given_bytes), "changed an input"
    return output[GUARD : GUARD + size]


# -------------------------------------------------------------------------------- strategies

int8 = st.integers(-128, 127)
seeds = st.integers(0, 2**32 - 1)
# The smallest and largest multipliers are where roundings and saturation differ.
multipliers = st.one_of(st.integers(2**30, 2**31 - 1), st.sampled_from([2**30, 2**31 - 1]))


@st.composite
def clamps(draw: st.DrawFn) -> tuple[int, int]:
    low, high = sorted((draw(int8), draw(int8)))
    return draw(st.sampled_from([(-128, 127), (low, high)]))


@st.composite
def axes(draw: st.DrawFn, dilated: bool) -> tuple[int, int, int, int, int, int]:
    """size, kernel, stride, dilation, padding before, outputs: every window meets the input."""
    size, kernel = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3)) if dilated else 1
    extent = (kernel - 1) * dilation + 1
    before = draw(st.integers(0, min(extent - 1, 255)))
    # A pooling window must hold at least one element; the last one starts inside the input.
    outputs = draw(st.integers(1, max(1, (size + before - 1) // stride + 1)))
    return size, kernel, stride, dilation, before, outputs


def window_bytes(rows: tuple[int, ...], cols: tuple[int, ...], in_c: int, out_c: int) -> bytes:
    sizes = (rows[0], cols[0], in_c, rows[5], cols[5], out_c, rows[0], rows[5])
    return shape_struct("8H8B", *sizes, *(v for i in (1, 2, 3, 4) for v in (rows[i], cols[i])))


def positions(axis: tuple[int, ...], output: int) -> list[tuple[int, int]]:
    """(kernel position, input position) of the taps inside the input."""
    size, kernel, stride, dilation, before, _ = axis
    at = [(k, output * stride - before + k * dilation) for k in range(kernel)]
    return [(k, i) for k, i in at if 0 <= i < size]


def random_int8(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-128, 128, shape).astype(np.int8)


def taps(
    rows: tuple[int, ...], cols: tuple[int, ...], y: int, x: int
) -> list[tuple[int, int, int, int]]:
    """(kernel row, kernel column, input row, input column) inside the input."""
    pairs = itertools.product(positions(rows, y), positions(cols, x))
    return [(i, j, in_y, in_x) for (i, in_y), (j, in_x) in pairs]


@st.composite
def finish(draw: st.DrawFn, channels: int) -> tuple[list[int], Array, Array, Array]:
    """Header, bias, multiplier and shift of a record."""
    limits = draw(clamps())
    header = [draw(int8), draw(int8), *limits]
    rng = np.random.default_rng(draw(seeds))
    bias = rng.integers(-(2**20), 2**20, channels).astype(np.int32)
    multiplier = np.array([draw(multipliers) for _ in range(channels)], np.int32)
    shift = rng.integers(-14, 4, channels).astype(np.int8)
    return header, bias, multiplier, shift


def finished(
    header: Sequence[int], bias: Array, multiplier: Array, shift: Array, c: int, total: int
) -> int:
    scaled = requantise(total + int(bias[c]), int(multiplier[c]), int(shift[c]))
    return clamp(scaled + header[1], header[2], header[3])


# ----------------------------------------------------------------------------- the kernels


@given(st.data(), axes(True), axes(True), st.integers(1, 6), st.integers(1, 5), seeds)
def test_conv2d(library, data, rows, cols, in_c, out_c, seed):
    rng = np.random.default_rng(seed)
    parts = data.draw(finish(out_c))
    x = random_int8(rng, rows[0], cols[0], in_c)
    w = random_int8(rng, out_c, rows[1], cols[1], in_c)
    expected = [
        finished(
            *parts,
            c,
            sum(
                int(np.dot(x[v, h].astype(int) - parts[0][0], w[c, i, j].astype(int)))
                for i, j, v, h in taps(rows, cols, y, col)
            ),
        )
        for y in range(rows[5])
        for col in range(cols[5])
        for c in range(out_c)
    ]
    blob, shape = record(*parts, w), window_bytes(rows, cols, in_c, out_c)
    assert (
        call(library.tml_conv2d_s8, len(expected), shape, blob, x, rows=(0, rows[5])).tolist()
        == expected
    )


@given(st.data(), axes(True), axes(True), st.integers(1, 6), st.integers(1, 3), seeds)
def test_depthwise_conv2d(library, data, rows, cols, in_c, multiple, seed):
    rng = np.random.default_rng(seed)
    out_c = in_c * multiple
    parts = data.draw(finish(out_c))
    x = random_int8(rng, rows[0], cols[0], in_c)
    w = random_int8(rng, rows[1], cols[1], out_c)
    expected = [
        finished(
            *parts,
            c,
            sum(
                (int(x[v, h, c // multiple]) - parts[0][0]) * int(w[i, j, c])
                for i, j, v, h in taps(rows, cols, y, col)
            ),
        )
        for y in range(rows[5])
        for col in range(cols[5])
        for c in range(out_c)
    ]
    blob, shape = record(*parts, w), window_bytes(rows, cols, in_c, out_c)
    seen = call(library.tml_depthwise_conv2d_s8, len(expected), shape, blob, x, rows=(0, rows[5]))
    assert seen.tolist() == expected


@given(st.data(), st.integers(1, 4), st.integers(1, 40), st.integers(1, 9), seeds)
def test_fully_connected(library, data, rows, inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    parts = data.draw(finish(outputs))
    x, w = random_int8(rng, rows, inputs), random_int8(rng, outputs, inputs)
    sums = (x.astype(int) - parts[0][0]) @ w.astype(int).T
    expected = [finished(*parts, c, int(sums[r, c])) for r in range(rows) for c in range(outputs)]
    blob, shape = record(*parts, w), shape_struct("3H", rows, inputs, outputs)
    seen = call(library.tml_fully_connected_s8, len(expected), shape, blob, x)
    assert seen.tolist() == expected


@given(axes(False), axes(False), st.integers(1, 6), clamps(), seeds)
def test_pools(library, rows, cols, channels, limits, seed):
    rng = np.random.default_rng(seed)
    x = random_int8(rng, rows[0], cols[0], channels)
    average, largest = [], []
    for y, col, c in itertools.product(range(rows[5]), range(cols[5]), range(channels)):
        values = [int(x[v, h, c]) for _, _, v, h in taps(rows, cols, y, col)]
        if not values:
            return  # no such window comes out of a graph
        average.append(clamp(half_away(Fraction(sum(values), len(values))), *limits))
        largest.append(clamp(max(values), *limits))
    shape, blob = window_bytes(rows, cols, channels, channels), record(limits)
    size = len(average)
    assert (
        call(library.tml_average_pool_s8, size, shape, blob, x, rows=(0, rows[5])).tolist()
        == average
    )
    assert (
        call(library.tml_max_pool_s8, size, shape, blob, x, rows=(0, rows[5])).tolist() == largest
    )


@given(
    st.integers(1, 3),
    st.integers(1, 60),
    st.integers(1, 9),
    int8,
    int8,
    multipliers,
    st.integers(-20, 24),
    seeds,
)
def test_mean(library, rows, count, channels, in_zero, out_zero, multiplier, shift, seed):
    x = random_int8(np.random.default_rng(seed), rows, count, channels)
    sums = (x.astype(int) - in_zero).sum(axis=1).ravel()
    expected = [clamp(requantise(int(s), multiplier, shift) + out_zero, -128, 127) for s in sums]
    shape = shape_struct("III", rows, count, channels)
    blob = record([in_zero, out_zero, multiplier, shift])
    assert call(library.tml_mean_s8, rows * channels, shape, blob, x).tolist() == expected


@st.composite
def broadcasts(draw: st.DrawFn) -> tuple[Array, Array]:
    """Two arrays of rank 4 that broadcast."""
    dims = [draw(st.integers(1, 4)) for _ in range(4)]
    rng = np.random.default_rng(draw(seeds))
    made = []
    for _ in range(2):
        kept = [draw(st.booleans()) for _ in dims]
        made.append(random_int8(rng, *(d if k else 1 for d, k in zip(dims, kept, strict=True))))
    return made[0], made[1]


def broadcast_bytes(a: Array, b: Array) -> tuple[bytes, tuple[int, ...]]:
    dims = np.broadcast_shapes(a.shape, b.shape)
    strides = [
        [0 if size == 1 else step for size, step in zip(x.shape, x.strides, strict=True)]
        for x in (a, b)
    ]
    return shape_struct("4H8I", *dims, *strides[0], *strides[1]), dims


@given(
    broadcasts(),
    *[st.tuples(multipliers, st.integers(-24, 0))] * 3,
    *[int8] * 3,
    clamps(),
)
def test_add_and_sub(library, pair, of_a, of_b, of_out, a_zero, b_zero, out_zero, limits):
    a, b = pair
    shape, dims = broadcast_bytes(a, b)
    zeros = [a_zero, b_zero, out_zero]
    blob = record([*zeros, *of_a, *of_b, *of_out, 20, *limits])
    left = [requantise((int(v) - a_zero) << 20, *of_a) for v in np.broadcast_to(a, dims).ravel()]
    right = [requantise((int(v) - b_zero) << 20, *of_b) for v in np.broadcast_to(b, dims).ravel()]
    for function, sign in ((library.tml_add_s8, 1), (library.tml_sub_s8, -1)):
        expected = [
            clamp(requantise(x + sign * y, *of_out) + out_zero, *limits)
            for x, y in zip(left, right, strict=True)
        ]
        assert call(function, len(expected), shape, blob, a, b).tolist() == expected


def assert_mul(library, a, b, of_out, a_zero, b_zero, out_zero, limits):
    shape, dims = broadcast_bytes(a, b)
    blob = record([a_zero, b_zero, out_zero, *of_out, *limits])
    pairs = zip(np.broadcast_to(a, dims).ravel(), np.broadcast_to(b, dims).ravel(), strict=True)
    expected = [
        clamp(requantise((int(x) - a_zero) * (int(y) - b_zero), *of_out) + out_zero, *limits)
        for x, y in pairs
    ]
    assert call(library.tml_mul_s8, len(expected), shape, blob, a, b).tolist() == expected


@given(broadcasts(), st.tuples(multipliers, st.integers(-24, 20)), int8, int8, int8, clamps())
def test_mul(library, pair, of_out, a_zero, b_zero, out_zero, limits):
    assert_mul(library, *pair, of_out, a_zero, b_zero, out_zero, limits)


def test_the_zero_point_never_overflows(library):
    # 128 * 128 << 17 wraps to INT32_MIN: less any zero point it would leave 32 bits.
    a = np.full((1, 1, 1, 1), -128, np.int8)
    assert_mul(library, a, a, (2**31 - 1, 17), 0, 0, -128, (-128, 127))


@given(st.integers(1, 300), seeds)
def test_table(library, count, seed):
    rng = np.random.default_rng(seed)
    x, table = random_int8(rng, count), random_int8(rng, 256)
    expected = [int(table[int(v) + 128]) for v in x]
    seen = call(library.tml_table_s8, count, shape_struct("I", count), table, x)
    assert seen.tolist() == expected


def softmax(library, x: Array, real_scale: float) -> Array:
    """Softmax of int8 rows whose scale is ``real_scale``, by TFLite's preparation."""
    mantissa, shift = math.frexp(real_scale * 2**26)
    multiplier = min(round(mantissa * 2**31), 2**31 - 1)
    radius = math.floor((2**5 - 1) * 2 ** (31 - 5) / 2.0**shift)
    rows, depth = x.shape
    blob = record([multiplier, shift, -radius])
    seen = call(library.tml_softmax_s8, x.size, shape_struct("2I", rows, depth), blob, x)
    return seen.reshape(x.shape)


@given(
    st.integers(1, 3),
    st.one_of(st.integers(1, 40), st.sampled_from([511, 512, 513, 4095, 4096, 8191])),
    st.floats(0.004, 2.0),
    st.sampled_from([1, 4, 128]),
    seeds,
)
def test_softmax_is_within_one_of_the_reals(library, rows, depth, scale, spread, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-spread, spread, (rows, depth)).astype(np.int8)
    reals = np.exp(scale * (x.astype(float) - x.max(axis=1, keepdims=True)))
    reals /= reals.sum(axis=1, keepdims=True)
    off = softmax(library, x, scale) - np.clip(reals * 256 - 128, -128, 127)
    assert np.abs(off).max() <= 1.0


@pytest.mark.parametrize(
    ("depth", "expected"), [(1, 127), (256, -127), (511, -127), (512, -128), (8191, -128)]
)
def test_softmax_of_equal_elements(library, depth, expected):
    """From 512 on, gemmlowp's last shift is 32 and more, which C leaves undefined."""
    for value in (-128, 0, 127):
        assert set(softmax(library, np.full((1, depth), value, np.int8), 0.1).ravel()) == {expected}


def test_softmax_ends_on_a_malformed_record(library):
    x = np.zeros((1, 4), np.int8)
    blob = record([2**30, 5, 1])  # not even the maximum reaches this smallest difference
    seen = call(library.tml_softmax_s8, 4, shape_struct("2I", 1, 4), blob, x)
    assert seen.tolist() == [256 // 4 - 128] * 4


@given(st.data(), seeds)
def test_pad(library, data, seed):
    dims, before, after = (
        [data.draw(st.integers(low, high)) for _ in range(4)]
        for low, high in ((1, 4), (0, 3), (0, 3))
    )
    value = data.draw(int8)
    x = random_int8(np.random.default_rng(seed), *dims)
    expected = np.pad(x, list(zip(before, after, strict=True)), constant_values=value)
    shape = shape_struct("12H", *dims, *before, *after)
    seen = call(library.tml_pad_s8, expected.size, shape, record([value]), x)
    np.testing.assert_array_equal(seen, expected.ravel())


@given(st.lists(st.integers(1, 5), min_size=4, max_size=4), st.permutations(range(4)), seeds)
def test_transpose(library, dims, order, seed):
    x = random_int8(np.random.default_rng(seed), *dims)
    moved = np.transpose(x, order)
    shape = shape_struct("4H4I", *moved.shape, *moved.strides)
    seen = call(library.tml_transpose_s8, x.size, shape, x)
    np.testing.assert_array_equal(seen, moved.ravel())


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 3), st.integers(0, 3), seeds)
def test_copy_rows(library, rows, length, skip, gap, seed):
    """Columns ``skip ..`` of a matrix go into columns ``gap ..`` of a wider one."""
    wide = length + skip + 2
    x = random_int8(np.random.default_rng(seed), rows, wide)
    target = length + gap
    shape = shape_struct("6I", rows, length, skip, wide, gap, target)
    seen = call(library.tml_copy_rows_s8, rows * target, shape, x).reshape(rows, target)
    np.testing.assert_array_equal(seen[:, gap:], x[:, skip : skip + length])
    assert (seen[:, :gap] == 0x5A).all()
