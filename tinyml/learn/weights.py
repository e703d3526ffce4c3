# SPDX-License-Identifier: Apache-2.0
"""The trained weights of a learner as one vector: out of a float graph, and back into one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyml.errors import LearnError
from tinyml.ir.graph import Graph
from tinyml.ir.tensor import Array
from tinyml.learn.options import LearnOptions
from tinyml.learn.program import Layer, Program, build_program
from tinyml.learn.split import layer_name, split


@dataclass(frozen=True)
class Learned:
    """Weights that devices trained, to be compiled.

    Args:
        options: of the learner that they belong to.
        vector: float32, layer after layer, each its rows and then its biases.
    """

    options: LearnOptions
    vector: Array


def trained_layers(program: Program) -> list[Layer]:
    """Layers of which something is trained, input first."""
    return [s.op for s in program.steps if isinstance(s.op, Layer) and s.op.is_trained]


def initial_weights(program: Program) -> Array:
    """The vector that learning starts from, float32."""
    parts = []
    for layer in trained_layers(program):
        parts += [layer.weights[slice(*layer.rows)].ravel(), layer.bias[slice(*layer.biases)]]
    return np.concatenate(parts).astype(np.float32)


def read_vector(path: Path) -> Array:
    """float32, little endian.

    Raises:
        LearnError: the file cannot be read, is no whole number of values, or one is not finite.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LearnError(f"{path} cannot be read: {error.strerror}") from None
    if not data or len(data) % 4:
        raise LearnError(f"{path} has {len(data)} bytes: no whole number of float32 values")
    vector = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.all(np.isfinite(vector)):
        raise LearnError(f"{path} holds a value that is not finite")
    return vector


def with_learned(graph: Graph, learned: Learned) -> Graph:
    """The float graph with trained weights in their places.

    Args:
        graph: after the float passes.

    Raises:
        LearnError: the vector has another size than the learner trains.
    """
    if learned.options.ram is not None:
        raise LearnError(
            "weights of a learner that was fitted to --learn-ram cannot be compiled",
            "Train whole layers: --learn head, all or names.",
        )
    layers = trained_layers(
        build_program(graph, split(graph, learned.options.layers), learned.options)
    )
    size = sum(layer.trained_weights for layer in layers)
    if learned.vector.shape != (size,):
        raise LearnError(
            f"{learned.vector.size:,} weights were learned, '{graph.name}' trains {size:,}",
            "They belong to another network, or to other --learn layers.",
        )
    made, at = graph.copy(), 0
    nodes = {layer_name(n): n for n in graph.nodes}
    for layer in layers:
        node = nodes[layer.name]
        weights = graph.tensors[node.inputs[1]]
        bias = graph.tensors[node.inputs[2]]
        for tensor, count in (
            (weights, (layer.rows[1] - layer.rows[0]) * layer.row_length),
            (bias, layer.biases[1] - layer.biases[0]),
        ):
            part = learned.vector[at : at + count][: tensor.elements]
            made.tensors[tensor.name] = replace(tensor, data=part.reshape(tensor.shape))
            at += count
    return made
