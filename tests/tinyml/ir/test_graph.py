# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyml.ir import DType, Graph, Node, Quantisation, Tensor
from tinyml.ir.operator import affine
from tinyml.ops import Add, Relu


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


def test_sweep_drops_what_nothing_needs():
    graph = chain()
    graph.sweep()
    assert [n.name for n in graph.nodes] == ["first", "last"]
    assert set(graph.tensors) == {"x", "a", "y"}


def test_check_accepts_a_sound_graph():
    chain().check()


def spoil_order(graph: Graph) -> None:
    graph.nodes.reverse()


def spoil_shape(graph: Graph) -> None:
    graph.tensors["a"] = Tensor("a", (1, 5))


def spoil_name(graph: Graph) -> None:
    graph.tensors["a"] = Tensor("b", (1, 4))


def spoil_double_write(graph: Graph) -> None:
    graph.nodes[1] = replace(graph.nodes[1], output="a")


def spoil_output(graph: Graph) -> None:
    graph.nodes.pop()


def spoil_constant(graph: Graph) -> None:
    graph.tensors["c"] = Tensor("c", (2,), DType.INT8, None, np.zeros(3, np.int8))


@pytest.mark.parametrize(
    "spoil",
    [spoil_order, spoil_shape, spoil_name, spoil_double_write, spoil_output, spoil_constant],
)
def test_check_finds_every_fault(spoil):
    graph = chain()
    spoil(graph)
    with pytest.raises(ValueError):
        graph.check()


def test_replace_nodes_keeps_the_place_of_the_last():
    graph = chain()
    first, dead, last = graph.nodes
    new = Node(Relu(), ("x",), "a", "new")
    graph.replace_nodes([first, dead], [new])
    assert graph.nodes == [new, last]


def test_add_makes_names_unique():
    graph = chain()
    assert graph.add(Tensor("a", (1,))) == "a_1"
    assert graph.tensors["a_1"].name == "a_1"


@given(low=st.floats(-1e4, 1e4), high=st.floats(-1e4, 1e4))
def test_affine_holds_zero_exactly_and_covers_the_range(low, high):
    low, high = min(low, high), max(low, high)
    grid = affine(low, high)
    assert grid.dequantise(np.array([grid.z], np.int8))[0] == 0.0
    ends = grid.dequantise(np.array([-128, 127], np.int8))
    # The zero point is rounded, which moves the range by at most half a step.
    assert ends[0] <= low + 0.51 * grid.s or low > 0
    assert ends[1] >= high - 0.51 * grid.s or high < 0


@given(values=st.lists(st.floats(-10, 10), min_size=1, max_size=20))
def test_quantise_and_back_is_within_half_a_step(values):
    grid = affine(-10, 10)
    real = np.array(values, np.float32)
    restored = grid.dequantise(grid.quantise(real))
    assert np.all(np.abs(restored - real) <= 0.51 * grid.s)


@pytest.mark.parametrize(
    "arguments",
    [
        ((0.0,), (0,)),
        ((float("nan"),), (0,)),
        ((1.0, 1.0), (0, 0)),
        ((1.0,), (0, 0)),
    ],
)
def test_a_scale_that_cannot_be_is_refused(arguments):
    with pytest.raises(ValueError):
        Quantisation(*arguments)
