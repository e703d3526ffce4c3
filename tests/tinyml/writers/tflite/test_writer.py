# SPDX-License-Identifier: Apache-2.0
"""What the flatbuffer holds, read back with the schema and with LiteRT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.ops.windows import same_padding, windows
from tests.tinyml.single_op import activation, model, random_feeds, weights_and_bias
from tinyml.ir import DType, Graph, Node, Quantisation, Tensor
from tinyml.ir.execute import run
from tinyml.ops import (
    Activation,
    Add,
    AveragePool2D,
    Conv2D,
    FullyConnected,
    MaxPool2D,
    Relu,
    Reshape,
    Softmax,
    Table,
    Window,
)
from tinyml.runtimes.interpreters import LiteRt, TfliteMicro
from tinyml.writers.tflite import write_tflite
from tinyml.writers.tflite.builder import TfliteBuilder

NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}


def parsed(data: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))


def operators(data: bytes) -> list[str]:
    read = parsed(data)
    codes = [NAMES[c.builtinCode] for c in read.operatorCodes]
    return [codes[o.opcodeIndex] for o in read.subgraphs[0].operators]


def network() -> Graph:
    """Two convolutions, a skip, a pool, a dense layer and softmax."""
    rng = np.random.default_rng(0)
    x = activation("x", (1, 8, 8, 3), 0.05, 3)
    first = weights_and_bias(rng, (4, 3, 3, 3), 0, x.q.s)
    second = weights_and_bias(rng, (4, 3, 3, 4), 0, 0.2)
    dense = weights_and_bias(rng, (5, 64), 0, 0.3)
    tensors = {
        "x": x,
        "a": activation("a", (1, 8, 8, 4), 0.2, -128),
        "b": activation("b", (1, 8, 8, 4), 0.7, 11),
        "s": activation("s", (1, 8, 8, 4), 0.3, -100),
        "p": activation("p", (1, 4, 4, 4), 0.3, -100),
        "f": activation("f", (1, 64), 0.3, -100),
        "d": activation("d", (1, 5), 0.5, 0),
        "y": activation("y", (1, 5), 1 / 256, -128),
    }
    for index, pair in enumerate((first, second, dense)):
        for tensor in pair:
            name = f"{tensor.name}{index}"
            tensors[name] = replace(tensor, name=name)
    same = Window((3, 3), padding=(1, 1, 1, 1))
    nodes = [
        Node(Conv2D(same, Activation.RELU), ("x", "weights0", "bias0"), "a", "first"),
        Node(Conv2D(same), ("a", "weights1", "bias1"), "b", "second"),
        Node(Add(Activation.RELU), ("a", "b"), "s", "skip"),
        Node(MaxPool2D(Window((2, 2), (2, 2))), ("s",), "p", "pool"),
        Node(Reshape((1, 64)), ("p",), "f", "flatten"),
        Node(FullyConnected(), ("f", "weights2", "bias2"), "d", "dense"),
        Node(Softmax(), ("d",), "y", "softmax"),
    ]
    graph = Graph("network", tensors, nodes, ["x"], ["y"])
    graph.check()
    return graph


def test_the_file_is_a_tflite_model():
    data = write_tflite(network())
    assert schema.Model.ModelBufferHasIdentifier(data, 0)
    read = parsed(data)
    assert read.version == 3
    assert read.description == b"network"
    assert len(read.subgraphs) == 1
    assert operators(data) == [
        *("CONV_2D", "CONV_2D", "ADD", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX")
    ]
    # Each operator once in the table, under its old and its new number.
    codes = [c.builtinCode for c in read.operatorCodes]
    assert len(set(codes)) == len(codes) == 6
    assert all(c.deprecatedBuiltinCode == c.builtinCode for c in read.operatorCodes)


def test_two_writes_give_the_same_bytes():
    assert write_tflite(network()) == write_tflite(network())


def test_every_tensor_keeps_its_type_grid_and_data():
    graph = network()
    read = parsed(write_tflite(graph))
    by_name = {t.name.decode(): t for t in read.subgraphs[0].tensors}
    assert set(graph.tensors) <= set(by_name)
    for name, tensor in graph.tensors.items():
        seen = by_name[name]
        assert tuple(seen.shape) == tensor.shape
        types = {DType.INT8: schema.TensorType.INT8, DType.INT32: schema.TensorType.INT32}
        assert seen.type == types[tensor.dtype]
        np.testing.assert_array_equal(
            np.asarray(seen.quantization.scale, np.float32), np.float32(tensor.q.scale)
        )
        assert tuple(seen.quantization.zeroPoint) == tensor.q.zero_point
        assert seen.quantization.quantizedDimension == (tensor.q.axis or 0)
        if tensor.data is None:
            assert seen.buffer == 0
        else:
            stored = bytes(read.buffers[seen.buffer].data)
            assert stored == tensor.data.tobytes()


def test_buffers_stand_at_multiples_of_their_element():
    """A Cortex-M0 faults on an unaligned 32-bit load, and biases are read in place."""
    data = write_tflite(network())
    root = schema.Model.GetRootAs(data)
    found = 0
    for index in range(root.BuffersLength()):
        values = root.Buffers(index).DataAsNumpy()
        if isinstance(values, np.ndarray):
            start = values.__array_interface__["data"][0]
            base = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
            assert (start - base) % 4 == 0, f"buffer {index} stands at {start - base}"
            found += 1
    assert found == 7


def test_a_network_runs_alike_everywhere():
    graph = network()
    data = write_tflite(graph)
    micro, lite = TfliteMicro(data, graph), LiteRt(data)
    for feed in random_feeds(graph, np.random.default_rng(1), 6):
        values = run(graph, feed)
        np.testing.assert_array_equal(micro.run(feed)[0], values["y"])
        seen = lite.run(feed)
        for name in ("a", "b", "s", "p", "f"):
            np.testing.assert_array_equal(seen[name], values[name], name)


def test_exposed_tensors_become_outputs_after_the_graphs_own():
    graph = network()
    data = write_tflite(graph, expose=("a", "y", "s"))
    shown = replace(graph, outputs=["y", "a", "s"])
    subgraph = parsed(data).subgraphs[0]
    names = [subgraph.tensors[i].name.decode() for i in subgraph.outputs]
    assert names == shown.outputs
    assert [subgraph.tensors[i].name.decode() for i in subgraph.inputs] == ["x"]
    feed = random_feeds(graph, np.random.default_rng(2), 1)[0]
    values = run(graph, feed)
    for name, seen in zip(shown.outputs, TfliteMicro(data, shown).run(feed), strict=True):
        np.testing.assert_array_equal(seen, values[name], name)


def test_several_inputs_and_outputs_keep_their_order():
    tensors = {n: activation(n, (1, 4), 0.1, 0) for n in ("second", "first", "sum", "clamped")}
    nodes = [
        Node(Add(), ("first", "second"), "sum", "sum"),
        Node(Relu(), ("second",), "clamped", "clamp"),
    ]
    graph = Graph("g", tensors, nodes, ["second", "first"], ["clamped", "sum"])
    graph.check()
    feed = {"first": np.full((1, 4), 9, np.int8), "second": np.full((1, 4), -3, np.int8)}
    clamped, total = TfliteMicro(write_tflite(graph), graph).run(feed)
    assert clamped.tolist() == [[0] * 4]
    assert total.tolist() == [[6] * 4]


@settings(max_examples=100)
@given(data=st.data(), size=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_padding_is_an_operator_only_where_no_scheme_is_it(data, size):
    window = data.draw(windows(size))
    x = activation("x", (1, *size, 2), 0.1, 5)
    constants = weights_and_bias(np.random.default_rng(0), (3, *window.kernel, 2), 0, 0.1)
    pool = model(MaxPool2D(window), [x], 0.1, 5)
    conv = model(Conv2D(window), [x, *constants], 0.5, 0)
    used = window.used_padding(*size)
    same = same_padding(size, window.kernel, window.stride, window.dilation)
    tight = replace(window, padding=used)
    needs = used not in ((0, 0, 0, 0), same) or tight.output(*size) != window.output(*size)
    assert operators(write_tflite(pool)) == ["PADV2"] * needs + ["MAX_POOL_2D"]
    assert operators(write_tflite(conv)) == ["PAD"] * needs + ["CONV_2D"]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_and_valid_are_written_as_schemes(stride):
    for padding, scheme in (
        (same_padding((8, 7), (3, 3), (stride, stride), (1, 1)), schema.Padding.SAME),
        ((0, 0, 0, 0), schema.Padding.VALID),
    ):
        window = Window((3, 3), (stride, stride), (1, 1), padding)
        graph = model(AveragePool2D(window), [activation("x", (1, 8, 7, 2), 0.1, 0)], 0.1, 0)
        read = parsed(write_tflite(graph)).subgraphs[0].operators[0].builtinOptions
        assert read.padding == scheme
        assert (read.strideH, read.strideW, read.filterHeight, read.filterWidth) == (
            *(stride, stride, 3, 3),
        )


def test_an_option_the_schema_lacks_is_refused():
    with pytest.raises(ValueError, match="AddOptions has no field beta"):
        TfliteBuilder("g").operator("ADD", [0, 1], [2], "AddOptions", beta=1.0)


def test_a_table_is_three_operators():
    values = np.arange(256).astype(np.int8)
    table = Tensor("t", (256,), DType.INT8, Quantisation.per_tensor(1.0, 0), values)
    graph = model(Table(), [activation("x", (1, 4), 0.1, 0), table], 0.1, 0)
    read = parsed(write_tflite(graph))
    codes = [read.operatorCodes[o.opcodeIndex].builtinCode for o in read.subgraphs[0].operators]
    wanted = [schema.BuiltinOperator.CAST, schema.BuiltinOperator.ADD]
    assert codes == [*wanted, schema.BuiltinOperator.GATHER]
