# SPDX-License-Identifier: Apache-2.0
"""Equalisation changes no real number and gives int8 more; bias correction takes means out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyml.errors import QuantisationError
from tinyml.ir import Graph, Node, Tensor
from tinyml.ir.execute import outputs
from tinyml.ops import Activation, Add, Conv2D, DepthwiseConv2D, Logistic, Mul, Relu, Window
from tinyml.quantize import QuantiseOptions, calibrate, choose, load_overrides, quantise
from tinyml.quantize.bias_correction import correct_biases
from tinyml.quantize.equalise import equalise, groups
from tinyml.quantize.observers import MinMax

CHANNELS = 6


class Net:
    """A float network of convolutions whose channels differ by orders of magnitude."""

    def __init__(self, seed: int, spread: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.spread = spread
        self.graph = Graph("net", {"x": Tensor("x", (1, 5, 5, 3))}, [], ["x"], [])

    def constant(self, *shape: int) -> str:
        data = self.rng.standard_normal(shape).astype(np.float32)
        return self.graph.add(Tensor("c", shape, data=data))

    def apply(self, op, *inputs: str) -> str:
        shape = op.infer([self.graph.tensors[i].shape for i in inputs])
        out = self.graph.add(Tensor("t", shape))
        self.graph.nodes.append(Node(op, inputs, out, out))
        return out

    def conv(self, x: str, outputs: int = CHANNELS, activation: Activation = Activation.NONE):
        channels = self.graph.tensors[x].shape[3]
        scale = np.exp(self.spread * self.rng.uniform(-1, 1, outputs)).astype(np.float32)
        weights = self.rng.standard_normal((outputs, 1, 1, channels)).astype(np.float32)
        bias = self.rng.standard_normal(outputs).astype(np.float32)
        names = [
            self.graph.add(Tensor("w", weights.shape, data=weights * scale[:, None, None, None])),
            self.graph.add(Tensor("b", bias.shape, data=bias * scale)),
        ]
        return self.apply(Conv2D(Window((1, 1)), activation), x, *names)

    def depthwise(self, x: str, activation: Activation = Activation.NONE) -> str:
        channels = self.graph.tensors[x].shape[3]
        window = Window((3, 3), padding=(1, 1, 1, 1))
        op = DepthwiseConv2D(window, activation)
        return self.apply(op, x, self.constant(1, 3, 3, channels), self.constant(channels))

    def done(self, output: str) -> Graph:
        self.graph.outputs = [output]
        self.graph.check()
        return self.graph


def block(seed: int, spread: float) -> Graph:
    """conv, relu, depthwise, conv, a residual around two of them, conv."""
    net = Net(seed, spread)
    first = net.conv("x", activation=Activation.RELU)
    inner = net.conv(net.depthwise(first, Activation.RELU))
    return net.done(net.conv(net.apply(Relu(), net.apply(Add(), first, inner)), 4))


def samples(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((1, 5, 5, 3)).astype(np.float32)} for _ in range(count)]


def noise(graph: Graph, made: Graph, feeds) -> float:
    total = 0.0
    for feed in feeds:
        integers = {"x": made.tensors["x"].q.quantise(feed["x"])}
        found = made.tensors[made.outputs[0]].q.dequantise(outputs(made, integers)[0])
        total += float(np.mean((outputs(graph, feed)[0] - found) ** 2))
    return total


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), spread=st.floats(0, 3))
def test_equalising_changes_no_real_number(seed, spread):
    graph = block(seed, spread)
    made, scaled = equalise(graph, samples(4))
    assert len(scaled) == 2
    for feed in samples(6):
        wanted = outputs(graph, feed)[0]
        scale = np.max(np.abs(wanted))
        assert np.allclose(outputs(made, feed)[0], wanted, rtol=0, atol=2e-5 * scale)


def test_int8_gains_where_channels_differ():
    gained = []
    for seed in range(5):
        graph = block(seed, 2.5)
        feeds = samples(16)
        made, _ = equalise(graph, feeds)
        before = noise(graph, quantise(graph, calibrate(graph, feeds, MinMax())), feeds)
        after = noise(graph, quantise(made, calibrate(made, feeds, MinMax())), feeds)
        gained.append(before / after)
    assert np.median(gained) > 1.5


def test_what_does_not_commute_with_scaling_is_left():
    net = Net(0, 1.0)
    conv = net.conv("x")
    silu = net.apply(Mul(), conv, net.apply(Logistic(), conv))
    clamped = net.conv(silu, activation=Activation.RELU6)
    graph = net.done(net.conv(clamped))
    assert groups(graph) == []
    assert equalise(graph, samples(2))[0] is graph


def test_bias_correction_takes_the_mean_error_away():
    graph = block(3, 1.0)
    feeds = samples(32)
    plain = quantise(graph, calibrate(graph, feeds, MinMax()))
    made, shifts = correct_biases(graph, plain, feeds)
    assert len(shifts) == 4 and max(shifts.values()) > 0

    def mean_error(net: Graph) -> float:
        found = [
            outputs(graph, f)[0]
            - net.tensors[net.outputs[0]].q.dequantise(
                outputs(net, {"x": net.tensors["x"].q.quantise(f["x"])})[0]
            )
            for f in feeds
        ]
        return float(np.max(np.abs(np.mean(found, axis=(0, 1, 2, 3)))))

    assert mean_error(made) < 0.6 * mean_error(plain)
    kept = [n.output for n in plain.nodes]
    assert [n.output for n in made.nodes] == kept
    assert all(made.tensors[t].quant == plain.tensors[t].quant for t in kept)


def test_options_and_the_users_file_say_which_layers(tmp_path):
    graph, feeds = block(0, 2.0), samples(4)
    every = choose(graph, feeds, QuantiseOptions(equalise=True, bias_correction=True))
    assert len(every.equalised) == 2 and len(every.corrected) == 4
    none = choose(graph, feeds, QuantiseOptions())
    assert none.equalised == [] and none.corrected == {}
    first = graph.nodes[0].name
    path = tmp_path / "own.toml"
    path.write_text(f'[[layer]]\nmatch = "{first}"\nequalise = false\nbias_correction = false\n')
    own = QuantiseOptions(equalise=True, bias_correction=True, overrides=load_overrides(path))
    some = choose(graph, feeds, own)
    assert len(some.equalised) == 1 and first not in some.corrected and len(some.corrected) == 3
    path.write_text(f'[[layer]]\nmatch = "{first}"\nbias_correction = true\n')
    only = choose(graph, feeds, QuantiseOptions(overrides=load_overrides(path)))
    assert list(only.corrected) == [first]
    path.write_text('[[layer]]\nmatch = "*"\nequalise = "yes"\n')
    with pytest.raises(QuantisationError, match="'equalise' must be true or false"):
        load_overrides(path)
