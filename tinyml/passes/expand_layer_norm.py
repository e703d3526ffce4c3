# SPDX-License-Identifier: Apache-2.0
"""Says layer normalisation in operators that TFLite-Micro has.

Requires: a float graph.
Ensures: no LayerNorm is left. Each is
    m = mean(x)   d = x - m   r = 1 / sqrt(mean(d * d) + epsilon)   y = d * r * gain + offset
over the last axis. These need int16 (`Node.wide`): in int8 the statistics lose most of the signal.
Where all readers of y are fully connected layers, gain and offset go into their weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Operator
from tinyml.ir.tensor import Array, Tensor
from tinyml.ops import Add, FullyConnected, LayerNorm, Mean, Mul, Rsqrt, Sub
from tinyml.passes.manager import Pass


class ExpandLayerNorm(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        for node in list(graph.nodes):
            if isinstance(node.op, LayerNorm):
                _fold_into_readers(graph, node)
                _expand(graph, node)

    def ensures(self, graph: Graph) -> str | None:
        left = next((n for n in graph.nodes if isinstance(n.op, LayerNorm)), None)
        return f"'{left.name}' is left" if left else None


def _fold_into_readers(graph: Graph, node: Node) -> None:
    readers = graph.consumers(node.output)
    if node.output in graph.outputs or not all(isinstance(r.op, FullyConnected) for r in readers):
        return
    gain, offset = (graph.tensors[i].values for i in node.inputs[1:])
    for reader in readers:
        weights, bias = (graph.tensors[i] for i in reader.inputs[1:])
        inputs = (
            reader.inputs[0],
            _constant(graph, weights, weights.values * gain),
            _constant(graph, bias, bias.values + weights.values @ offset),
        )
        graph.replace_nodes([reader], [replace(reader, inputs=inputs)])
    plain = (
        node.inputs[0],
        _constant(graph, graph.tensors[node.inputs[1]], np.ones_like(gain)),
        _constant(graph, graph.tensors[node.inputs[2]], np.zeros_like(offset)),
    )
    node_now = next(n for n in graph.nodes if n.output == node.output)
    graph.replace_nodes([node_now], [replace(node_now, inputs=plain)])


def _constant(graph: Graph, like: Tensor, values: Array) -> str:
    return graph.add(like.with_data(np.asarray(values, np.float32)))


def _expand(graph: Graph, old: Node) -> None:
    node = next(n for n in graph.nodes if n.output == old.output)
    assert isinstance(node.op, LayerNorm)
    x, gain, offset = node.inputs
    shape = graph.tensors[x].shape
    made: list[Node] = []

    def apply(op: Operator, inputs: tuple[str, ...], part: str) -> str:
        output = graph.add(
            Tensor(f"{node.output}_{part}", op.infer([graph.tensors[i].shape for i in inputs]))
        )
        made.append(Node(op, inputs, output, f"{node.name} {part}", wide=True))
        return output

    def constant(values: Array, part: str) -> str:
        lead = (1,) * (len(shape) - values.ndim)
        data = np.asarray(values, np.float32).reshape(lead + values.shape)
        return graph.add(Tensor(f"{node.output}_{part}", data.shape, data=data))

    mean = Mean((len(shape) - 1,))
    centred = apply(Sub(), (x, apply(mean, (x,), "mean")), "centred")
    variance = apply(mean, (apply(Mul(), (centred, centred), "square"),), "variance")
    epsilon = constant(np.full((1,), node.op.epsilon), "epsilon")
    root = apply(Rsqrt(), (apply(Add(), (variance, epsilon), "floor"),), "rsqrt")
    y = apply(Mul(), (centred, root), "normal")
    gains, offsets = graph.tensors[gain].values, graph.tensors[offset].values
    if not np.all(gains == 1):
        y = apply(Mul(), (y, constant(gains, "gain")), "scaled")
    if np.any(offsets):
        y = apply(Add(), (y, constant(offsets, "offset")), "shifted")
    # The last one writes the tensor that the readers know, under the layer's own name.
    del graph.tensors[made[-1].output]
    made[-1] = replace(made[-1], output=node.output, name=node.name)
    graph.replace_nodes([node], made)
