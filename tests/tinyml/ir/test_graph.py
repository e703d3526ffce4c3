# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tinyml.ir import DType, Graph, Node, Quantisation, Tensor
from tinyml.ir.execute import outputs, run
from tinyml.ops import Add, FullyConnected, Relu, Requantise


def chain() -> Graph:
    """x -> relu -> a; a + x -> y; a dead relu."""
    names = ("x", "a", "y", "dead")
    return Graph(
        "chain",
        {n: Tensor(n, (1, 4)) for n in names},
        [
            Node(Relu(), ("x",), "a", "first"),
            Node(Relu(), ("x",), "dead", "dead"),
            Node(Add(), ("a", "x"), "y", "last"),
        ],
        ["x"],
        ["y"],
    )


def test_check_accepts_a_sound_graph():
    chain().check()


def spoil_order(graph: Graph) -> None:
    graph.nodes.reverse()


def spoil_shape(graph: Graph) -> None:
    graph.tensors["dead"] = Tensor("dead", (1, 5))


def spoil_inference(graph: Graph) -> None:
    graph.tensors["x"] = Tensor("x", (1, 4, 1))
    graph.tensors["dead"] = Tensor("dead", (1, 4, 1))
    graph.nodes[0] = replace(graph.nodes[0], op=FullyConnected(), inputs=("x", "x", "x"))


def spoil_broadcast(graph: Graph) -> None:
    graph.nodes[2] = replace(graph.nodes[2], inputs=("a", "c"))
    graph.tensors["c"] = Tensor("c", (1, 3), data=np.zeros((1, 3), np.float32))


def spoil_name(graph: Graph) -> None:
    graph.tensors["a"] = Tensor("b", (1, 4))


def spoil_double_write(graph: Graph) -> None:
    graph.nodes[1] = replace(graph.nodes[1], output="a")


def spoil_written_input(graph: Graph) -> None:
    graph.nodes[1] = replace(graph.nodes[1], output="x")


def spoil_written_constant(graph: Graph) -> None:
    graph.tensors["dead"] = Tensor("dead", (1, 4), data=np.zeros((1, 4), np.float32))


def spoil_output(graph: Graph) -> None:
    graph.nodes.pop()


def spoil_constant_shape(graph: Graph) -> None:
    graph.tensors["c"] = Tensor("c", (2,), DType.INT8, None, np.zeros(3, np.int8))


def spoil_constant_dtype(graph: Graph) -> None:
    graph.tensors["c"] = Tensor("c", (3,), DType.INT8, None, np.zeros(3, np.int32))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_order, r"node 'last' reads \['a'\] before"),
        (spoil_shape, r"node 'dead' \(relu\) makes \(1, 4\).*\(1, 5\)"),
        (spoil_inference, "fully_connected"),
        (spoil_broadcast, "add: shapes .* do not broadcast"),
        (spoil_name, "tensor 'b' is filed under 'a'"),
        (spoil_double_write, "tensor 'a' is written twice"),
        (spoil_written_input, "tensor 'x' is written twice"),
        (spoil_written_constant, "tensor 'dead' is written twice"),
        (spoil_output, r"outputs \['y'\] are never written"),
        (spoil_constant_shape, "constant 'c' does not have its declared type"),
        (spoil_constant_dtype, "constant 'c' does not have its declared type"),
    ],
)
def test_check_names_every_fault(spoil: Callable[[Graph], None], message: str):
    graph = chain()
    spoil(graph)
    with pytest.raises(ValueError, match=message):
        graph.check()


def test_sweep_drops_what_nothing_needs():
    graph = chain()
    graph.tensors["unused"] = Tensor("unused", (1,), data=np.zeros(1, np.float32))
    graph.sweep()
    assert [n.name for n in graph.nodes] == ["first", "last"]
    assert set(graph.tensors) == {"x", "a", "y"}
    graph.check()


def test_sweep_follows_a_chain_of_dead_nodes():
    graph = chain()
    graph.outputs = ["a"]
    graph.nodes.append(Node(Relu(), ("dead",), "deader", "deader"))
    graph.tensors["deader"] = Tensor("deader", (1, 4))
    graph.sweep()
    assert [n.name for n in graph.nodes] == ["first"]
    assert set(graph.tensors) == {"x", "a"}


