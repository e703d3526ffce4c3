# SPDX-License-Identifier: Apache-2.0
"""Attention fused, convolutions along a sequence, and rows of both: the same integers in C."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.firmware.hand_model import need
from tests.tinyml.single_op import activation, ids, weights_and_bias, wide
from tinyml.export import write_c_folder
from tinyml.ir import Graph, Node
from tinyml.ir.execute import outputs
from tinyml.ops import (
    Attention,
    BatchMatMul,
    DepthwiseConv2D,
    MaskedSoftmax,
    Requantise,
    Reshape,
    SequenceConv,
    Window,
)
from tinyml.passes import C_PASSES, run_passes
from tinyml.passes.drop_image_axes import DropImageAxes
from tinyml.passes.fuse_attention import FuseAttention
from tinyml.plan import plan_memory
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.targets import Target, load_target
from tinyml.writers.c import write_c


def attention(queries: int, keys: int, depth: int, *, same_scale: bool = True) -> Graph:
    """Scores, masked softmax, keys as int16, context; queries and keys are inputs."""
    graph = Graph("attend", {}, [], ["q", "z", "ids"], ["out"])
    made = [
        activation("q", (1, queries, depth), 0.04, -9),
        activation("z", (1, keys, depth), 0.02, 5),
        ids("ids", (1, keys)),
        activation("scores", (1, queries, keys), 0.1, 11),
        wide("attended", (1, queries, keys), 1 / 32768),
        wide("wide", (1, keys, depth), 0.02 if same_scale else 0.001),
        wide("out", (1, queries, depth), 0.0001),
    ]
    graph.tensors = {t.name: t for t in made}
    graph.nodes = [
        Node(BatchMatMul(True), ("q", "z"), "scores", "scores"),
        Node(MaskedSoftmax(), ("scores", "ids"), "attended", "softmax"),
        Node(Requantise(), ("z",), "wide", "wide"),
        Node(BatchMatMul(), ("attended", "wide"), "out", "context"),
    ]
    graph.check()
    return graph


def feeds(graph: Graph, padding: tuple[int, ...]) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    made = []
    for count in padding:
        values: dict[str, np.ndarray] = {}
        for name in graph.inputs:
            shape = graph.tensors[name].shape
            if name == "ids":
                tokens = rng.integers(1, 5, shape).astype(np.int32)
                tokens[:, shape[1] - count :] = 0
                values[name] = tokens
            else:
                info = np.iinfo(graph.tensors[name].dtype.numpy)
                drawn = rng.integers(info.min, info.max + 1, shape)
                values[name] = drawn.astype(info.dtype)
        made.append(values)
    extreme = {
        n: np.full_like(a, np.iinfo(a.dtype).min if n != "ids" else 1) for n, a in made[0].items()
    }
    return [*made, extreme]


def assert_c_equals(graph: Graph, target: Target, folder: Path, padding: tuple[int, ...]) -> Graph:
    c_graph = run_passes(graph, C_PASSES)
    plan = plan_memory(c_graph, target.isa)
    write_c_folder(write_c(c_graph, plan, target.isa), graph.name, folder / "c")
    given = feeds(graph, padding)
    program = build_program(folder / "c", graph.name, target, folder / "build")
    seen = run_program(program, target, c_graph, given).outputs
    for values, found in zip(given, seen, strict=True):
        for a, b in zip(found, outputs(graph, values), strict=True):
            np.testing.assert_array_equal(a, b)
    return c_graph


SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.parametrize("sizes", [(5, 7, 12), (1, 257, 3), (9, 9, 128)])
def test_fused_on_the_host(tmp_path: Path, sizes: tuple[int, int, int]):
    graph = attention(*sizes)
    host = replace(load_target("host"), flags=SANITIZED)
    c_graph = assert_c_equals(graph, host, tmp_path, (0, 1, sizes[1] - 1, sizes[1]))
    assert [type(n.op) for n in c_graph.nodes] == [Attention]


@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m55", "riscv32"])
@pytest.mark.parametrize("sizes", [(6, 40, 20), (3, 41, 24), (4, 9, 48)])
def test_fused_on_boards(tmp_path: Path, name: str, sizes: tuple[int, int, int]):
    target = load_target(name)
    need(target)
    keys = sizes[1]
    assert_c_equals(attention(*sizes), target, tmp_path, (0, 1, keys - 6, keys - 1, keys))


@pytest.mark.parametrize("feature", ["dsp", "mve"])
@pytest.mark.parametrize("sizes", [(3, 41, 24), (2, 257, 16), (4, 9, 48), (2, 3, 128)])
def test_fast_kernels_on_the_host(tmp_path: Path, feature: str, sizes: tuple[int, int, int]):
    """The plain C that they hold beside their instructions."""
    host = replace(load_target("host"), flags=SANITIZED, features=(feature,))
    keys = sizes[1]
    assert_c_equals(attention(*sizes), host, tmp_path, (0, 1, keys - 2, keys - 1, keys))


def test_what_may_not_be_fused_runs_unfused(tmp_path: Path):
    """Keys rounded on their way to int16; more keys than 32-bit sums hold."""
    for number, graph in enumerate([attention(3, 8, 4, same_scale=False), attention(2, 258, 4)]):
        c_graph = assert_c_equals(graph, load_target("host"), tmp_path / str(number), (3,))
        assert not any(isinstance(n.op, Attention) for n in c_graph.nodes)


def test_scores_that_others_read_are_kept():
    graph = attention(3, 8, 4)
    graph.outputs.append("scores")
    assert len(run_passes(graph, (FuseAttention(),)).nodes) == 4


def sequence(length: int, channels: int, kernel: int) -> Graph:
    """A causal convolution along z between reshapes, and attention over z beside it."""
    graph = attention(length, length, channels)
    rng = np.random.default_rng(3)
    weights, bias = weights_and_bias(rng, (1, kernel, 1, channels), 3, 0.02)
    window = Window((kernel, 1), padding=(kernel - 1, 0, 0, 0))
    image = (1, length, 1, channels)
    for tensor in (
        weights,
        bias,
        activation("image", image, 0.02, 5),
        activation("made", image, 0.05, -3),
        activation("line", (1, length, channels), 0.05, -3),
        activation("line2", (1, length, channels), 0.07, 4),
    ):
        graph.tensors[tensor.name] = tensor
    graph.nodes += [
        Node(Reshape(image), ("z",), "image", "image"),
        Node(DepthwiseConv2D(window), ("image", "weights", "bias"), "made", "conv"),
        Node(Reshape((1, length, channels)), ("made",), "line", "line"),
        Node(Requantise(), ("line",), "line2", "line2"),
    ]
    graph.outputs.append("line2")
    graph.check()
    return graph


def test_convolution_along_a_sequence(tmp_path: Path):
    graph = sequence(40, 16, 32)
    made = run_passes(graph, (DropImageAxes(),))
    assert [type(n.op) for n in made.nodes if not isinstance(n.op, BatchMatMul)] == [
        MaskedSoftmax,
        Requantise,
        SequenceConv,
        Requantise,
    ]
    host = replace(load_target("host"), flags=SANITIZED)
    assert_c_equals(graph, host, tmp_path, (0, 5, 39))


def test_convolution_along_a_sequence_on_a_board(tmp_path: Path):
    target = load_target("cortex-m4")
    need(target)
    assert_c_equals(sequence(36, 8, 32), target, tmp_path, (7,))
