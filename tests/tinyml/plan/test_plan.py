# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.tinyml.single_op import activation
from tinyml.ir import Graph, Node
from tinyml.ops import Add, Concatenation, Relu6, Reshape
from tinyml.ops.table import Table
from tinyml.passes import C_PASSES, run_passes
from tinyml.plan import live_buffers, plan_memory


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random directed graphs of additions, concatenations and functions over (1, n) tensors."""
    graph = Graph("random", {}, [], ["x"], [])
    graph.tensors["x"] = activation("x", (1, draw(st.integers(1, 50))), 0.1, 0)
    names = ["x"]
    for index in range(draw(st.integers(1, 12))):
        first = draw(st.sampled_from(names))
        second = draw(st.sampled_from(names))
        shapes = graph.tensors[first].shape, graph.tensors[second].shape
        if shapes[0] == shapes[1] and draw(st.booleans()):
            op, inputs = Add(), (first, second)
        elif draw(st.booleans()):
            op, inputs = Concatenation(1), (first, second)
        else:
            op, inputs = Relu6(), (first,)
        shape = op.infer([graph.tensors[i].shape for i in inputs])
        name = f"t{index}"
        graph.tensors[name] = activation(name, shape, 0.1, 0)
        graph.nodes.append(Node(op, inputs, name, name))
        names.append(name)
    graph.outputs = sorted({names[-1], draw(st.sampled_from(names[1:]))})
    graph.sweep()
    graph.tensors.setdefault("x", activation("x", (1, 1), 0.1, 0))
    graph.check()
    return run_passes(graph, C_PASSES)


@given(graph=graphs())
def test_live_buffers_never_overlap_and_fill_the_arena(graph):
    plan = plan_memory(graph)
    assert plan.arena_bytes >= plan.lower_bound
    for i, a in enumerate(plan.buffers):
        start = plan.offsets[a.tensors[0]]
        assert start % 16 == 0
        assert start + a.size <= plan.arena_bytes
        for b in plan.buffers[i + 1 :]:
            other = plan.offsets[b.tensors[0]]
            if a.overlaps(b):
                assert start + a.size <= other or other + b.size <= start


@given(graph=graphs())
def test_every_activation_is_placed_once(graph):
    buffers = live_buffers(graph, "portable")
    placed = [t for b in buffers for t in b.tensors]
    expected = set(graph.inputs) | {n.output for n in graph.nodes}
    assert sorted(placed) == sorted(expected)


@given(graph=graphs())
def test_a_simulated_run_in_the_arena_equals_the_reference(graph):
    """Runs the graph with real bytes at the planned offsets."""
    plan = plan_memory(graph)
    arena = np.zeros(plan.arena_bytes, np.int8)
    rng = np.random.default_rng(0)
    values = {}

    def store(name: str, data: np.ndarray) -> None:
        values[name] = data
        offset = plan.offsets[name]
        arena[offset : offset + data.size] = data.ravel()

    def load(name: str) -> np.ndarray:
        tensor = graph.tensors[name]
        offset = plan.offsets[name]
        return arena[offset : offset + tensor.elements].reshape(tensor.shape).copy()

    for name in graph.inputs:
        store(name, rng.integers(-128, 128, graph.tensors[name].shape).astype(np.int8))
    for node in graph.nodes:
        ins, out = graph.ins(node), graph.out(node)
        arrays = [t.data if t.data is not None else load(t.name) for t in ins]
        exact = [t.data if t.data is not None else values[t.name] for t in ins]
        expected = node.op.run_int(exact, ins, out)
        np.testing.assert_array_equal(node.op.run_int(arrays, ins, out), expected)
        store(node.output, expected)
    for name in graph.outputs:
        np.testing.assert_array_equal(load(name), values[name])


def test_a_dying_input_is_reused_and_a_reshape_costs_nothing():
    table = activation("t", (256,), 0.1, 0)
    table = type(table)("t", (256,), table.dtype, table.quant, np.zeros(256, np.int8))
    graph = Graph(
        "chain",
        {
            "x": activation("x", (1, 64), 0.1, 0),
            "t": table,
            "a": activation("a", (1, 64), 0.1, 0),
            "b": activation("b", (1, 64), 0.1, 0),
            "c": activation("c", (8, 8), 0.1, 0),
        },
        [
            Node(Table(), ("x", "t"), "a", "a"),
            Node(Table(), ("a", "t"), "b", "b"),
            Node(Reshape((8, 8)), ("b",), "c", "c"),
        ],
        ["x"],
        ["c"],
    )
    plan = plan_memory(graph)
    # The input is the caller's; everything after shares one buffer.
    assert plan.arena_bytes == 128
    assert plan.offsets["a"] == plan.offsets["b"] == plan.offsets["c"]
