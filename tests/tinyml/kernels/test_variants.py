# SPDX-License-Identifier: Apache-2.0
"""Every kernel of every instruction set, called through ctypes, equals the integer reference: as a
whole, and row by row through ring buffers. Scratch memory and outputs have guard bytes.

The fast kernels run here in the plain C that they hold beside their assembly; on the emulated cores
tests/tinyml/runtimes/test_kernels.py runs them as they are.
"""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.tinyml.single_op import activation, weights_and_bias
from tinyml.ir.tensor import Array
from tinyml.kernels import ISAS, OPTIMISE, Variant, applicable, choose, narrowed
from tinyml.kernels.choose import candidates
from tinyml.kernels.cost import code_bytes, predicted
from tinyml.kernels.layer import Layer
from tinyml.kernels.variants import VARIANTS
from tinyml.ops import Activation, Conv2D, DepthwiseConv2D, FullyConnected, Window
from tinyml.ops.weighted import Weighted
from tinyml.runtimes.build import firmware_root

GUARD = 64
WINDOW_FIELDS = (
    *("input_h", "input_w", "input_c", "output_h", "output_w", "output_c"),
    *("input_ring", "output_ring", "kernel_h", "kernel_w", "stride_h", "stride_w"),
    *("dilation_h", "dilation_w", "pad_top", "pad_left"),
)

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    kernels = firmware_root() / "kernels"
    path = tmp_path_factory.mktemp("kernels") / "kernels.so"
    command = ["cc", "-std=c11", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    command += ["-Wconversion", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    command += [f"-I{firmware_root() / 'include'}", f"-I{kernels / 'common'}"]
    sources = {p for f in ("portable", "dsp", "mve", "riscv") for p in (kernels / f).glob("*.c")}
    subprocess.run([*command, *map(str, sorted(sources)), "-o", str(path)], check=True)
    return ctypes.CDLL(str(path))


class Program:
    """A layer given to one kernel."""

    def __init__(self, library: ctypes.CDLL, variant: Variant, layer: Layer) -> None:
        self.function = getattr(library, variant.kernel)
        self.kind, self.fields = variant.shape(layer)
        header = [layer.input_zero_point, layer.output_zero_point, layer.low, layer.high]
        record = struct.pack("<4i", *header)
        for part in variant.parts(layer):
            record += np.ascontiguousarray(part).tobytes()
            record += bytes(-len(record) % 4)
        self.record = np.frombuffer(record, np.uint8).copy()
        self.scratch_bytes = variant.scratch(layer)
        self.takes_scratch = variant.takes_scratch
        self.takes_rows = variant.takes_rows

    def run(self, x: Array, y: Array, rows: tuple[int, int], **rings: int) -> None:
        """Calls the kernel once on flat arrays."""
        if self.kind == "tml_window_t":
            fields = dict.fromkeys(("pad_top", "pad_left"), 0) | dict(self.fields) | rings
            shape = struct.pack("@8H8B", *(fields[name] for name in WINDOW_FIELDS))
            arguments: list[object] = [ctypes.c_int(y) for y in rows] if self.takes_rows else []
        else:
            names = ("rows", "inputs", "outputs")
            shape = struct.pack("@3H", *(self.fields[n] for n in names))
            arguments = []
        held = np.frombuffer(shape, np.uint8).copy()
        scratch = np.full(self.scratch_bytes + 2 * GUARD, 0x5A, np.uint8)
        if self.takes_scratch:
            arguments.append(ctypes.c_void_p(scratch.ctypes.data + GUARD))
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (held, self.record, x, y)]
        self.function(*pointers, *arguments)
        ends = np.concatenate([scratch[:GUARD], scratch[GUARD + self.scratch_bytes :]])
        assert (ends == 0x5A).all(), "wrote outside its scratch memory"


def guarded(size: int) -> tuple[Array, Array]:
    """An int8 array, and the same with its guards."""
    whole = np.full(size + 2 * GUARD, 0x5A, np.int8)
    return whole[GUARD : GUARD + size], whole


@st.composite
def weighted(draw: st.DrawFn) -> tuple[Weighted, list, int]:
    """An operator, its tensors and a seed. Kernels have their seams at 4 and 16."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    channels = draw(st.one_of(st.integers(1, 9), st.sampled_from([12, 15, 16, 17, 24, 32, 40])))
    outputs = draw(st.integers(1, 9))
    fused = draw(st.sampled_from([Activation.NONE, Activation.RELU]))
    scale, zero = 0.05, draw(st.integers(-128, 127))
    kind = draw(st.sampled_from([Conv2D, DepthwiseConv2D, FullyConnected]))
    if kind is FullyConnected:
        x = activation("x", (draw(st.integers(1, 6)), channels), scale, zero)
        constants = weights_and_bias(rng, (outputs, channels), 0, scale)
        return FullyConnected(fused), [x, *constants], seed
    height, width = draw(st.integers(1, 9)), draw(st.one_of(st.integers(1, 12), st.just(1)))
    kernels = [(1, 1), (3, 3), (3, 3), (2, 3), (5, 5), (1, 4), (3, 1), (9, 1)]
    kernel = draw(st.sampled_from(kernels))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2)]))
    pads = tuple(draw(st.integers(0, (k - 1) * d)) for k, d in zip(kernel, dilation, strict=True))
    window = Window(kernel, stride, dilation, (pads[0], pads[0], pads[1], pads[1]))
    rows, cols = window.extent
    assume(height + 2 * pads[0] >= rows and width + 2 * pads[1] >= cols)
    x = activation("x", (1, height, width, channels), scale, zero)
    if kind is Conv2D:
        constants = weights_and_bias(rng, (outputs, *kernel, channels), 0, scale)
        return Conv2D(window, fused), [x, *constants], seed
    multiplier = draw(st.sampled_from([1, 1, 2, 3]))
    constants = weights_and_bias(rng, (1, *kernel, channels * multiplier), 3, scale)
    return DepthwiseConv2D(window, fused), [x, *constants], seed


@needs_compiler
@settings(max_examples=150, deadline=None)
@given(case=weighted(), data=st.data())
def test_kernels_equal_the_reference(library, case, data):
    op, ins, seed = case
    out = activation("out", op.infer([t.shape for t in ins]), 0.3, data.draw(st.integers(-9, 9)))
    layer = op.c_layer(ins, out)
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, ins[0].shape).astype(np.int8)
    expected = op.run_int([x, ins[1].data, ins[2].data], ins, out)
    variants = {v for isa in ISAS for v in applicable(layer, isa)}
    assert len(variants) > 1
    for variant in variants:
        program = Program(library, variant, layer)
        y, whole = guarded(out.elements)
        rows = program.fields.get("output_h", 1)
        # What lies around the input is known: a read beside it is a wrong result each time.
        held, _ = guarded(x.size)
        held[:] = x.ravel()
        program.run(held, y, (0, rows))
        np.testing.assert_array_equal(y.reshape(out.shape), expected, variant.kernel)
        assert (whole[:GUARD] == 0x5A).all()
        assert (whole[GUARD + out.elements :] == 0x5A).all()
        if variant.in_place(layer):
            lower = data.draw(st.integers(0, x.size)) if variant.in_order else 0
            both, _ = guarded(lower + x.size)
            both[lower:] = x.ravel()
            program.run(both[lower:], both, (0, rows))
            over = both[: out.elements].reshape(out.shape)
            np.testing.assert_array_equal(over, expected, f"{variant.kernel} in place")
        if layer.kind != "fully_connected":
            by_rows(program, op, x[0], expected[0], data)


def by_rows(program: Program, op: Weighted, x: Array, expected: Array, data: st.DataObject) -> None:
    """A few output rows at a time, from a ring of input rows into a ring of output rows."""
    window = getattr(op, "window")  # noqa: B009
    together = data.draw(st.integers(1, 3))
    need = window.extent[0] + (together - 1) * window.stride[0]
    ring = min(x.shape[0], need + data.draw(st.integers(0, 2)))
    output_ring = min(expected.shape[0], together + data.draw(st.integers(0, 1)))
    inputs = np.zeros((ring, *x.shape[1:]), np.int8)
    outputs, _ = guarded(output_ring * expected[0].size)
    for first in range(0, expected.shape[0], together):
        last = min(first + together, expected.shape[0])
        top = first * window.stride[0] - window.padding[0]
        bottom = (last - 1) * window.stride[0] - window.padding[0] + window.extent[0]
        for y in range(max(top, 0), min(bottom, x.shape[0])):
            inputs[y % ring] = x[y]
        program.run(inputs, outputs, (first, last), input_ring=ring, output_ring=output_ring)
        seen = outputs.reshape(output_ring, *expected.shape[1:])
        for y in range(first, last):
            np.testing.assert_array_equal(seen[y % output_ring], expected[y])


def test_pixels_of_a_strided_column_are_neighbours(library):
    """One pixel a row: the step to the next is a row, whatever the stride along it."""
    rng = np.random.default_rng(0)
    op = Conv2D(Window((1, 1), stride=(1, 2)))
    ins = [
        activation("x", (1, 7, 1, 3), 0.05, 0),
        *weights_and_bias(rng, (5, 1, 1, 3), 0, 0.05),
    ]
    out = activation("out", (1, 7, 1, 5), 0.3, 0)
    layer = op.c_layer(ins, out)
    x = rng.integers(-128, 128, ins[0].shape).astype(np.int8)
    expected = op.run_int([x, ins[1].data, ins[2].data], ins, out)
    for variant in {v for isa in ISAS for v in applicable(layer, isa)}:
        held, _ = guarded(x.size)
        held[:] = x.ravel()
        y, _ = guarded(out.elements)
        Program(library, variant, layer).run(held, y, (0, 7))
        np.testing.assert_array_equal(y.reshape(out.shape), expected, variant.kernel)


def layer_of(channels: int, outputs: int) -> Layer:
    rng = np.random.default_rng(0)
    x = activation("x", (1, 8, 8, channels), 0.05, 0)
    op = Conv2D(Window((1, 1)))
    ins = [x, *weights_and_bias(rng, (outputs, 1, 1, channels), 0, 0.05)]
    return op.c_layer(ins, activation("out", (1, 8, 8, outputs), 0.3, 0))


@pytest.mark.parametrize("isa", [i for i in ISAS if i != "portable"])
def test_every_kernel_of_a_core_was_measured_and_the_cheapest_is_chosen(isa):
    layer = layer_of(32, 32)
    costs = {v: predicted(v, layer, isa) for v in applicable(layer, isa)}
    assert all(np.isfinite(c) and c > 0 for c in costs.values())
    assert costs[choose(layer, isa)] == min(costs.values())
    assert choose(layer, isa).isa == isa


def test_a_kernel_must_be_worth_its_code():
    rng = np.random.default_rng(0)
    x = activation("x", (1, 28, 28, 1), 0.05, 0)
    window = Window((3, 3), (2, 2), padding=(1, 1, 1, 1))
    ins = [x, *weights_and_bias(rng, (8, 3, 3, 1), 0, 0.05)]
    first = Conv2D(window).c_layer(ins, activation("out", (1, 14, 14, 8), 0.3, 0))
    small = [first, *[layer_of(32, 32)] * 2]
    fast, best, least = (narrowed(small, "dsp", goal) for goal in ("speed", "balanced", "size"))
    assert fast == "dsp"
    assert {choose(x, fast).kernel for x in small} == {
        "tml_depthwise_conv2d_s8_dsp",
        "tml_conv2d_s8_dsp",
    }
    assert {choose(x, best).kernel for x in small} == {"tml_conv2d_s8_dsp"}
    assert {choose(x, least).kernel for x in small} == {"tml_conv2d_s8"}
    # Alone, the first layer is worth its kernel.
    assert (
        choose(first, narrowed([first], "dsp", "balanced")).kernel == "tml_depthwise_conv2d_s8_dsp"
    )


def test_a_layer_that_may_run_row_by_row_keeps_the_kernel_of_its_rows():
    rng = np.random.default_rng(0)

    def dense(rows: int) -> Layer:
        ins = [activation("x", (rows, 24), 0.05, 0), *weights_and_bias(rng, (48, 24), 0, 0.05)]
        return FullyConnected().c_layer(ins, activation("out", (rows, 48), 0.3, 0))

    layers = [layer_of(32, 32), *[dense(64)] * 4, dense(1)]
    chosen = narrowed(layers, "dsp", "balanced")
    assert choose(dense(1), chosen).kernel == "tml_fully_connected_s8_dsp"


@pytest.mark.parametrize("isa", ISAS)
def test_what_a_model_does_without_still_leaves_every_layer_a_kernel(isa):
    layers = [layer_of(32, 32)]
    for goal in OPTIMISE:
        narrow = narrowed(layers, isa, goal)
        assert choose(layers[0], narrow) in candidates(layers[0], isa)
        assert code_bytes(choose(layers[0], narrow).kernel, isa) > 0
    assert narrowed([], isa, "size") == isa


def test_a_left_shift_falls_back_to_portable_c():
    layer = layer_of(8, 8)
    shift = layer.shift.copy()
    shift[3] = 1
    wide = Layer(**{**vars(layer), "shift": shift})
    for isa in ISAS:
        assert choose(wide, isa).kernel == "tml_conv2d_s8"


def test_names_of_variants_are_those_of_c():
    text = (firmware_root() / "include" / "tinyml" / "kernels.h").read_text()
    for variant in VARIANTS:
        assert f"void {variant.kernel}(" in text


@needs_compiler
@pytest.mark.parametrize("width", [3, 12, 24, 40])
def test_a_depthwise_convolution_of_every_way_of_holding_rows(library, width):
    """Images whose planes hold all rows, several output rows, or one window's."""
    rng = np.random.default_rng(width)
    x = activation("x", (1, width, width, 7), 0.05, -3)
    op = DepthwiseConv2D(Window((3, 3), padding=(1, 1, 1, 1)))
    ins = [x, *weights_and_bias(rng, (1, 3, 3, 7), 3, 0.05)]
    out = activation("out", x.shape, 0.3, -9)
    layer = op.c_layer(ins, out)
    pixels = rng.integers(-128, 128, x.shape).astype(np.int8)
    expected = op.run_int([pixels, ins[1].data, ins[2].data], ins, out)
    for variant in {v for isa in ISAS for v in applicable(layer, isa)}:
        held, _ = guarded(pixels.size)
        held[:] = pixels.ravel()
        y, _ = guarded(out.elements)
        program = Program(library, variant, layer)
        program.run(held, y, (0, width))
        np.testing.assert_array_equal(y.reshape(out.shape), expected, variant.kernel)
        if variant.in_place(layer):
            program.run(held, held, (0, width))
            np.testing.assert_array_equal(held.reshape(out.shape), expected, variant.kernel)
