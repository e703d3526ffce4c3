# SPDX-License-Identifier: Apache-2.0
"""Each pass does what it promises on a graph made to need it. That outputs stay equal is checked
by run_passes itself on every run."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tinyml.single_op import activation
from tinyml.ir import Graph, Node, Operator, Tensor
from tinyml.ops import (
    Activation,
    Add,
    Concatenation,
    Conv2D,
    Logistic,
    Mul,
    Pad,
    Relu,
    Reshape,
    Transpose,
    Window,
)
from tinyml.passes import FLOAT_PASSES, run_passes
from tinyml.passes.cancel_transposes import CancelTransposes
from tinyml.passes.collapse_tables import CollapseTables
from tinyml.passes.fold_affine import FoldAffine
from tinyml.passes.fold_padding import FoldPadding
from tinyml.passes.fuse_activations import FuseActivations
from tinyml.passes.manager import Pass

RNG = np.random.default_rng(0)
TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


class Builder:
    """A float graph, node by node."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.graph = Graph("test", {"x": Tensor("x", shape)}, [], ["x"], [])

    def constant(self, *shape: int) -> str:
        data = RNG.standard_normal(shape).astype(np.float32)
        return self.graph.add(Tensor("c", shape, data=data))

    def apply(self, op: Operator, *inputs: str) -> str:
        shape = op.infer([self.graph.tensors[i].shape for i in inputs])
        out = self.graph.add(Tensor("t", shape))
        self.graph.nodes.append(Node(op, inputs, out, out))
        return out

    def conv(self, x: str, outputs: int) -> str:
        channels = self.graph.tensors[x].shape[3]
        weights, bias = self.constant(outputs, 1, 1, channels), self.constant(outputs)
        return self.apply(Conv2D(Window((1, 1))), x, weights, bias)

    def done(self, output: str) -> Graph:
        self.graph.outputs = [output]
        self.graph.check()
        return self.graph


def kinds(graph: Graph) -> list[str]:
    return [n.op.kind for n in graph.nodes]


def nchw_conv(b: Builder, x: str, outputs: int) -> str:
    return b.apply(Transpose(TO_NCHW), b.conv(b.apply(Transpose(TO_NHWC), x), outputs))


def test_transposes_vanish_from_a_residual_block():
    b = Builder((1, 4, 5, 3))
    first = nchw_conv(b, "x", 6)
    gate = b.apply(Logistic(), first)
    second = nchw_conv(b, b.apply(Mul(), first, gate), 6)
    joined = b.apply(Concatenation(1), b.apply(Add(), first, second), second)
    padded = b.apply(Pad((0, 0, 1, 2), (0, 0, 0, 1)), joined)
    graph = run_passes(b.done(nchw_conv(b, padded, 2)), [CancelTransposes()])
    assert "transpose" not in kinds(graph)
    assert graph.source_layout["x"] == TO_NHWC
    assert next(n.op.axis for n in graph.nodes if n.op.kind == "concatenation") == 3


def test_a_transpose_that_moves_data_stays():
    b = Builder((1, 4, 5, 3))
    turned = b.apply(Transpose((0, 1, 3, 2)), nchw_conv(b, "x", 4))
    graph = run_passes(b.done(b.apply(Reshape((1, 60)), turned)), [CancelTransposes()])
    assert "transpose" in kinds(graph)


def test_batch_norm_disappears_into_the_convolution():
    b = Builder((1, 4, 4, 3))
    scaled = b.apply(Mul(), b.conv("x", 5), b.constant(1, 1, 1, 5))
    graph = run_passes(b.done(b.apply(Add(), scaled, b.constant(1, 1, 1, 5))), [FoldAffine()])
    assert kinds(graph) == ["conv2d"]


def test_an_affine_map_of_a_shared_output_is_left():
    b = Builder((1, 4, 4, 3))
    conv = b.conv("x", 5)
    scaled = b.apply(Mul(), conv, b.constant(1, 1, 1, 5))
    graph = run_passes(b.done(b.apply(Add(), scaled, conv)), [FoldAffine()])
    assert kinds(graph) == ["conv2d", "mul", "add"]


def test_relu_is_fused_once():
    b = Builder((1, 4, 4, 3))
    relu = b.apply(Relu(), b.conv("x", 5))
    graph = run_passes(b.done(b.apply(Relu(), relu)), [FuseActivations()])
    assert kinds(graph) == ["conv2d", "relu"]
    assert graph.nodes[0].op.activation is Activation.RELU


def test_zero_padding_joins_the_convolution():
    b = Builder((1, 4, 4, 3))
    padded = b.apply(Pad((0, 1, 2, 0), (0, 0, 1, 0)), "x")
    graph = run_passes(b.done(b.conv(padded, 2)), [FoldPadding()])
    assert kinds(graph) == ["conv2d"]
    assert graph.nodes[0].op.window.padding == (1, 0, 2, 1)


def test_padding_of_channels_is_left():
    b = Builder((1, 4, 4, 3))
    padded = b.apply(Pad((0, 0, 0, 1), (0, 0, 0, 0)), "x")
    graph = run_passes(b.done(b.conv(padded, 2)), [FoldPadding()])
    assert kinds(graph) == ["pad", "conv2d"]


def test_silu_becomes_one_table():
    x = activation("x", (1, 4, 4, 2), 0.05, 3)
    gate = activation("gate", x.shape, 1 / 256, -128)
    out = activation("out", x.shape, 0.04, -100)
    nodes = [
        Node(Logistic(), ("x",), "gate", "sigmoid"),
        Node(Mul(), ("x", "gate"), "out", "silu"),
    ]
    graph = Graph("test", {"x": x, "gate": gate, "out": out}, nodes, ["x"], ["out"])
    assert kinds(run_passes(graph, [CollapseTables()])) == ["table"]


def test_a_pass_that_changes_the_output_is_caught():
    class Wrong(Pass):
        def run(self, graph: Graph) -> None:
            node = graph.nodes[0]
            graph.nodes[0] = Node(Logistic(), node.inputs, node.output, node.name)

        def ensures(self, graph: Graph) -> str | None:
            return None

    b = Builder((1, 4))
    with pytest.raises(AssertionError, match="Wrong changed"):
        run_passes(b.done(b.apply(Relu(), "x")), [Wrong()])


def test_the_float_passes_accept_a_graph_with_nothing_to_do():
    b = Builder((1, 4))
    assert kinds(run_passes(b.done(b.apply(Logistic(), "x")), FLOAT_PASSES)) == ["logistic"]
