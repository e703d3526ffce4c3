# SPDX-License-Identifier: Apache-2.0
"""Which layers learn, in how much RAM; and what cannot be asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.tinyml.learn.conftest import Load
from tests.tinyml.learn.networks import (
    Builder,
    mlp,
    random_graph,
    sample_for,
    torch_gradient,
)
from tinyml.errors import LearnError
from tinyml.ir import Graph
from tinyml.learn import LearnOptions, Loss, Optimizer, Standardise, make_learner
from tinyml.ops import Activation, HardSwish, Relu, Softmax, Window


def conv_net() -> Graph:
    b = Builder((1, 8, 8, 2), np.random.default_rng(0))
    window = Window((3, 3), (2, 2), padding=(1, 1, 1, 1))
    x = b.conv("x", 6, window, Activation.RELU)
    x = b.conv(x, 8, window, Activation.RELU)
    b.dense(b.dense(b.flat(x), 12, Activation.RELU), 4)
    return b.graph


@pytest.mark.parametrize(
    ("sizes", "options", "bar"),
    [
        ((196, 64, 32, 5), LearnOptions("all"), 65_000),
        ((1, 32, 32, 1), LearnOptions("all", loss=Loss.MSE), 5_500),
    ],
)
def test_ram_of_the_online_inner_loop(sizes: tuple[int, ...], options: LearnOptions, bar: int):
    """One copy of the weights, all activations, two deltas; batch Reptile needs 2.3 to 2.8 times
    that."""
    learner = make_learner(mlp(sizes), options)
    weights = sum(a * b + b for a, b in itertools.pairwise(sizes))
    assert learner.facts.weight_count == weights
    assert learner.facts.ram_bytes <= bar
    assert learner.facts.ram_bytes <= 4 * (weights + sum(sizes) + 4 * max(sizes[1:])) + 500 + 4 * (
        max(sizes)
    )


def test_named_layers_learn_and_others_do_not(load: Load):
    graph = conv_net()
    names = [n.name for n in graph.nodes]
    learner = make_learner(graph, LearnOptions(f"{names[0]},{names[4]}"))
    trained = [layer.name for layer in learner.program.layers if layer.is_trained]
    assert trained == [names[0], names[4]]
    native = load(graph, LearnOptions(f"{names[0]},{names[4]}"))
    sample = sample_for(graph, np.random.default_rng(0))
    _, expected = torch_gradient(graph, Loss.CROSS_ENTROPY, sample, 1, {names[0], names[4]})
    _, found = native.gradient(sample, 1)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("optimizer", Optimizer)
def test_sparse_update_fits_and_trains_what_it_says(load: Load, optimizer: Optimizer):
    graph = conv_net()
    rng = np.random.default_rng(0)
    samples = [sample_for(graph, rng) for _ in range(4)]
    whole = make_learner(graph, LearnOptions("all", optimizer=optimizer)).facts
    worth = []
    for part in (0.95, 0.7, 0.5):
        options = LearnOptions("all", optimizer=optimizer, ram=int(part * whole.ram_bytes))
        learner = make_learner(graph, options, activity=samples)
        assert learner.facts.ram_bytes <= options.ram
        assert 0 < learner.facts.weight_count < whole.weight_count
        worth.append(learner.facts.weight_count)
    assert worth == sorted(worth, reverse=True)

    # Its gradient is the part of the whole one that belongs to the chosen rows.
    native = load(graph, options)
    full = load(graph, LearnOptions("all"))
    target = 2
    _, everything = full.gradient(samples[0], target)
    _, some = native.gradient(samples[0], target)
    expected, at = [], 0
    layers = make_learner(graph, options).program.layers
    for layer in layers:
        rows = len(layer.weights) * layer.row_length
        matrix = everything[at : at + rows].reshape(len(layer.weights), -1)
        expected.append(matrix[slice(*layer.rows)].ravel())
        expected.append(everything[at + rows : at + rows + layer.channels][slice(*layer.biases)])
        at += rows + layer.channels
    np.testing.assert_allclose(some, np.concatenate(expected), rtol=1e-5, atol=1e-7)
    before = native.weights
    assert native.step(samples[0], target).status == "OK"
    np.testing.assert_allclose(native.weights, before - 0.01 * some, rtol=1e-5, atol=1e-7)


def test_channels_that_matter_are_chosen():
    """One hidden unit drives all outputs: it is the one worth training."""
    b = Builder((1, 6), np.random.default_rng(0))
    hidden = b.dense("x", 10, Activation.RELU)
    b.dense(hidden, 3)
    graph = b.graph
    head = graph.nodes[-1].inputs[1]
    data = np.full_like(graph.tensors[head].values, 1e-4)
    data[:, 7] = [3.0, -3.0, 2.0]
    graph.tensors[head] = graph.tensors[head].with_data(data, None)
    first = graph.nodes[0].name
    rng = np.random.default_rng(0)
    samples = [np.abs(sample_for(graph, rng)) for _ in range(16)]
    whole = make_learner(graph, LearnOptions(first)).facts.ram_bytes
    learner = make_learner(graph, LearnOptions(first, ram=whole - 4 * 6 * 9), activity=samples)
    assert learner.program.layers[0].rows == (7, 8)


def test_too_small_a_budget_says_what_is_needed():
    with pytest.raises(
        LearnError, match=r"more than the 100 B .* alone take [\d,]+ B.* takes"
    ) as e:
        make_learner(conv_net(), LearnOptions("all", ram=100))
    needed = int(e.value.hint.split()[2])
    smallest = make_learner(conv_net(), LearnOptions("all", ram=needed))
    assert smallest.facts.ram_bytes == needed
    with pytest.raises(LearnError):
        make_learner(conv_net(), LearnOptions("all", ram=needed - 1))


def softmax_net() -> Graph:
    b = Builder((1, 3), np.random.default_rng(0))
    b.apply(Softmax(), b.dense("x", 4))
    return b.graph


def unsupported_net() -> Graph:
    b = Builder((1, 3), np.random.default_rng(0))
    b.dense(b.apply(HardSwish(), b.dense("x", 4)), 2)
    return b.graph


def weightless_net() -> Graph:
    b = Builder((1, 3), np.random.default_rng(0))
    b.apply(Relu(), "x")
    return b.graph


@pytest.mark.parametrize(
    ("graph", "options", "message"),
    [
        (mlp((3, 2)), LearnOptions("layer7"), "no layer 'layer7'"),
        (mlp((3, 2)), LearnOptions("all", classes=1), "has 2 already"),
        (mlp((3, 2)), LearnOptions("all", loss=Loss.MSE, classes=4), "cross-entropy only"),
        (mlp((3, 1)), LearnOptions("all"), "one output"),
        (softmax_net(), LearnOptions("all", loss=Loss.MSE), "ends with softmax"),
        (unsupported_net(), LearnOptions("all"), "hard_swish cannot learn"),
        (weightless_net(), LearnOptions("all"), "nothing can learn"),
        (conv_net(), LearnOptions("head"), "need the int8 graph"),
    ],
)
def test_what_cannot_be_made_is_named(graph: Graph, options: LearnOptions, message: str):
    with pytest.raises(LearnError, match=message):
        make_learner(graph, options)


@pytest.mark.parametrize(
    "options", [{"rate": 0.0}, {"rate": float("nan")}, {"momentum": 1.0}, {"window": 1}]
)
def test_options_out_of_range(options: dict[str, float]):
    with pytest.raises(LearnError):
        LearnOptions(**options)  # type: ignore[arg-type]


def test_softmax_at_the_end_belongs_to_the_loss(load: Load):
    learner = load(softmax_net(), LearnOptions("all"))
    outputs = learner.predict(np.ones(3)).outputs
    assert outputs.sum() == pytest.approx(1.0, abs=1e-6)
    assert learner.step(np.ones(3), 3).status == "OK"


def test_structure_decides_the_abi():
    one = make_learner(mlp((3, 4, 2), seed=0), LearnOptions("all")).facts
    other_weights = make_learner(mlp((3, 4, 2), seed=1), LearnOptions("all")).facts
    wider = make_learner(mlp((3, 5, 2)), LearnOptions("all")).facts
    warm = make_learner(mlp((3, 4, 2)), LearnOptions("all", standardise=Standardise.WARMUP)).facts
    assert one.abi == other_weights.abi
    assert len({one.abi, wider.abi, warm.abi}) == 3


def test_random_networks_have_every_kind_of_layer():
    kinds = {n.op.kind for s in range(12) for n in random_graph(s, "residual").nodes}
    assert {"conv2d", "add", "fully_connected", "reshape"} <= kinds


def test_a_backbone_with_state_is_refused():
    graph = conv_net()
    stateful = graph.copy()
    stateful.variables = {"held": np.zeros(3, np.int8)}
    with pytest.raises(LearnError, match="keeps state"):
        make_learner(graph, LearnOptions("head"), stateful)
