# SPDX-License-Identifier: Apache-2.0
"""Groups that run by rows, as C: outputs, the trace of every layer, and instruction counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.firmware.hand_model import need
from tests.tinyml.plan.test_plan import Net, separable
from tests.tinyml.single_op import random_feeds
from tinyml.export import write_c_folder
from tinyml.ir import Graph
from tinyml.ir.execute import run
from tinyml.ops import Add, AveragePool2D, Concatenation, MaxPool2D, Mean, Relu6, Window
from tinyml.plan import plan_memory
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.targets import Target, list_targets, load_target
from tinyml.writers.c import worth_copying, write_c
from tinyml.writers.c.rows import _repeating


def branches() -> Graph:
    """Dilation, pooling, a residual, a concatenation and two outputs."""
    net = Net(1, (1, 21, 6, 4))
    same = Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    wide = replace(same, dilation=(2, 2), padding=(2, 2, 2, 2))
    a = net.apply(Add(), "x", net.conv(net.conv("x", 4, same), 4, wide))
    b = net.apply(MaxPool2D(Window((2, 2), (2, 2))), net.conv(a, 8, Window((1, 1))))
    c = net.apply(AveragePool2D(same), net.apply(Relu6(), b))
    d = net.apply(Concatenation(3), b, c)
    return net.done(net.depthwise(d, replace(same, stride=(2, 1))), c)


GRAPHS = {"separable": separable(32), "branches": branches()}


def assert_rows_equal_the_reference(graph: Graph, target: Target, folder: Path) -> None:
    plan = plan_memory(graph, target.isa)
    assert any(g.steps for g in plan.groups)
    folder.mkdir()
    write_c_folder(write_c(graph, plan, target.isa), graph.name, folder / "c")
    feeds = random_feeds(graph, np.random.default_rng(0), 2)
    program = build_program(folder / "c", graph.name, target, folder / "b", trace=True)
    count = target.qemu is not None
    seen = run_program(program, target, graph, feeds, trace=True, count=count)
    for index, feed in enumerate(feeds):
        expected = run(graph, feed)
        for name, array in zip(graph.outputs, seen.outputs[index], strict=True):
            np.testing.assert_array_equal(array, expected[name])
        for node, array in zip(graph.nodes, seen.traces[index], strict=True):
            whole = expected[node.output]
            assert array.size > 0.9 * whole.size
            np.testing.assert_array_equal(array.ravel(), whole.ravel()[: array.size], node.name)
    if count:
        assert len(seen.node_instructions) == len(graph.nodes)
        assert sum(seen.node_instructions) <= seen.instructions[0]
        assert all(n > 0 for n in seen.node_instructions)


@pytest.mark.parametrize("name", GRAPHS)
def test_host_with_sanitizers(tmp_path, name):
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    strict = replace(load_target("host"), flags=flags)
    need(strict)
    assert_rows_equal_the_reference(GRAPHS[name], strict, tmp_path / "x")


@pytest.mark.parametrize("target", [t for t in list_targets() if t.qemu], ids=lambda t: t.name)
def test_emulated(tmp_path, target):
    need(target)
    for name, graph in GRAPHS.items():
        assert_rows_equal_the_reference(graph, target, tmp_path / name)


def test_the_repeating_middle_is_stored_once():
    order = [0, 1, *[2, 3, 3, 4] * 9, 2, 5]
    start, period, rounds = _repeating(order)
    assert (period, rounds) == (4, 9)
    unrolled = [*order[:start], *order[start : start + period] * rounds]
    assert unrolled == order[: start + period * rounds]
    assert _repeating([0, 1, 2]) == (0, 3, 1)


def test_rows_from_the_last_to_the_first(tmp_path):
    net, same = Net(0, (1, 24, 4, 8)), Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    x = "x"
    for _ in range(4):
        x = net.depthwise(x, same)
    graph = net.done(net.apply(Mean(), x))
    steps = [g.steps for g in plan_memory(graph).groups if len(g.steps) == 24]
    if not any(s[0].row == 23 for s in steps):
        pytest.skip("the plan needs no group of that kind")
    host = load_target("host")
    need(host)
    assert_rows_equal_the_reference(graph, host, tmp_path / "x")


def test_activations_in_two_memories(tmp_path):
    target, graph = load_target("cortex-m4"), GRAPHS["separable"]
    need(target)
    plan = plan_memory(graph, target.isa, regions=(4096, 8192))
    assert plan.extra_bytes[0] > 0
    model = write_c(graph, plan, target.isa, ["dtcm", "sram"])
    write_c_folder(model, graph.name, tmp_path / "c")
    assert 'section(".bss.tml_sram")' in model.files["net.c"]
    feeds = random_feeds(graph, np.random.default_rng(0), 2)
    program = build_program(tmp_path / "c", graph.name, target, tmp_path / "b")
    assert program.memory.static == plan.extra_bytes[0]
    for feed, seen in zip(feeds, run_program(program, target, graph, feeds).outputs, strict=True):
        for name, array in zip(graph.outputs, seen, strict=True):
            np.testing.assert_array_equal(array, run(graph, feed)[name])


@pytest.mark.parametrize("budget", [0, 700, 100_000])
def test_weights_are_copied_from_slow_flash_within_the_budget(tmp_path, budget):
    target, graph = load_target("cortex-m4"), GRAPHS["separable"]
    need(target)
    plan = plan_memory(graph, target.isa, copies=worth_copying(graph, target.isa, budget))
    assert all(sum(g.copies.values()) <= budget for g in plan.groups)
    copied = sum(len(g.copies) for g in plan.groups)
    assert copied == {0: 0, 100_000: len(graph.nodes)}.get(budget, copied)
    model = write_c(graph, plan, target.isa, slow_weights=True)
    assert model.files["net.c"].count("(const int8_t *)(weights") == copied
    assert 'section(".rodata.tml_slow")' in model.files["net_weights.c"]
    write_c_folder(model, graph.name, tmp_path / "c")
    feeds = random_feeds(graph, np.random.default_rng(0), 2)
    program = build_program(tmp_path / "c", graph.name, target, tmp_path / "b")
    assert program.memory.weights == len(model.weights)
    for feed, seen in zip(feeds, run_program(program, target, graph, feeds).outputs, strict=True):
        for name, array in zip(graph.outputs, seen, strict=True):
            np.testing.assert_array_equal(array, run(graph, feed)[name])
