# SPDX-License-Identifier: Apache-2.0
"""The exact passes on int8 graphs. run_passes compares the outputs on each run; here also on more
inputs, and that each pass does what it is for."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.passes.test_passes import kinds
from tests.tinyml.plan.test_plan import Net, images
from tests.tinyml.single_op import activation, random_feeds
from tinyml.ir import DType, Graph, Node, Tensor
from tinyml.ir.execute import outputs, run
from tinyml.ops import (
    Activation,
    Add,
    Compare,
    Concatenation,
    Conv2D,
    FullyConnected,
    MaxPool2D,
    Mean,
    Mul,
    Pad,
    Relation,
    Relu6,
    Requantise,
    Reshape,
    Select,
    Slice,
    Transpose,
    Window,
)
from tinyml.passes import C_PASSES, run_passes, split_patches
from tinyml.passes.collapse_tables import CollapseTables
from tinyml.passes.drop_identities import DropIdentities
from tinyml.passes.fold_constants import FoldConstants
from tinyml.passes.intervals import intervals
from tinyml.passes.order_nodes import OrderNodes, peak
from tinyml.passes.part_images import PartImages
from tinyml.passes.prune_channels import PruneChannels
from tinyml.passes.split_patches import SplitPatches
from tinyml.plan import plan_memory

POINT, SAME = Window((1, 1)), Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))


def deaden(graph: Graph, seed: int) -> Graph:
    """Makes some output channels of the layers constant: a bias far below or above the clamp, or
    no weights."""
    rng = np.random.default_rng(seed)
    for node in graph.nodes:
        if not isinstance(node.op, Conv2D | FullyConnected):
            continue
        weights, bias = graph.ins(node)[1:]
        data, offsets = weights.data.copy(), bias.data.copy()
        for channel in range(len(offsets)):
            fate = rng.integers(0, 5)
            if fate == 0:
                offsets[channel] = -(1 << 28)
            elif fate == 1:
                offsets[channel] = 1 << 28
            elif fate == 2:
                data[channel] = 0
        graph.tensors[weights.name] = replace(weights, data=data)
        graph.tensors[bias.name] = replace(bias, data=offsets)
    return graph


def assert_equal_on_many(before: Graph, after: Graph) -> None:
    for feed in random_feeds(before, np.random.default_rng(9), 4):
        for a, b in zip(outputs(before, feed), outputs(after, feed), strict=True):
            np.testing.assert_array_equal(a, b)


@given(graph=images(), seed=st.integers(0, 99))
def test_every_value_lies_in_its_interval(graph, seed):
    deaden(graph, seed)
    bounds = intervals(graph)
    for feed in random_feeds(graph, np.random.default_rng(seed), 3):
        for name, value in run(graph, feed).items():
            rows = value.reshape(-1, value.shape[-1]).astype(int)
            assert np.all(rows >= bounds[name].low), name
            assert np.all(rows <= bounds[name].high), name


@settings(max_examples=150)
@given(graph=images(), seed=st.integers(0, 999))
def test_pruning_changes_no_output(graph, seed):
    deaden(graph, seed)
    assert_equal_on_many(graph, run_passes(graph, [PruneChannels()]))


def constants(graph: Graph) -> int:
    return sum(t.bytes for t in graph.tensors.values() if t.is_constant)


def with_dead(net: Net, output: str, dead: int, bias: int) -> None:
    """Gives the first channels of a layer a bias beyond its clamp."""
    node = net.graph.producer(output)
    tensor = net.graph.tensors[node.inputs[2]]
    data = tensor.data.copy()
    data[:dead] = bias
    net.graph.tensors[tensor.name] = replace(tensor, data=data)
    index = net.graph.nodes.index(node)
    op = replace(node.op, activation=Activation.RELU)
    net.graph.nodes[index] = replace(node, op=op)


def test_a_constant_channel_goes_from_all_layers_between():
    """Through depthwise, pooling and flattening to the classifier; the constant is the zero
    point, so padding does not matter."""
    net = Net(3, (1, 8, 8, 4))
    a = net.conv("x", 16, POINT)
    with_dead(net, a, 8, -(1 << 28))
    b = net.apply(MaxPool2D(Window((2, 2), (2, 2))), net.depthwise(a, SAME))
    graph = net.done(net.apply(Mean(), net.conv(b, 12, SAME)))
    # The depthwise layer sees zeros, but its own bias makes other constants of them.
    after = run_passes(graph, [PruneChannels()])
    assert after.tensors[a].shape == (1, 8, 8, 16)
    net.graph = graph.copy()
    node = graph.producer(net.graph.producer(b).inputs[0])
    bias = graph.tensors[node.inputs[2]]
    net.graph.tensors[bias.name] = replace(bias, data=np.zeros_like(bias.data))
    after = run_passes(net.graph, [PruneChannels()])
    assert after.tensors[a].shape == (1, 8, 8, 8)
    assert after.tensors[b].shape == (1, 4, 4, 8)
    assert constants(after) < 0.75 * constants(net.graph)
    assert_equal_on_many(net.graph, after)


@pytest.mark.parametrize(("window", "left"), [(SAME, 16), (Window((3, 3)), 8)])
def test_another_constant_goes_only_where_no_padding_meets_it(window, left):
    net = Net(4, (1, 8, 8, 4))
    a = net.conv("x", 16, POINT)
    with_dead(net, a, 8, 1 << 28)
    graph = net.done(net.conv(a, 8, window))
    after = run_passes(graph, [PruneChannels()])
    assert after.tensors[a].shape[3] == left
    assert_equal_on_many(graph, after)


def test_channels_stay_a_multiple_of_four_and_outputs_stay_whole():
    net = Net(5, (1, 4, 4, 4))
    a = net.conv("x", 16, POINT)
    with_dead(net, a, 7, -(1 << 28))
    b = net.conv(a, 8, POINT)
    with_dead(net, b, 8, -(1 << 28))
    graph = net.done(b)
    after = run_passes(graph, [PruneChannels()])
    assert after.tensors[a].shape[3] == 12
    assert after.tensors[b].shape[3] == 8
    assert_equal_on_many(graph, after)


def test_a_choice_by_what_the_tensor_is_compared_with_is_a_table():
    """As where(x > 0.5, x, relu6(x)) and SELU are converted."""
    x = activation("x", (1, 4, 4, 3), 0.05, -3)
    half = replace(activation("half", (1, 1, 1, 1), 0.01, 0), data=np.full((1, 1, 1, 1), 50, "i1"))
    flag = Tensor("flag", x.shape, DType.BOOL)
    made = [replace(x, name=n) for n in ("clipped", "y")]
    graph = Graph(
        "choice",
        {t.name: t for t in (x, half, flag, *made)},
        [
            Node(Compare(Relation.GREATER), ("x", "half"), "flag", "flag"),
            Node(Relu6(), ("x",), "clipped", "clipped"),
            Node(Select(), ("flag", "x", "clipped"), "y", "y"),
        ],
        ["x"],
        ["y"],
    )
    graph.check()
    collapsed = run_passes(graph, [CollapseTables()])
    assert kinds(collapsed) == ["table"]
    assert_equal_on_many(graph, collapsed)


def test_arithmetic_with_one_number_is_a_table():
    net = Net(0, (1, 4, 4, 2))
    half = Tensor(
        "half", (1, 1, 1, 1), net.graph.tensors["x"].dtype, activation("", (1,), 0.01, 0).q
    )
    half = replace(half, data=np.full((1, 1, 1, 1), 50, np.int8))
    a = net.apply(Mul(), "x", constants=[half])
    b = net.apply(Add(), a, constants=[half])
    net.graph.outputs = [net.apply(Relu6(), b)]
    graph = run_passes(net.graph, [CollapseTables()])
    assert kinds(graph) == ["table"]
    assert_equal_on_many(net.graph, graph)


def chain(*ops) -> Graph:
    """Operators one after the other, all on one grid."""
    x = activation("x", (1, 2, 3, 4), 0.1, 0)
    graph = Graph("chain", {"x": x}, [], ["x"], [])
    name = "x"
    for index, op in enumerate(ops):
        shape = op.infer([graph.tensors[name].shape])
        graph.tensors[f"t{index}"] = replace(x, name=f"t{index}", shape=shape)
        graph.nodes.append(Node(op, (name,), f"t{index}", f"t{index}"))
        name = f"t{index}"
    graph.outputs = [name]
    graph.check()
    return graph


def test_what_changes_nothing_is_dropped():
    mixed = chain(
        Requantise(),
        Reshape((1, 6, 1, 4)),
        Reshape((1, 2, 3, 4)),
        Transpose((0, 2, 1, 3)),
        Transpose((0, 2, 1, 3)),
        Pad((0, 0, 0, 0), (0, 0, 0, 0)),
        Concatenation(3),
        Transpose((0, 3, 1, 2)),
    )
    graph = run_passes(mixed, [CollapseTables(), DropIdentities()])
    assert kinds(graph) == ["transpose"]
    assert graph.outputs == mixed.outputs


def test_a_clamp_that_never_acts_is_dropped():
    net = Net(2, (1, 4, 4, 4))
    a = net.conv("x", 4, POINT)
    clamped = net.apply(Relu6(), a)
    net.graph.outputs = [net.conv(clamped, 4, POINT)]
    steps = [CollapseTables(), DropIdentities()]
    assert kinds(run_passes(net.graph, steps)) == ["conv2d", "table", "conv2d"]
    first = net.graph.nodes[0]
    net.graph.nodes[0] = replace(first, op=replace(first.op, activation=Activation.RELU6))
    assert kinds(run_passes(net.graph, steps)) == ["conv2d", "conv2d"]


def test_constants_are_folded():
    x = activation("x", (1, 4), 0.1, 0)
    two = replace(x, name="two", data=np.arange(4, dtype=np.int8)[None])
    three = replace(x, name="three")
    out = replace(x, name="out")
    nodes = [
        Node(Add(), ("two", "two"), "three", "three"),
        Node(Add(), ("x", "three"), "out", "out"),
    ]
    tensors = {t.name: t for t in (x, two, three, out)}
    graph = Graph("folded", tensors, nodes, ["x"], ["out"])
    after = run_passes(graph, [FoldConstants()])
    assert [n.output for n in after.nodes] == ["out"]
    assert_equal_on_many(graph, after)


def orders(graph: Graph):
    """Every order of execution."""
    for nodes in itertools.permutations(graph.nodes):
        ready = set(graph.inputs)
        for node in nodes:
            if any(i not in ready for i in node.inputs if not graph.tensors[i].is_constant):
                break
            ready.add(node.output)
        else:
            yield list(nodes)


def test_branches_are_ordered_for_the_least_peak():
    """Two branches that first grow and then shrink: one must be finished before the other."""
    net = Net(0, (1, 8, 8, 2))
    wide = [net.conv("x", 16, POINT) for _ in range(2)]
    small = [net.apply(Mean(), w) for w in wide]
    net.graph.outputs = [net.apply(Concatenation(3), *small)]
    assert peak(net.graph) == 128 + 2 * 1024
    assert peak(run_passes(net.graph, [OrderNodes()])) == 128 + 1024 + 16


@settings(max_examples=40)
@given(graph=images())
def test_no_order_is_better(graph):
    after = run_passes(graph, [OrderNodes()])
    if len(graph.nodes) <= 6:
        assert peak(after) == min(peak(graph, nodes) for nodes in orders(graph))


@settings(max_examples=40)
@given(seed=st.integers(0, 999), patches=st.integers(2, 4))
def test_patches_change_no_output(seed, patches):
    rng = np.random.default_rng(seed)
    net = Net(seed, (1, 6, int(rng.integers(5, 14)), 3))
    x = "x"
    for _ in range(int(rng.integers(1, 4))):
        width = net.graph.tensors[x].shape[2]
        k = int(rng.integers(1, min(3, width) + 1))
        pads = (1, 1, int(rng.integers(0, k)), int(rng.integers(0, k)))
        window = Window((3, k), (1, int(rng.integers(1, 3))), (1, 1), pads)
        x = net.depthwise(x, window) if rng.random() < 0.5 else net.conv(x, 5, window)
    net.graph.outputs = [net.apply(Mean(), x)]
    stage = split_patches._stage(net.graph)
    for depth in range(1, len(stage) + 1):
        if net.graph.out(stage[depth - 1]).shape[2] < patches:
            break
        split = split_patches._split(net.graph, stage[:depth], patches)
        split.check()
        assert_equal_on_many(net.graph, split)


def test_patches_are_made_where_they_make_the_arena_smaller():
    net = Net(1, (1, 16, 48, 1))
    a = net.conv("x", 16, SAME)
    b = net.conv(a, 16, SAME)
    graph = net.done(net.apply(Mean(), net.conv(b, 2, Window((3, 3), (3, 3)))))
    before = plan_memory(graph).arena_bytes
    after = run_passes(graph, [SplitPatches(4)])
    assert plan_memory(after).arena_bytes < before
    assert sum(after.macs(n) for n in after.nodes) > sum(graph.macs(n) for n in graph.nodes)
    small = Net(1, (1, 4, 4, 2))
    tiny = small.done(small.apply(Mean(), small.conv("x", 2, POINT)))
    assert len(run_passes(tiny, [SplitPatches(2)]).nodes) == len(tiny.nodes)


@pytest.mark.parametrize("between", [None, Relu6(), Add()])
def test_images_of_a_batch_go_their_way(between):
    """Two layers that run image by image, with and without an elementwise one between them."""
    batch, image = (3, 4, 4, 2), (1, 4, 4, 2)
    graph = Graph("batch", {}, [], [], [])

    def put(name: str, shape: tuple[int, ...]) -> str:
        return graph.add(activation(name, shape, 0.05, -3))

    def layer(source: str, name: str) -> str:
        made = []
        for i in range(3):
            one, pooled = put(f"{name}_{i}", image), put(f"{name}_{i}_pooled", image)
            graph.nodes.append(Node(Slice((i, 0, 0, 0), image), (source,), one, name))
            window = Window((3, 3), padding=(1, 1, 1, 1))
            graph.nodes.append(Node(MaxPool2D(window), (one,), pooled, name))
            made.append(pooled)
        graph.nodes.append(Node(Concatenation(0), tuple(made), put(name, batch), name))
        return name

    graph.inputs = [put("x", batch)]
    value = layer("x", "first")
    if between is not None:
        inputs = (value, "x") if isinstance(between, Add) else (value,)
        graph.nodes.append(Node(between, inputs, put("between", batch), "between"))
        value = "between"
    graph.outputs = [layer(value, "second")]
    graph.check()
    parted = run_passes(graph, [PartImages()])
    assert kinds(parted).count("concatenation") == 1
    assert_equal_on_many(graph, parted)
    plan_memory(run_passes(graph, C_PASSES))


def test_single_numbers_pass_through():
    """Means over everything leave tensors without axes."""
    x = activation("x", (), 0.05, -3)
    names = ("reshaped", "scaled", "y")
    tensors = {t.name: t for t in (x, *(replace(x, name=n) for n in names))}
    tensors["scaled"] = activation("scaled", (), 0.1, 4)
    tensors["y"] = activation("y", (), 0.2, 0)
    nodes = [
        Node(Reshape(()), ("x",), "reshaped", "reshaped"),
        Node(Requantise(), ("reshaped",), "scaled", "scaled"),
        Node(Add(), ("scaled", "x"), "y", "y"),
    ]
    graph = Graph("number", tensors, nodes, ["x"], ["y"])
    graph.check()
    after = run_passes(graph, C_PASSES)
    assert_equal_on_many(graph, after)
    plan_memory(after)