def test_sweep_keeps_an_input_nothing_reads():
    graph = chain()
    graph.inputs.append("spare")
    graph.tensors["spare"] = Tensor("spare", (1, 2))
    graph.sweep()
    assert "spare" in graph.tensors


def test_replace_nodes_keeps_the_place_of_the_last():
    graph = chain()
    first, dead, last = graph.nodes
    new = Node(Relu(), ("x",), "a", "new")
    graph.replace_nodes([first, dead], [new])
    assert graph.nodes == [new, last]


def test_replace_nodes_keeps_what_stands_between():
    graph = chain()
    first, dead, last = graph.nodes
    one, two = replace(first, name="one"), replace(last, name="two")
    graph.replace_nodes([last, first], [one, two])
    assert graph.nodes == [dead, one, two]
    graph.check()


def test_replace_nodes_by_nothing():
    graph = chain()
    first, dead, last = graph.nodes
    graph.replace_nodes([dead], [])
    assert graph.nodes == [first, last]


def test_replace_nodes_tells_equal_nodes_apart():
    graph = chain()
    twin = replace(graph.nodes[1])
    assert twin == graph.nodes[1]
    graph.nodes.insert(0, twin)
    graph.replace_nodes([twin], [])
    assert [n.name for n in graph.nodes] == ["first", "dead", "last"]


def test_rename_reads_reaches_every_reader_and_the_outputs():
    graph = chain()
    graph.outputs = ["a", "y"]
    graph.rename_reads("a", "dead")
    assert graph.outputs == ["dead", "y"]
    assert graph.nodes[2].inputs == ("dead", "x")
    assert graph.nodes[0].output == "a"


def test_producer_and_consumers():
    graph = chain()
    assert graph.producer("a") is graph.nodes[0]
    assert graph.producer("x") is None
    assert graph.consumers("x") == graph.nodes
    assert graph.consumers("y") == []


def test_add_makes_names_unique():
    graph = chain()
    assert graph.add(Tensor("new", (1,))) == "new"
    assert [graph.add(Tensor("a", (1,))) for _ in range(3)] == ["a_1", "a_2", "a_3"]
    assert graph.tensors["a_2"].name == "a_2"
    assert graph.tensors["a"].shape == (1, 4)
    graph.check()


def test_a_copy_can_be_changed_alone():
    graph = chain()
    graph.source_layout["x"] = (1, 0)
    other = graph.copy()
    assert other == graph
    other.sweep()
    other.inputs.append("spare")
    other.outputs.append("a")
    other.source_layout.clear()
    assert graph == replace(chain(), source_layout={"x": (1, 0)})


def test_macs_are_those_of_the_shapes():
    shapes = {"x": (3, 5), "w": (7, 5), "b": (7,), "y": (3, 7)}
    node = Node(FullyConnected(), ("x", "w", "b"), "y", "dense")
    graph = Graph("g", {k: Tensor(k, s) for k, s in shapes.items()}, [node], ["x"], ["y"])
    assert graph.macs(node) == 3 * 5 * 7
    assert chain().macs(chain().nodes[0]) == 0


def test_run_gives_every_activation():
    x = np.array([[-1.0, 2.0, -3.0, 4.0]], np.float32)
    values = run(chain(), {"x": x})
    assert set(values) == {"x", "a", "dead", "y"}
    np.testing.assert_array_equal(values["a"], [[0, 2, 0, 4]])
    np.testing.assert_array_equal(values["y"], [[-1, 4, -3, 8]])
    np.testing.assert_array_equal(outputs(chain(), {"x": x})[0], values["y"])


def test_run_uses_integers_where_the_output_is_int8():
    grids = {"x": Quantisation.per_tensor(0.5, 0), "y": Quantisation.per_tensor(1.0, 10)}
    tensors = {k: Tensor(k, (1, 3), DType.INT8, q) for k, q in grids.items()}
    graph = Graph("g", tensors, [Node(Requantise(), ("x",), "y", "r")], ["x"], ["y"])
    result = outputs(graph, {"x": np.array([[2, -8, 127]], np.int8)})[0]
    np.testing.assert_array_equal(result, [[11, 6, 74]])
    assert result.dtype == np.int8
