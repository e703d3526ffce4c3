# SPDX-License-Identifier: Apache-2.0
"""Bias correction: takes the mean error of rounded weights and clipped inputs out of a layer.

Rounding shifts the mean of a layer's sums where its inputs have a mean (after ReLU or SiLU). The
shift is the same for every sample, so the bias can take it away at no cost on the device.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv 1906.04721, section 4.2, the empirical form: layer by layer, each on what the corrected
layers before it give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tinyml.ir.execute import run
from tinyml.ir.fixedpoint import INT32_MAX, INT32_MIN
from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import Array, Tensor
from tinyml.ops import Activation, Conv2D, DepthwiseConv2D, FullyConnected
from tinyml.ops.activation import with_activation
from tinyml.quantize.calibrate import Sample

WEIGHTED = (Conv2D, DepthwiseConv2D, FullyConnected)


def correct_biases(
    graph: Graph,
    made: Graph,
    samples: Sequence[Sample],
    allowed: Callable[[Node], bool] = lambda node: True,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Graph, dict[str, float]]:
    """The integer graph with corrected biases, and the largest shift of each layer.

    Args:
        graph: float.
        made: its integer graph.
        samples: calibration samples by input name; all activations of all of them are held.
        allowed: whether to correct a layer.
        advance: called after each layer.

    Returns:
        The graph, and by layer name the largest shift over its channels, as a real number.
    """
    made = made.copy()
    exact = [run(graph, s) for s in samples]
    values = [{n: _integers(made.tensors[n], s[n]) for n in made.inputs} for s in samples]
    layers = {n.output: n for n in graph.nodes if isinstance(n.op, WEIGHTED)}
    shifts: dict[str, float] = {}
    for index, node in enumerate(made.nodes):
        real = layers.get(node.output)
        if real is not None and _correctable(made, node) and allowed(node):
            error = np.mean(
                [_error(graph, made, real, node, e, v) for e, v in zip(exact, values, strict=True)],
                axis=0,
            )
            node = _shifted(made, node, error)
            made.nodes[index] = node
            shifts[node.name] = float(np.max(np.abs(error)))
        ins, out = made.ins(node), made.out(node)
        for held in values:
            arrays = [t.data if t.data is not None else held[t.name] for t in ins]
            held[out.name] = node.op.run_int(arrays, ins, out)
        advance()
    made.sweep()
    made.check()
    return made, shifts


def _correctable(made: Graph, node: Node) -> bool:
    ins = made.ins(node)
    return ins[0].quant is not None and all(t.is_constant for t in ins[1:])


def _error(
    graph: Graph,
    made: Graph,
    real: Node,
    node: Node,
    exact: dict[str, Array],
    held: dict[str, Array],
) -> Array:
    """The mean over a sample of (exact - rounded) sums, by output channel, before activation."""
    op = with_activation(node.op, Activation.NONE)
    ins = made.ins(node)
    rounded = [ins[0].q.dequantise(held[ins[0].name])]
    rounded += [t.q.dequantise(t.values) for t in ins[1:]]
    constants = [graph.tensors[i].values for i in real.inputs[1:]]
    wanted = op.run_float([exact[real.inputs[0]], *constants])
    found = op.run_float([a.astype(np.float32) for a in rounded])
    difference = wanted.astype(np.float64) - found
    return np.asarray(difference.reshape(-1, difference.shape[-1]).mean(0))


def _shifted(made: Graph, node: Node, error: Array) -> Node:
    bias = made.tensors[node.inputs[2]]
    moved = bias.values.astype(np.int64) + np.rint(error / np.asarray(bias.q.scale)).astype(
        np.int64
    )
    moved = np.clip(moved, INT32_MIN, INT32_MAX).astype(bias.dtype.numpy)
    name = made.add(replace(bias, data=moved))
    return replace(node, inputs=(*node.inputs[:2], name))


def _integers(tensor: Tensor, value: Array) -> Array:
    return value if tensor.quant is None else tensor.quant.quantise(value, tensor.dtype)
