# SPDX-License-Identifier: Apache-2.0
"""What a learner computes, in float64 numpy: the definition that generated C is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinyml.ir.tensor import Array
from tinyml.learn.options import Loss
from tinyml.learn.program import Function, Kind, Layer, Program, Step
from tinyml.ops import Window

Target = int | Array


@dataclass(frozen=True)
class Gradient:
    """One sample.

    Args:
        loss: before any update.
        outputs: after softmax or sigmoid.
        gradient: of the loss by each trained weight.
    """

    loss: float
    outputs: Array
    gradient: Array


def parameters(program: Program, vector: Array) -> dict[str, tuple[Array, Array]]:
    """Weights and bias of each layer by name, trained values taken from the vector."""
    found = {}
    at = 0
    for layer in program.layers:
        weights, bias = layer.weights.astype(float), layer.bias.astype(float)
        rows = (layer.rows[1] - layer.rows[0]) * layer.row_length
        weights[slice(*layer.rows)] = vector[at : at + rows].reshape(-1, layer.row_length)
        at += rows
        biases = layer.biases[1] - layer.biases[0]
        bias[slice(*layer.biases)] = vector[at : at + biases]
        at += biases
        found[layer.name] = (weights, bias)
    return found


def forward(program: Program, vector: Array, features: Array) -> list[Array]:
    """Every value for one sample, float64."""
    known = parameters(program, vector)
    values: list[Array] = [np.zeros(s) for s in program.shapes]
    values[0] = np.asarray(features, float).reshape(program.shapes[0])
    for step in program.steps:
        values[step.output] = _run(step, [values[i] for i in step.inputs], known).reshape(
            program.shapes[step.output]
        )
    return values


def outputs_of(loss: Loss, logits: Array) -> Array:
    """Results after softmax or sigmoid."""
    if loss is Loss.CROSS_ENTROPY:
        powers = np.exp(logits - logits.max())
        return np.asarray(powers / powers.sum())
    if loss is Loss.BCE:
        return np.asarray(np.exp(-np.logaddexp(0, -logits)))
    return logits


def loss_of(loss: Loss, logits: Array, target: Target) -> tuple[float, Array]:
    """The loss and its gradient by the logits."""
    outputs = outputs_of(loss, logits)
    if loss is Loss.CROSS_ENTROPY:
        label = int(np.asarray(target))
        one_hot = np.eye(len(logits))[label]
        return float(np.logaddexp.reduce(logits) - logits[label]), outputs - one_hot
    wanted = np.asarray(target, float).ravel()
    if loss is Loss.MSE:
        error = outputs - wanted
        return float(np.mean(error**2)), 2 * error / len(error)
    return (
        float(np.mean(np.logaddexp(0, logits) - logits * wanted)),
        (outputs - wanted) / len(wanted),
    )


def gradient(
    program: Program, vector: Array, features: Array, target: Target, active: int | None = None
) -> Gradient:
    """Loss, outputs and gradient of one sample.

    Args:
        features: what the float part reads.
        active: outputs in use; those of the exported network by default.
    """
    values = forward(program, vector, features)
    count = program.outputs if active is None else active
    logits = values[program.output].ravel()[:count]
    value, delta = loss_of(program.loss, logits, target)
    deltas: dict[int, Array] = {program.output: np.zeros(program.elements(program.output))}
    deltas[program.output][:count] = delta
    deltas[program.output] = deltas[program.output].reshape(program.shapes[program.output])
    known = parameters(program, vector)
    pieces: dict[str, tuple[Array, Array]] = {}
    learning = program.learning()
    for step in reversed(program.steps):
        if step.output not in learning:
            continue
        ins = [values[i] for i in step.inputs]
        parts, piece = _derive(step, ins, values[step.output], deltas[step.output], known)
        if piece is not None and isinstance(step.op, Layer):
            pieces[step.op.name] = piece
        for index, part in zip(step.inputs, parts, strict=True):
            if index in learning:
                shaped = part.reshape(program.shapes[index])
                deltas[index] = deltas[index] + shaped if index in deltas else shaped
    collected = [np.zeros(0)]
    for layer in program.layers:
        if layer.is_trained:
            weights, bias = pieces[layer.name]
            collected += [weights[slice(*layer.rows)].ravel(), bias[slice(*layer.biases)]]
    return Gradient(value, outputs_of(program.loss, logits), np.concatenate(collected))


def _taps(window: Window, x: Array) -> Iterator[tuple[int, tuple[slice, ...], Array]]:
    """For each kernel position: its number, where it reads in the padded image, the values."""
    top, bottom, left, right = window.used_padding(x.shape[1], x.shape[2])
    padded = np.pad(x[0], ((top, bottom), (left, right), (0, 0)))
    out_h, out_w = window.output(x.shape[1], x.shape[2])
    for i in range(window.kernel[0]):
        for j in range(window.kernel[1]):
            y0, x0 = i * window.dilation[0], j * window.dilation[1]
            where = (
                slice(y0, y0 + (out_h - 1) * window.stride[0] + 1, window.stride[0]),
                slice(x0, x0 + (out_w - 1) * window.stride[1] + 1, window.stride[1]),
            )
            yield i * window.kernel[1] + j, where, padded[where]


def _unpadded(window: Window, padded: Array, shape: tuple[int, ...]) -> Array:
    top, _, left, _ = window.used_padding(shape[1], shape[2])
    return padded[top : top + shape[1], left : left + shape[2]]


def _padded_zeros(window: Window, shape: tuple[int, ...]) -> Array:
    top, bottom, left, right = window.used_padding(shape[1], shape[2])
    return np.zeros((shape[1] + top + bottom, shape[2] + left + right, shape[3]))


def _inside(window: Window, shape: tuple[int, ...]) -> list[Array]:
    """For each kernel position, which outputs it finds a real pixel for: (h, w, 1) of 0 and 1."""
    ones = np.ones((1, shape[1], shape[2], 1))
    return [values for _, _, values in _taps(window, ones)]


def _run(step: Step, ins: list[Array], known: dict[str, tuple[Array, Array]]) -> Array:
    op, x = step.op, ins[0]
    if isinstance(op, Layer):
        weights, bias = known[op.name]
        if op.kind is Kind.DENSE:
            return np.asarray(x.reshape(op.positions, -1) @ weights.T + bias)
        assert op.window is not None
        total: Array = np.asarray(bias)
        for tap, _, values in _taps(op.window, x):
            if op.kind is Kind.CONV2D:
                channels = x.shape[3]
                total = total + values @ weights[:, tap * channels : (tap + 1) * channels].T
            else:
                repeats = op.channels // x.shape[3]
                total = total + np.repeat(values, repeats, axis=2) * weights[tap]
        return total
    if isinstance(op, Function):
        if op is Function.TANH:
            return np.asarray(np.tanh(x))
        if op is Function.SIGMOID:
            return np.asarray(np.exp(-np.logaddexp(0, -x)))
        return np.clip(x, 0, 6 if op is Function.RELU6 else None)
    if isinstance(op, Window):
        inside = _inside(op, x.shape)
        taps = [values for _, _, values in _taps(op, x)]
        if step.is_max:
            masked = [np.where(i > 0, t, -np.inf) for t, i in zip(taps, inside, strict=True)]
            return np.asarray(np.max(masked, axis=0))
        return np.asarray(sum(taps) / sum(inside))
    if op == "add":
        return np.asarray(ins[0] + ins[1])
    return np.asarray(x.mean(axis=(1, 2)))


def _derive(
    step: Step, ins: list[Array], y: Array, delta: Array, known: dict[str, tuple[Array, Array]]
) -> tuple[list[Array], tuple[Array, Array] | None]:
    """Deltas of the inputs, and the gradient of weights and bias of a layer."""
    op, x = step.op, ins[0]
    if isinstance(op, Layer):
        part, piece = _derive_layer(op, x, delta, known[op.name][0])
        return [part], piece
    if isinstance(op, Function):
        return [delta * _slope(op, y)], None
    if isinstance(op, Window):
        return [_derive_pool(op, step.is_max, x, y, delta[0])], None
    if op == "add":
        return [delta, delta], None
    count = x.shape[1] * x.shape[2]
    return [np.broadcast_to(delta.reshape(1, 1, 1, -1), x.shape) / count], None


def _slope(function: Function, y: Array) -> Array:
    """The derivative, from the output."""
    if function is Function.RELU:
        return np.asarray(y > 0, float)
    if function is Function.RELU6:
        return np.asarray((y > 0) & (y < 6), float)
    return 1 - y**2 if function is Function.TANH else y * (1 - y)


def _derive_layer(
    layer: Layer, x: Array, delta: Array, weights: Array
) -> tuple[Array, tuple[Array, Array]]:
    if layer.kind is Kind.DENSE:
        rows, d = x.reshape(layer.positions, -1), delta.reshape(layer.positions, -1)
        return d @ weights, (d.T @ rows, d.sum(axis=0))
    assert layer.window is not None
    d = delta[0]
    padded = _padded_zeros(layer.window, x.shape)
    grown = np.zeros_like(weights)
    channels = x.shape[3]
    for tap, where, values in _taps(layer.window, x):
        if layer.kind is Kind.CONV2D:
            columns = slice(tap * channels, (tap + 1) * channels)
            grown[:, columns] = np.einsum("hwo,hwi->oi", d, values)
            padded[where] += d @ weights[:, columns]
        else:
            repeats = layer.channels // channels
            grown[tap] = np.einsum("hwc,hwc->c", d, np.repeat(values, repeats, axis=2))
            back = (d * weights[tap]).reshape(*d.shape[:2], channels, repeats).sum(axis=3)
            padded[where] += back
    return _unpadded(layer.window, padded, x.shape), (grown, d.sum(axis=(0, 1)))


def _derive_pool(window: Window, is_max: bool, x: Array, y: Array, d: Array) -> Array:
    padded = _padded_zeros(window, x.shape)
    inside = _inside(window, x.shape)
    count = sum(inside)
    free = np.ones_like(d)
    for (_, where, values), real in zip(_taps(window, x), inside, strict=True):
        if is_max:
            # The first of equal taps takes all.
            winner = (values == y[0]) * real * free
            free = free - winner
            padded[where] += d * winner
        else:
            padded[where] += d * real / count
    return _unpadded(window, padded, x.shape)
