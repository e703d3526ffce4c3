# SPDX-License-Identifier: Apache-2.0
"""Every kernel on every target equals the integer reference.

Many random operators stand side by side in one graph, so that one compilation and one run
covers them all.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.firmware.hand_model import need
from tests.tinyml.single_op import activation, random_feeds, weights_and_bias
from tinyml.export import write_c_folder
from tinyml.ir import Graph, Node, Operator, Tensor
from tinyml.ir.execute import outputs
from tinyml.kernels import ISAS
from tinyml.ops import (
    Activation,
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    HardSwish,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Pad,
    Reshape,
    Softmax,
    Sub,
    Transpose,
    Window,
)
from tinyml.passes import C_PASSES, run_passes
from tinyml.plan import plan_memory
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.targets import Target, list_targets, load_target
from tinyml.writers.c import write_c


def bouquet(seed: int, count: int, largest: int) -> Graph:
    """``count`` independent random operators with inputs of up to ``largest`` pixels a side.

    Where there is room, every third has enough channels that a 3x3 filter outgrows the columns
    which kernels gather.
    """
    rng = np.random.default_rng(seed)
    graph = Graph("bouquet", {}, [], [], [])

    def integer(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    def place(op: Operator, ins: list[Tensor], scale: float, zero: int) -> None:
        names = [graph.add(replace(t, name=f"{t.name}_{len(graph.nodes)}")) for t in ins]
        shape = op.infer([t.shape for t in ins])
        out = graph.add(activation(f"out_{len(graph.nodes)}", shape, scale, zero))
        graph.inputs += [n for n in names if not graph.tensors[n].is_constant]
        graph.outputs.append(out)
        graph.nodes.append(Node(op, tuple(names), out, f"{op.kind} {len(graph.nodes)}"))

    kinds = [
        *(Conv2D, DepthwiseConv2D, FullyConnected, MaxPool2D, AveragePool2D, Mean, Add, Sub),
        *(Mul, Softmax, Logistic, HardSwish, Reshape, Transpose, Pad, Concatenation),
    ]
    for index in range(count):
        kind = kinds[index % len(kinds)]
        height, width = integer(1, largest), integer(1, largest)
        many = largest > 5 and index % 3 == 0
        channels = integer(33, 40) if many else integer(1, 9)
        scale, zero = float(rng.uniform(0.01, 0.2)), integer(-128, 127)
        x = activation("x", (1, height, width, channels), scale, zero)
        fused = Activation.RELU if rng.random() < 0.3 else Activation.NONE
        kernel = (integer(1, min(height, 3)), integer(1, min(width, 3)))
        pads = (kernel[0] - 1, integer(0, kernel[0] - 1), kernel[1] - 1, integer(0, kernel[1] - 1))
        stride = (integer(1, 2), integer(1, 2))
        window = Window(kernel, stride, (1, 1), pads)
        dilated = replace(window, dilation=(integer(1, 2), integer(1, 2)))
        if kind is Conv2D:
            shape = (integer(1, 9), *kernel, channels)
            place(Conv2D(dilated, fused), [x, *weights_and_bias(rng, shape, 0, x.q.s)], 0.3, -9)
        elif kind is DepthwiseConv2D:
            shape = (1, *kernel, channels * integer(1, 2))
            constants = weights_and_bias(rng, shape, 3, x.q.s)
            place(DepthwiseConv2D(dilated, fused), [x, *constants], 0.2, 4)
        elif kind is FullyConnected:
            rows = activation("x", (integer(1, 3), integer(1, 40)), scale, zero)
            constants = weights_and_bias(rng, (integer(1, 9), rows.shape[1]), 0, scale)
            place(FullyConnected(fused), [rows, *constants], 0.5, -20)
        elif kind is MaxPool2D:
            place(MaxPool2D(window), [x], scale, zero)
        elif kind is AveragePool2D:
            place(AveragePool2D(Window(kernel, stride)), [x], scale, zero)
        elif kind in (Add, Sub, Mul):
            other = (1, 1, 1, channels) if rng.random() < 0.5 else x.shape
            y = activation("y", other, float(rng.uniform(0.01, 0.2)), integer(-128, 127))
            place(kind(fused), [x, y], 0.3, integer(-128, 127))
        elif kind is Mean:
            place(Mean(), [x], scale * 0.5, 3)
        elif kind in (Softmax, Logistic):
            place(kind(), [x], 1 / 256, -128)
        elif kind is HardSwish:
            place(HardSwish(), [x], scale, -60)
        elif kind is Reshape:
            place(Reshape((channels, height * width)), [x], scale, zero)
        elif kind is Transpose:
            place(Transpose(tuple(int(i) for i in rng.permutation(4))), [x], scale, zero)
        elif kind is Pad:
            widths = [tuple(integer(0, 2) for _ in range(4)) for _ in range(2)]
            place(Pad(widths[0], widths[1]), [x], scale, zero)
        else:
            y = activation("y", (1, height, width, integer(1, 4)), scale, zero)
            place(Concatenation(3), [x, y], scale, zero)
    graph.check()
    return graph


def assert_target_equals_reference(
    target: Target, folder: Path, seed: int, count: int, largest: int, isa: str
) -> None:
    graph = bouquet(seed, count, largest)
    c_graph = run_passes(graph, C_PASSES)
    folder.mkdir(exist_ok=True)
    model = write_c(c_graph, plan_memory(c_graph, isa), isa)
    write_c_folder(model, graph.name, folder / "c")
    feeds = random_feeds(graph, np.random.default_rng(seed), 3)
    program = build_program(folder / "c", graph.name, target, folder / "build")
    run = run_program(program, target, c_graph, feeds)
    for feed, seen in zip(feeds, run.outputs, strict=True):
        for node, a, b in zip(graph.nodes, seen, outputs(graph, feed), strict=True):
            np.testing.assert_array_equal(a, b, f"{node.name} on {target.name}")


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("seed", range(2))
def test_host_with_sanitizers(tmp_path, seed, isa):
    host = load_target("host")
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    strict = replace(host, flags=flags)
    assert_target_equals_reference(strict, tmp_path / "x", seed, 96, 9, isa)


@pytest.mark.parametrize("target", [t for t in list_targets() if t.qemu], ids=lambda t: t.name)
def test_emulated(tmp_path, target):
    need(target)
    # The micro:bit has 16 KiB of RAM.
    count, largest = (16, 5) if target.ram_bytes < 65536 else (96, 9)
    assert_target_equals_reference(target, tmp_path / "x", 7, count, largest, target.isa)


@pytest.mark.parametrize("target", list_targets(), ids=lambda t: t.name)
def test_softmax_of_many_equal_elements(tmp_path, target):
    """Results below one half; the last shift is 32 and more, which C leaves undefined."""
    need(target)
    graph = Graph("long", {}, [], [], [])
    for depth in (511, 512, 1500):
        name = graph.add(activation(f"in_{depth}", (1, depth), 0.1, 0))
        out = graph.add(activation(f"out_{depth}", (1, depth), 1 / 256, -128))
        graph.inputs.append(name)
        graph.outputs.append(out)
        graph.nodes.append(Node(Softmax(), (name,), out, out))
    graph.check()
    write_c_folder(write_c(graph, plan_memory(graph)), graph.name, tmp_path / "c")
    feed = {n: np.full(graph.tensors[n].shape, 3, np.int8) for n in graph.inputs}
    program = build_program(tmp_path / "c", graph.name, target, tmp_path / "build")
    seen = run_program(program, target, graph, [feed]).outputs[0]
    for a, b in zip(seen, outputs(graph, feed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_instruction_counts_are_deterministic(tmp_path):
    target = load_target("cortex-m4")
    need(target)
    graph = run_passes(bouquet(3, 16, 5), C_PASSES)
    write_c_folder(write_c(graph, plan_memory(graph)), graph.name, tmp_path / "c")
    feeds = random_feeds(graph, np.random.default_rng(0), 1)
    program = build_program(tmp_path / "c", graph.name, target, tmp_path / "b", trace=True)
    first = run_program(program, target, graph, feeds, trace=True, count=True)
    second = run_program(program, target, graph, feeds, trace=True, count=True)
    assert first.instructions == second.instructions
    assert first.node_instructions == second.node_instructions
    assert all(n > 0 for n in first.node_instructions if n)
    assert sum(first.node_instructions) <= first.instructions[0]


def test_memory_is_read_from_the_linker_map(tmp_path):
    target = load_target("cortex-m4")
    need(target)
    graph = run_passes(bouquet(3, 16, 5), C_PASSES)
    plan = plan_memory(graph)
    model = write_c(graph, plan)
    write_c_folder(model, graph.name, tmp_path / "c")
    memory = build_program(tmp_path / "c", graph.name, target, tmp_path / "b").memory
    assert memory.arena == plan.arena_bytes
    assert memory.weights == len(model.weights)
    assert 500 < memory.code < 50_000
