# SPDX-License-Identifier: Apache-2.0
"""Federated meta-learning of sine waves on generated C: TinyReptile against joint training.

Tasks y = a sin(x + b), a in [0.1, 5], b in [0, 2 pi), x in [-5, 5] (Nichol et al., arXiv
1803.02999, section 5). Each round one device takes the weights, makes one pass of single-sample
SGD over its 32 samples with its generated C, and sends them back; the server moves towards them
with a rate that falls linearly to 0 (TinyReptile, arXiv 2304.05201). FedSGD is the same with one
sample and rate 1.

    python bench/sine.py [--rounds 10000]
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyml.ir import Graph, Node, Tensor
from tinyml.ir.tensor import Array
from tinyml.learn import LearnOptions, Loss, make_learner
from tinyml.learn.native import CTarget, NativeLearner, load_native
from tinyml.ops import FullyConnected, Tanh

SIZES = (1, 32, 32, 1)
SAMPLES, RATE = 32, 0.02


@dataclass(frozen=True)
class Method:
    """A server's rule.

    Args:
        samples: single-sample steps of a device each round.
        rate: of the server at the first round.
        falls: whether it falls linearly to 0.
    """

    name: str
    samples: int
    rate: float
    falls: bool


REPTILE = Method("TinyReptile, 0.5 falling", SAMPLES, 0.5, True)
FEDSGD = Method("FedSGD", 1, 1.0, False)


def network(seed: int) -> Graph:
    """1-32-32-1 with tanh, initialised as PyTorch does."""
    rng = np.random.default_rng(seed)
    graph = Graph("sine", {"x": Tensor("x", (1, 1))}, [], ["x"], [])
    x = "x"
    for index, (inputs, outputs) in enumerate(itertools.pairwise(SIZES)):
        limit = inputs**-0.5
        weights, bias = (
            graph.add(Tensor("c", s, data=rng.uniform(-limit, limit, s).astype(np.float32)))
            for s in ((outputs, inputs), (outputs,))
        )
        made = graph.add(Tensor("t", (1, outputs)))
        graph.nodes.append(Node(FullyConnected(), (x, weights, bias), made, f"dense{index}"))
        x = made
        if index < len(SIZES) - 2:
            made = graph.add(Tensor("t", (1, outputs)))
            graph.nodes.append(Node(Tanh(), (x,), made, f"tanh{index}"))
            x = made
    graph.outputs = [x]
    return graph


class Device:
    """A learner that is driven without a Python object per step."""

    def __init__(self, native: NativeLearner) -> None:
        self.native = native
        native.handle.rate = RATE
        self._step, self._predict = native.c.tml_learn_step, native.c.tml_learn_predict

    def learn(self, xs: Array, ys: Array) -> None:
        """One step for each sample, in order."""
        xs, ys = (np.ascontiguousarray(a, np.float32) for a in (xs, ys))
        me = self.native.me
        target = CTarget(0, 0)
        x0, y0 = xs.ctypes.data, ys.ctypes.data
        for i in range(0, 4 * len(xs), 4):
            target.values = y0 + i
            self._step(me, ctypes.c_void_p(x0 + i), ctypes.byref(target), None)

    def predict(self, xs: Array) -> Array:
        """One output for each sample."""
        xs = np.ascontiguousarray(xs, np.float32)
        made = np.zeros_like(xs)
        me = self.native.me
        for i in range(0, 4 * len(xs), 4):
            at, to = (ctypes.c_void_p(a.ctypes.data + i) for a in (xs, made))
            self._predict(me, at, to)
        return made


def wave(rng: np.random.Generator) -> tuple[float, float]:
    """Amplitude and phase."""
    return float(rng.uniform(0.1, 5.0)), float(rng.uniform(0, 2 * np.pi))


def points(task: tuple[float, float], count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Samples of a wave, float32."""
    x = rng.uniform(-5, 5, count).astype(np.float32)
    return x, (task[0] * np.sin(x + task[1])).astype(np.float32)


def train(device: Device, start: Array, method: Method, rounds: int, seed: int) -> Array:
    """The server's weights after so many rounds."""
    rng = np.random.default_rng(seed)
    weights = start.copy()
    for round_ in range(rounds):
        device.native.set_weights(weights)
        device.learn(*points(wave(rng), method.samples, rng))
        rate = method.rate * (1 - round_ / rounds if method.falls else 1)
        weights += np.float32(rate) * (device.native.weights - weights)
    return weights


def adapted_error(
    device: Device, weights: Array, tasks: int, seed: int, passes: int = 32
) -> tuple[float, float]:
    """Mean squared error on new waves before and after learning from 10 points of each, on the
    device, one sample at a time."""
    rng = np.random.default_rng(seed)
    before, after = [], []
    grid = np.linspace(-5, 5, 100, dtype=np.float32)
    for _ in range(tasks):
        task = wave(rng)
        truth = task[0] * np.sin(grid + task[1])
        device.native.set_weights(weights)
        before.append(float(np.mean((device.predict(grid) - truth) ** 2)))
        x, y = points(task, 10, rng)
        for _ in range(passes):
            order = rng.permutation(len(x))
            device.learn(x[order], y[order])
        after.append(float(np.mean((device.predict(grid) - truth) ** 2)))
    return float(np.mean(before)), float(np.mean(after))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--tasks", type=int, default=100)
    given = parser.parse_args()
    print("| method | seed | MSE before | after 3 passes of 10 shots | after 32 passes |")
    print("|---|---|---|---|---|")
    for seed in range(given.seeds):
        learner = make_learner(network(seed), LearnOptions("all", loss=Loss.MSE))
        with tempfile.TemporaryDirectory() as folder:
            device = Device(load_native(learner, Path(folder)))
        start = device.native.weights
        for method in (None, FEDSGD, REPTILE):
            weights = start
            if method is not None:
                weights = train(device, start, method, given.rounds, seed)
            before, few = adapted_error(device, weights, given.tasks, 1000 + seed, 3)
            _, many = adapted_error(device, weights, given.tasks, 1000 + seed, 32)
            name = "random initialisation" if method is None else method.name
            print(f"| {name} | {seed} | {before:.2f} | {few:.3f} | {many:.3f} |", flush=True)


if __name__ == "__main__":
    main()
