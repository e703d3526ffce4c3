# SPDX-License-Identifier: Apache-2.0
"""What the ONNX writer writes, in onnxruntime with and without its optimisations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from tests.tinyml.runtimes.test_kernels import bouquet
from tests.tinyml.single_op import activation, random_feeds
from tinyml.ir import Graph, Node
from tinyml.ir.execute import outputs
from tinyml.ops import BatchMatMul, Softmax, Transpose
from tinyml.runtimes.interpreters import OnnxRuntime, from_onnx_layout, to_onnx_layout
from tinyml.verify import ONNX_LSB
from tinyml.writers.onnx import write_onnx


@pytest.mark.parametrize("optimise", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_every_operator_is_within_the_stated_bound(seed: int, optimise: bool):
    graph = bouquet(seed, 64, 8)
    runtime = OnnxRuntime(write_onnx(graph), optimise=optimise)
    for feed in random_feeds(graph, np.random.default_rng(seed), 2):
        values = [to_onnx_layout(feed[n]) for n in graph.inputs]
        seen = [from_onnx_layout(a) for a in runtime.run(values)]
        for node, a, b in zip(graph.nodes, seen, outputs(graph, feed), strict=True):
            assert np.abs(a.astype(int) - b).max() <= ONNX_LSB, node.name


def test_images_keep_the_users_layout_and_nothing_is_float_outside():
    graph = bouquet(0, 16, 8)
    model = onnx.load_from_string(write_onnx(graph))
    for stored, name in zip(model.graph.input, graph.inputs, strict=True):
        kind = stored.type.tensor_type
        assert kind.elem_type == onnx.TensorProto.INT8
        shape = graph.tensors[name].shape
        expected = (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else shape
        assert tuple(d.dim_value for d in kind.shape.dim) == expected
    assert {o.type.tensor_type.elem_type for o in model.graph.output} == {onnx.TensorProto.INT8}


def test_tensors_may_have_the_names_that_the_writer_would_choose():
    """Files of other people do."""
    graph = bouquet(3, 16, 4)
    renames = {n.output: f"Transpose_{i}" for i, n in enumerate(graph.nodes)}
    taken = [f"{kind}_{i}" for i in range(60) for kind in ("const", "DequantizeLinear")]
    renames.update(zip(graph.inputs, taken, strict=False))
    graph.nodes = [
        replace(n.rewired(renames), output=renames.get(n.output, n.output)) for n in graph.nodes
    ]
    graph.tensors = {
        renames.get(k, k): replace(t, name=renames.get(k, k)) for k, t in graph.tensors.items()
    }
    graph.inputs = [renames.get(n, n) for n in graph.inputs]
    graph.outputs = [renames.get(n, n) for n in graph.outputs]
    graph.check()
    model = onnx.load_from_string(write_onnx(graph))
    onnx.checker.check_model(model)
    made = [o for n in model.graph.node for o in n.output]
    assert len(made) == len(set(made))


@pytest.mark.parametrize("optimise", [True, False])
def test_attention_of_several_heads_is_accepted(optimise: bool):
    """onnxruntime moves transposes of floats through pairs and then refuses its own model."""
    heads = (1, 3, 5, 4)
    graph = Graph("heads", {}, [], [], [])

    def put(name: str, shape: tuple[int, ...], scale: float, zero: int) -> str:
        return graph.add(activation(name, shape, scale, zero))

    names = [put(n, (1, 5, 3, 4), 0.04, 3) for n in "qkv"]
    graph.inputs = names
    turned = []
    for name in names:
        turned.append(put(f"{name}_heads", heads, 0.04, 3))
        graph.nodes.append(Node(Transpose((0, 2, 1, 3)), (name,), turned[-1], name))
    scores = put("scores", (1, 3, 5, 5), 0.01, -7)
    graph.nodes.append(Node(BatchMatMul(True), (turned[0], turned[1]), scores, "scores"))
    shares = put("shares", (1, 3, 5, 5), 1 / 256, -128)
    graph.nodes.append(Node(Softmax(), (scores,), shares, "softmax"))
    mixed = put("mixed", heads, 0.03, 2)
    graph.nodes.append(Node(BatchMatMul(), (shares, turned[2]), mixed, "mixed"))
    back = put("back", (1, 5, 3, 4), 0.03, 2)
    graph.nodes.append(Node(Transpose((0, 2, 1, 3)), (mixed,), back, "back"))
    graph.outputs = [scores, back]
    graph.check()
    runtime = OnnxRuntime(write_onnx(graph), optimise=optimise)
    for feed in random_feeds(graph, np.random.default_rng(0), 3):
        seen = runtime.run([to_onnx_layout(feed[n]) for n in graph.inputs])
        for a, b in zip(seen, outputs(graph, feed), strict=True):
            assert np.abs(from_onnx_layout(a).astype(int) - b).max() <= 2
