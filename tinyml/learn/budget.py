# SPDX-License-Identifier: Apache-2.0
"""Sparse update: which layers and channels are worth the RAM.

Training a weight costs its bytes in the state; training a layer costs keeping its input, and the
deltas of everything behind it, in the work memory. The worth of a row (an output channel) is the
mean square of its gradient, by labels drawn from the network's own outputs (the diagonal of the
Fisher information): to first order, what one step of SGD on it lowers the loss by.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinyml.errors import LearnError
from tinyml.ir.tensor import Array
from tinyml.learn.memory import plan_floats
from tinyml.learn.options import LearnOptions, Loss
from tinyml.learn.program import Kind, Layer, Program
from tinyml.learn.reference import forward, gradient, outputs_of
from tinyml.learn.writer import Backbone, state_bytes, work_layout

Choice = dict[str, tuple[tuple[int, int], tuple[int, int]]]
_SAMPLES = 16


def ram_bytes(program: Program, options: LearnOptions, backbone: Backbone | None) -> int:
    """State and work of a program."""
    inputs = program.elements(0) if backbone is None else backbone.inputs
    work = work_layout(plan_floats(program), backbone)[1]
    return state_bytes(program, options, inputs) + work


def fit_ram(
    program: Program, options: LearnOptions, backbone: Backbone | None, samples: Sequence[Array]
) -> Program:
    """The program that trains what is worth most within ``options.ram``.

    Args:
        samples: features of real samples; without any, every weight is worth the same.

    Rows of a layer are one contiguous run, so that they stay one matrix. Every depth is tried:
    the further back training reaches, the less RAM is left for rows.

    Raises:
        LearnError: not even the biases of the last layer fit; says what they, and all, need.
    """
    assert options.ram is not None
    whole = ram_bytes(program, options, backbone)
    if whole <= options.ram:
        return program
    worth = _worth(program, samples)
    layers = [layer for layer in program.layers if layer.is_trained]
    best: tuple[float, Program] | None = None
    smallest: tuple[int, str] | None = None
    for depth in range(len(layers)):
        made = _at_depth(program, options, backbone, layers[depth:], worth)
        if isinstance(made, int):
            if smallest is None or made < smallest[0]:
                smallest = (made, layers[depth].name)
        elif best is None or made[0] > best[0]:
            best = made
    if best is None:
        assert smallest is not None
        raise LearnError(
            f"learning needs more than the {options.ram:,} B of --learn-ram: the biases of "
            f"'{smallest[1]}' alone take {smallest[0]:,} B, everything that --learn "
            f"{options.layers} names takes {whole:,} B",
            f"Give --learn-ram {smallest[0]} or more.",
        )
    return best[1]


def _at_depth(
    program: Program,
    options: LearnOptions,
    backbone: Backbone | None,
    layers: Sequence[Layer],
    worth: dict[str, tuple[Array, float]],
) -> tuple[float, Program] | int:
    """Worth and program when training reaches back to the first of ``layers``, or the bytes
    needed when not even its biases fit."""
    assert options.ram is not None
    biases: Choice = {x.name: ((0, 0), (0, x.channels)) for x in layers}
    small = program.train(biases)
    least = ram_bytes(small, options, backbone)
    if least > options.ram:
        biases = {layers[0].name: biases[layers[0].name]}
        small = program.train(biases)
        least = ram_bytes(small, options, backbone)
        if least > options.ram:
            return least
    choice = dict(biases)
    total = sum(worth[name][1] for name in choice)
    value = total
    made = small
    while True:
        options_now = []
        for layer in layers:
            grown = _grown(layer, choice.get(layer.name, ((0, 0), (0, 0))), worth[layer.name][0])
            if grown is None:
                continue
            tried = {**choice, layer.name: grown[0]}
            cost = layer.row_length * (grown[0][0][1] - grown[0][0][0]) - layer.row_length * (
                choice.get(layer.name, ((0, 0), (0, 0)))[0][1]
                - choice.get(layer.name, ((0, 0), (0, 0)))[0][0]
            )
            options_now.append((grown[1] / cost, grown[1], tried))
        for _, gain, tried in sorted(options_now, key=lambda o: -o[0]):
            candidate = program.train(tried)
            if ram_bytes(candidate, options, backbone) <= options.ram:
                choice, made = tried, candidate
                value += gain
                break
        else:
            return value, made


def _grown(
    layer: Layer, now: tuple[tuple[int, int], tuple[int, int]], worth: Array
) -> tuple[tuple[tuple[int, int], tuple[int, int]], float] | None:
    """One more row at the better end of the run, and what it is worth; depthwise layers are
    trained whole, for a row of theirs is no channel."""
    (first, last), biases = now
    rows = len(layer.weights)
    if last - first == rows:
        return None
    if layer.kind is Kind.DEPTHWISE:
        return ((0, rows), biases), float(worth.sum())
    if first == last:
        best = int(np.argmax(worth))
        return ((best, best + 1), biases), float(worth[best])
    left = worth[first - 1] if first > 0 else -1.0
    right = worth[last] if last < rows else -1.0
    if left > right:
        return ((first - 1, last), biases), float(left)
    return ((first, last + 1), biases), float(right)


def _worth(program: Program, samples: Sequence[Array]) -> dict[str, tuple[Array, float]]:
    """By layer: worth of each row, and of all biases."""
    total = np.zeros(program.weight_count)
    vector = program.vector().astype(float)
    rng = np.random.default_rng(0)
    for sample in samples[:_SAMPLES]:
        total += (
            gradient(program, vector, sample, _drawn(program, vector, sample, rng)).gradient ** 2
        )
    found: dict[str, tuple[Array, float]] = {}
    at = 0
    for layer in program.layers:
        rows = layer.rows[1] - layer.rows[0]
        size = rows * layer.row_length
        by_row = total[at : at + size].reshape(rows, -1).sum(axis=1) if rows else np.zeros(0)
        biases = total[at + size : at + layer.trained_weights].sum()
        # Without samples every weight counts the same.
        found[layer.name] = (
            by_row if samples else np.full(rows, float(layer.row_length)),
            float(biases),
        )
        at += layer.trained_weights
    return found


def _drawn(program: Program, vector: Array, sample: Array, rng: np.random.Generator) -> Array | int:
    """A target drawn from what the network predicts."""
    logits = forward(program, vector, sample)[program.output].ravel()[: program.outputs]
    outputs = outputs_of(program.loss, logits)
    if program.loss is Loss.CROSS_ENTROPY:
        return int(rng.choice(len(outputs), p=outputs / outputs.sum()))
    if program.loss is Loss.BCE:
        return np.asarray(rng.random(len(outputs)) < outputs, float)
    return np.asarray(outputs + rng.standard_normal(len(outputs)))
