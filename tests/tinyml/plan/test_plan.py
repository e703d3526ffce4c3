# SPDX-License-Identifier: Apache-2.0
"""The plan holds the model: a run with real bytes at the planned places equals the reference."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.single_op import activation, weights_and_bias
from tinyml.errors import TargetError
from tinyml.ir import Graph, Node, Tensor
from tinyml.ir.execute import run
from tinyml.ops import (
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Mean,
    Relu6,
    Reshape,
    Slice,
    Softmax,
    Window,
)
from tinyml.ops.table import Table
from tinyml.passes import C_PASSES, run_passes
from tinyml.plan import Buffer, MemoryPlan, Shift, plan_memory
from tinyml.plan.allocate import place
from tinyml.plan.rows import row_bytes, row_form, row_rule

KINDS = ["conv", "depthwise", "max", "average", "add", "table", "concat", "mean"]


class Net:
    """An int8 image graph, node by node."""

    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph("net", {"x": activation("x", shape, 0.05, 3)}, [], ["x"], [])

    def apply(self, op, *inputs: str, constants: list[Tensor] | None = None) -> str:
        names = [*inputs, *(self.graph.add(t) for t in constants or [])]
        shape = op.infer([self.graph.tensors[n].shape for n in names])
        source = self.graph.tensors[inputs[0]]
        keeps = isinstance(op, MaxPool2D | AveragePool2D | Reshape | Relu6 | Concatenation)
        quant = source.q if keeps else activation("", (1,), 0.2, -4).q
        out = self.graph.add(
            replace(source, name=f"t{len(self.graph.nodes)}", shape=shape, quant=quant)
        )
        self.graph.nodes.append(Node(op, tuple(names), out, out))
        return out

    def conv(self, x: str, outputs: int, window: Window) -> str:
        shape = (outputs, *window.kernel, self.graph.tensors[x].shape[3])
        return self.apply(Conv2D(window), x, constants=weights_and_bias(self.rng, shape, 0, 0.05))

    def depthwise(self, x: str, window: Window) -> str:
        shape = (1, *window.kernel, self.graph.tensors[x].shape[3])
        return self.apply(
            DepthwiseConv2D(window), x, constants=weights_and_bias(self.rng, shape, 3, 0.05)
        )

    def done(self, *outputs: str) -> Graph:
        self.graph.outputs = list(outputs)
        self.graph.sweep()
        self.graph.check()
        return run_passes(self.graph, C_PASSES)


@st.composite
def images(draw: st.DrawFn) -> Graph:
    """Random image nets: windows of every stride and padding, branches, joins, reshapes."""
    net = Net(draw(st.integers(0, 99)), (1, draw(st.integers(1, 13)), draw(st.integers(1, 4)), 4))
    names = ["x"]
    for _ in range(draw(st.integers(1, 9))):
        x = draw(st.sampled_from(names[-3:]))
        height, width = net.graph.tensors[x].shape[1:3]
        rows, cols = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
        dilation = draw(st.integers(1, 2)) if (rows - 1) * 2 < height else 1
        reach = (rows - 1) * dilation
        pads = draw(st.integers(0, reach)), draw(st.integers(0, reach)), cols - 1, 0
        window = Window((rows, cols), (draw(st.integers(1, 2)), 1), (dilation, 1), pads)
        same = [n for n in names if net.graph.tensors[n].shape == net.graph.tensors[x].shape]
        kind = draw(st.sampled_from(KINDS))
        if kind == "conv":
            names.append(net.conv(x, draw(st.sampled_from([2, 4, 7])), window))
        elif kind == "depthwise":
            names.append(net.depthwise(x, window))
        elif kind == "max":
            names.append(
                net.apply(MaxPool2D(replace(window, dilation=(1, 1), padding=(0,) * 4)), x)
            )
        elif kind == "average":
            names.append(net.apply(AveragePool2D(Window((rows, cols))), x))
        elif kind == "add":
            names.append(net.apply(Add(), x, draw(st.sampled_from(same))))
        elif kind == "concat":
            other = draw(st.sampled_from(same))
            if net.graph.tensors[other].q == net.graph.tensors[x].q:
                names.append(net.apply(Concatenation(3), x, other))
        elif kind == "table":
            names.append(net.apply(Relu6(), x))
        elif draw(st.booleans()):
            names.append(net.apply(Mean(), x))
    if len(names) == 1:
        names.append(net.apply(Relu6(), "x"))
    extra = draw(st.sampled_from(names[1:]))
    return net.done(*dict.fromkeys([names[-1], extra]))


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


class Machine:
    """Executes a plan as generated C does, in one array of bytes."""

    def __init__(self, graph: Graph, plan: MemoryPlan) -> None:
        self.graph, self.plan = graph, plan
        sizes = (plan.arena_bytes, *plan.extra_bytes)
        self.memories = [np.full(size, 77, np.int8) for size in sizes]

    def view(self, name: str, shape: tuple[int, ...], skip: int = 0) -> np.ndarray:
        start = self.plan.offsets[name] + skip
        size = int(np.prod(shape))
        memory = self.memories[self.plan.regions.get(name, 0)]
        assert start >= 0
        assert start + size <= len(memory)
        return memory[start : start + size].reshape(shape)

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        for name, value in feeds.items():
            self.view(name, value.shape)[:] = value
        for group in self.plan.groups:
            if group.steps:
                self._rows(group)
                continue
            node = self.graph.nodes[group.first]
            ins, out = self.graph.ins(node), self.graph.out(node)
            arrays = [t.data if t.data is not None else self.view(t.name, t.shape) for t in ins]
            result = node.op.run_int([np.array(a) for a in arrays], ins, out)
            self.view(out.name, out.shape)[:] = result
        return [self.view(n, self.graph.tensors[n].shape).copy() for n in self.graph.outputs]

    def _rows(self, group) -> None:
        base = dict.fromkeys(group.lines, 0)
        for step in group.steps:
            if isinstance(step, Shift):
                size = row_bytes(self.graph.tensors[step.tensor])
                moved = self.view(step.tensor, (step.kept * size,), step.rows * size).copy()
                self.view(step.tensor, (step.kept * size,))[:] = moved
                base[step.tensor] += step.rows
                continue
            node = self.graph.nodes[step.node]
            rule = row_rule(self.graph, node)
            form = row_form(self.graph, node, rule, step.row)
            arrays = []
            for tensor, window in zip(form.ins, rule.windows, strict=True):
                if tensor.data is not None:
                    arrays.append(tensor.data)
                    continue
                low = 0 if window is None else window.low(step.row) - base.get(tensor.name, 0)
                whole = self.graph.tensors[tensor.name]
                skip = low * row_bytes(whole) if low else 0
                if tensor.name in group.lines:
                    assert low * row_bytes(whole) + tensor.bytes <= group.lines[
                        tensor.name
                    ] * row_bytes(whole)
                arrays.append(self.view(tensor.name, tensor.shape, skip).copy())
            result = form.op.run_int(arrays, form.ins, form.out)
            row = step.row - base.get(node.output, 0)
            assert row < group.lines.get(node.output, 1 << 30)
            self.view(node.output, result.shape, row * result.size)[:] = result


def assert_plan_runs(graph: Graph, plan: MemoryPlan) -> None:
    rng = np.random.default_rng(0)
    feeds = {
        n: rng.integers(-128, 128, graph.tensors[n].shape).astype(np.int8) for n in graph.inputs
    }
    expected = run(graph, feeds)
    for name, seen in zip(graph.outputs, Machine(graph, plan).run(feeds), strict=True):
        np.testing.assert_array_equal(seen, expected[name])
    assert plan.lower_bound <= plan.total_bytes
    assert plan.arena_bytes <= plan.unfused_bytes
    assert all(o % 16 == 0 for o in plan.offsets.values())


@given(graph=graphs())
def test_a_run_in_the_arena_equals_the_reference(graph):
    plan = plan_memory(graph)
    assert_plan_runs(graph, plan)
    placed = [t for b in plan.buffers for t in b.tensors]
    assert sorted(placed) == sorted({*graph.inputs, *(n.output for n in graph.nodes)})


@settings(max_examples=150)
@given(graph=images())
def test_a_run_by_rows_equals_the_reference(graph):
    assert_plan_runs(graph, plan_memory(graph))
    whole = plan_memory(graph, by_rows=False)
    assert not any(g.steps for g in whole.groups)
    assert_plan_runs(graph, whole)


def separable(size: int) -> Graph:
    """The start of a MobileNet."""
    net, same = Net(0, (1, size, size, 3)), Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    x = net.conv("x", 8, replace(same, stride=(2, 2)))
    for channels in (16, 16):
        x = net.conv(net.depthwise(x, same), channels, Window((1, 1)))
    return net.done(net.conv(net.depthwise(x, replace(same, stride=(2, 2))), 32, Window((1, 1))))


def test_a_separable_net_keeps_only_a_few_rows():
    graph = separable(32)
    plan = plan_memory(graph)
    assert_plan_runs(graph, plan)
    # Input 3 KiB, output 2 KiB, which takes the input's place; two tensors of 4 KiB at the peak.
    assert plan.unfused_bytes == 8192
    assert plan.arena_bytes < 5400
    assert all(b.size < 4096 for b in plan.buffers)


def test_a_residual_block_needs_its_input_once():
    net, same = Net(0, (1, 32, 32, 16)), Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    y = net.conv(net.conv("x", 16, same), 16, same)
    graph = net.done(net.apply(Add(), "x", y))
    plan = plan_memory(graph)
    assert_plan_runs(graph, plan)
    assert plan.unfused_bytes == 3 * 16384
    # The output takes the input's place, and a few rows of 512 B are between them.
    assert plan.arena_bytes <= 16384 + 5 * 512


def test_layers_over_a_sequence_run_by_position():
    net = Net(0, (1, 64, 8))
    wide = net.apply(FullyConnected(), "x", constants=weights_and_bias(net.rng, (64, 8), 0, 0.05))
    act = net.apply(Relu6(), wide)
    out = net.apply(FullyConnected(), act, constants=weights_and_bias(net.rng, (8, 64), 0, 0.05))
    graph = net.done(net.apply(Softmax(), out))
    plan = plan_memory(graph)
    assert_plan_runs(graph, plan)
    assert plan.arena_bytes < 1024 < 4096 < plan.unfused_bytes


def test_a_slice_of_a_tensor_without_rows_runs_as_a_whole():
    # Query, key and value of PyTorch's attention: one of three along the first axis.
    parts, one = activation("x", (3, 8, 4), 0.1, 0), activation("y", (1, 8, 4), 0.1, 0)
    cut = Node(Slice((1, 0, 0), (1, 8, 4)), ("x",), "y", "cut")
    graph = Graph("cut", {"x": parts, "y": one}, [cut], ["x"], ["y"])
    assert row_rule(graph, cut) is None


def test_nothing_runs_by_rows_where_that_saves_nothing():
    net = Net(0, (1, 8, 8, 4))
    graph = net.done(net.apply(Mean(), net.conv("x", 4, Window((1, 1)))))
    tall = net.graph.tensors["x"]
    assert tall.bytes == 256
    plan = plan_memory(graph)
    assert len(plan.groups) == len(graph.nodes)


def test_a_dying_input_is_reused_and_a_reshape_costs_nothing():
    table = activation("t", (256,), 0.1, 0)
    table = Tensor("t", (256,), table.dtype, table.quant, np.zeros(256, np.int8))
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
    assert plan.arena_bytes == 64
    assert set(plan.offsets.values()) == {0}


@st.composite
def packings(draw: st.DrawFn) -> list[Buffer]:
    made = []
    for index in range(draw(st.integers(1, 5))):
        first = draw(st.integers(0, 4))
        last = draw(st.integers(first, 5))
        made.append(Buffer((str(index),), 16 * draw(st.integers(1, 6)), first, last))
    return made


@given(buffers=packings())
def test_the_exact_search_finds_what_brute_force_finds(buffers):
    bound = max(sum(b.size for b in buffers if b.first <= t <= b.last) for t in range(6))
    offsets, proven = place(buffers, {}, bound)
    top = max(o + b.size for o, b in zip(offsets, buffers, strict=True))
    assert proven
    every = range(0, top - 16 + 1, 16)
    for tried in itertools.product(every, repeat=len(buffers)) if len(buffers) < 5 else ():
        if max(o + b.size for o, b in zip(tried, buffers, strict=True)) >= top:
            continue
        pairs = itertools.combinations(zip(tried, buffers, strict=True), 2)
        assert any(
            a.overlaps(b) and x < y + b.size and y < x + a.size for (x, a), (y, b) in pairs
        ), f"{tried} is smaller than {offsets}"


@given(buffers=packings(), data=st.data())
def test_buffers_that_may_only_start_together_do_or_are_apart(buffers, data):
    index = st.integers(0, len(buffers) - 1)
    a, b = data.draw(index), data.draw(index)
    offsets, _ = place(buffers, {(a, b): 0, (b, a): 0}, 0)
    for i, j in itertools.combinations(range(len(buffers)), 2):
        apart = (
            offsets[i] + buffers[i].size <= offsets[j] or offsets[j] + buffers[j].size <= offsets[i]
        )
        together = {i, j} == {a, b} and offsets[i] == offsets[j]
        assert apart or together or not buffers[i].overlaps(buffers[j])


@pytest.mark.parametrize("size", [5, 12, 16])
def test_a_kernel_in_place_that_reads_its_input_more_than_once_starts_where_it_does(size):
    net = Net(size, (1, size, size, 4))
    same = Window((3, 3), padding=(1, 1, 1, 1))
    x = net.conv("x", 32, Window((1, 1)))
    for _ in range(2):
        x = net.conv(net.depthwise(x, same), 32, Window((1, 1)))
    graph = net.done(x)
    plan = plan_memory(graph, "dsp", by_rows=False)
    for node in graph.nodes:
        if node.op.kind == "depthwise_conv2d":
            assert plan.offsets[node.inputs[0]] == plan.offsets[node.output]


@pytest.mark.parametrize("seed", range(3))
def test_a_gap_to_the_bound_is_stated(seed):
    rng = np.random.default_rng(seed)
    buffers = []
    for index in range(40):
        first = int(rng.integers(0, 30))
        size = int(rng.integers(1, 999))
        buffers.append(Buffer((str(index),), size, first, first + int(rng.integers(0, 6))))
    bound = max(
        sum(-(-b.size // 16) * 16 for b in buffers if b.first <= t <= b.last) for t in range(40)
    )
    offsets, proven = place(buffers, {}, bound)
    top = max(o + b.size for o, b in zip(offsets, buffers, strict=True))
    assert top <= 1.15 * bound
    assert proven == (-(-top // 16) * 16 == bound)


def test_outputs_over_inputs_do_not_wander():
    """Four depthwise layers of one size: in turns from the first row and from the last, the
    tensors stay where they are."""
    net, same = Net(0, (1, 24, 4, 8)), Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    x = "x"
    for _ in range(4):
        x = net.depthwise(x, same)
    graph = net.done(net.apply(Mean(), x))
    plan = plan_memory(graph)
    assert_plan_runs(graph, plan)
    whole, row = 24 * 32, 32
    assert plan.arena_bytes <= whole + 3 * row


@settings(max_examples=60)
@given(graph=images(), share=st.floats(0.3, 0.9))
def test_a_run_over_two_memories_equals_the_reference(graph, share):
    arena = plan_memory(graph).arena_bytes
    first = max(16, int(share * arena))
    try:
        plan = plan_memory(graph, regions=(first, arena))
    except TargetError:
        # Inputs or outputs alone are too large for the first memory.
        own = {graph.tensors[n].bytes for n in (*graph.inputs, *graph.outputs)}
        assert sum(-(-b // 16) * 16 for b in own) > 0.5 * first
        return
    assert plan.arena_bytes <= first
    assert all(used <= arena for used in plan.extra_bytes)
    assert_plan_runs(graph, plan)


def test_one_memory_is_used_where_it_is_enough():
    graph = separable(32)
    plan = plan_memory(graph, regions=(8192, 8192))
    assert plan.extra_bytes == ()
    plan = plan_memory(graph, regions=(3200, 2048))
    assert plan.arena_bytes <= 3200
    assert 0 < plan.extra_bytes[0] <= 2048
    assert_plan_runs(graph, plan)
    with pytest.raises(TargetError, match=r"do not fit the target's regions \(3,200 B, 64 B\)"):
        plan_memory(graph, regions=(3200, 64))
