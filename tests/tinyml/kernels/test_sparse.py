# SPDX-License-Identifier: Apache-2.0
"""Kernels of pruned layers equal the integer reference; the compiler takes them where they pay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.firmware.hand_model import need
from tests.tinyml.single_op import activation, random_feeds, weights_and_bias
from tinyml.errors import TargetError
from tinyml.export import write_c_folder
from tinyml.ir import Graph, Node, Operator, Tensor
from tinyml.ir.execute import outputs
from tinyml.ir.tensor import Array
from tinyml.kernels import Layer, Variant, choose
from tinyml.kernels.sparse import SPARSE, in_chunks, with_stops
from tinyml.ops import Activation, Conv2D, FullyConnected, Window, weighted
from tinyml.plan import plan_memory
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.targets import Target, load_target
from tinyml.writers.c import write_c

FORMS = ("bitmap", "gaps", "blocks", "blocks_dsp")


def pruned(weights: Array, keep: float, rng: np.random.Generator) -> Array:
    return np.where(rng.random(weights.shape) < keep, weights, 0).astype(np.int8)


def sparse_bouquet(seed: int, count: int) -> Graph:
    """Random pruned layers side by side: empty channels, long gaps, padding, strides, dilation."""
    rng = np.random.default_rng(seed)
    graph = Graph("sparse", {}, [], [], [])

    def integer(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    def place(op: Operator, x: Tensor, shape: tuple[int, ...], keep: float) -> None:
        weights, bias = weights_and_bias(rng, shape, 0, x.q.s)
        data = pruned(weights.values, keep, rng)
        if integer(0, 2) == 0:
            data[integer(0, shape[0] - 1)] = 0
        ins = [x, replace(weights, data=data), bias]
        names = [graph.add(replace(t, name=f"{t.name}_{len(graph.nodes)}")) for t in ins]
        out = activation(f"y_{len(graph.nodes)}", op.infer([t.shape for t in ins]), 0.4, -7)
        graph.add(out)
        graph.inputs.append(names[0])
        graph.outputs.append(out.name)
        graph.nodes.append(Node(op, tuple(names), out.name, f"layer {len(graph.nodes)}"))

    for index in range(count):
        keep = (0.02, 0.1, 0.5, 1.0)[integer(0, 3)]
        fused = Activation.RELU if integer(0, 2) == 0 else Activation.NONE
        scale, zero = float(rng.uniform(0.01, 0.2)), integer(-128, 127)
        if index % 2:
            length = integer(1, 40) if integer(0, 2) else integer(250, 1300)
            x = activation("x", (integer(1, 3), length), scale, zero)
            place(FullyConnected(fused), x, (integer(1, 9), length), keep)
            continue
        height, width, channels = integer(1, 6), integer(1, 6), integer(1, 13)
        x = activation("x", (1, height, width, channels), scale, zero)
        kernel = (
            (1, 1) if integer(0, 1) else (integer(1, min(height, 3)), integer(1, min(width, 3)))
        )
        pads = tuple(integer(0, k - 1) for k in (kernel[0], kernel[0], kernel[1], kernel[1]))
        dilation = (integer(1, 2), integer(1, 2)) if min(height, width) > 5 else (1, 1)
        window = Window(kernel, (integer(1, 2), integer(1, 2)), dilation, pads)  # type: ignore[arg-type]
        place(Conv2D(window, fused), x, (integer(1, 9), *kernel, channels), keep)
    graph.check()
    return graph


def force(form: str) -> Callable[[Layer, str], Variant]:
    """A choice of one form."""

    def chosen(layer: Layer, isa: str) -> Variant:
        name = f"tml_{layer.kind}_s8_{form}"
        variant = next(v for v in SPARSE if v.kernel == name)
        assert variant.applies(layer)
        return variant

    return chosen


def assert_equal(target: Target, graph: Graph, folder: Path) -> None:
    write_c_folder(write_c(graph, plan_memory(graph)), graph.name, folder / "c")
    program = build_program(folder / "c", graph.name, target, folder / "build")
    feeds = random_feeds(graph, np.random.default_rng(0), 3)
    run = run_program(program, target, graph, feeds)
    for feed, seen in zip(feeds, run.outputs, strict=True):
        for node, a, b in zip(graph.nodes, seen, outputs(graph, feed), strict=True):
            np.testing.assert_array_equal(a, b, f"{node.name} on {target.name}")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_equal_on_the_host_with_sanitizers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, seed: int
):
    monkeypatch.setattr(weighted, "choose", force(form))
    host = load_target("host")
    need(host)
    strict = replace(
        host,
        flags=("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    )
    assert_equal(strict, sparse_bouquet(seed, 40), tmp_path)


@pytest.mark.parametrize(
    ("board", "form"),
    [
        ("cortex-m4", "gaps"),
        ("cortex-m4", "blocks_dsp"),
        ("cortex-m4", "bitmap"),
        ("cortex-m0", "blocks"),
        ("cortex-m0", "bitmap"),
        ("riscv32", "gaps"),
    ],
)
def test_equal_on_boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: str, form: str):
    target = load_target(board)
    need(target)
    monkeypatch.setattr(weighted, "choose", force(form))
    assert_equal(target, sparse_bouquet(9, 24), tmp_path)


def layer_of(kept: float, *, taps: int = 256, block: int = 1, outputs: int = 32) -> Layer:
    rng = np.random.default_rng(0)
    x = activation("x", (1, taps), 0.05, 3)
    weights, bias = weights_and_bias(rng, (outputs, taps), 0, 0.05, scale_range=(0.01, 0.011))
    mask = np.repeat(rng.random((outputs, taps // block)) < kept, block, axis=1)
    data = np.where(mask, weights.values, 0).astype(np.int8)
    return FullyConnected().c_layer(
        [x, replace(weights, data=data), bias], activation("y", (1, outputs), 0.5, 0)
    )


@pytest.mark.parametrize("core", ["portable", "dsp", "rv32"])
def test_the_choice_follows_density(core: str):
    assert "blocks" not in choose(layer_of(1.0), core).kernel
    full, thin = choose(layer_of(1.0), core), choose(layer_of(0.03), core)
    assert full not in SPARSE
    assert thin in SPARSE
    assert thin.record_bytes(layer_of(0.03)) * 4 < full.record_bytes(layer_of(0.03))
    # What is sparse at some density is sparse at every lower one.
    chosen = [choose(layer_of(d), core) in SPARSE for d in (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)]
    assert chosen == sorted(chosen, reverse=True)


def test_blocks_are_taken_for_weights_pruned_in_blocks():
    assert "blocks" in choose(layer_of(0.15, block=4), "dsp").kernel
    assert layer_of(0.15, block=4).density == pytest.approx(0.15, abs=0.02)


def test_the_user_decides():
    thin = layer_of(0.03)
    assert choose(thin, "dsp/off") not in SPARSE
    half = layer_of(0.3)
    assert choose(half, "dsp") not in SPARSE
    assert choose(half, "dsp/flash") in SPARSE
    target = load_target("cortex-m4")
    assert target.with_sparse("off").isa == "dsp/off"
    assert target.with_sparse("auto").isa == "dsp"
    with pytest.raises(TargetError, match="cannot be 'often'"):
        target.with_sparse("often")


def test_the_choice_does_not_depend_on_the_number_of_pixels():
    """Parts of a layer that run row by row must find one record."""
    rng = np.random.default_rng(0)
    weights, bias = weights_and_bias(rng, (16, 1, 1, 64), 0, 0.05)
    data = pruned(weights.values, 0.08, rng)
    kernels = set()
    for height in (1, 2, 7, 30):
        x = activation("x", (1, height, 9, 64), 0.05, 3)
        op = Conv2D(Window((1, 1)))
        layer = op.c_layer(
            [x, replace(weights, data=data), bias], activation("y", (1, height, 9, 16), 0.5, 0)
        )
        kernels.add(choose(layer, "dsp").kernel)
    assert len(kernels) == 1


@pytest.mark.parametrize("count", [0, 1, 254, 255, 256, 510, 700])
def test_chunks_say_how_many_follow(count: int):
    entries = np.random.default_rng(count).integers(0, 256, (count, 2)).astype(np.uint8)
    data, found = in_chunks(entries).tolist(), []
    while True:
        here = data.pop(0)
        found += [data.pop(0) for _ in range(2 * here)]
        if here < 255:
            break
    assert data == [] and found == entries.ravel().tolist()


@pytest.mark.parametrize(
    ("positions", "stops"),
    [
        ([], []),
        ([0], [0]),
        ([255], [255]),
        ([256], [255, 256]),
        ([3, 700], [3, 258, 513, 700]),
    ],
)
def test_long_gaps_have_stops(positions: list[int], stops: list[int]):
    values = np.zeros((800, 1), np.int64)
    values[positions] = 5
    where, found = with_stops(np.array(positions, np.int64), values)
    assert where.tolist() == stops
    assert [int(v) for v in found.ravel()] == [5 if p in positions else 0 for p in stops]
