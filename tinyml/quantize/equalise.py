# SPDX-License-Identifier: Apache-2.0
"""Cross-layer equalisation: evens out the channels of activations between layers.

An int8 activation has one scale for all channels, so a channel of small values keeps few bits.
Dividing a channel by s where it is made and multiplying the weights that read it by s changes
nothing in real numbers, as long as everything between commutes with positive scaling: ReLU, sums
and pooling do, SiLU does not. Weights have a scale per output channel, so where a channel is made
this costs nothing; where it is read, wide channels of weights push small ones down.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv 1906.04721, section 4.1, with measured ranges of activations in place of the first layer's
weights, whose channels have scales of their own here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinyml.ir.execute import run
from tinyml.ir.graph import Graph, Node
from tinyml.ir.tensor import Array
from tinyml.ops import (
    Activation,
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Relu,
)
from tinyml.quantize.calibrate import Sample

WEIGHTED = (Conv2D, DepthwiseConv2D, FullyConnected)
PASSING = (Add, AveragePool2D, MaxPool2D, Relu)
HOMOGENEOUS = (Activation.NONE, Activation.RELU)
# A channel that hardly ever leaves zero would take the weights' scale with it.
LARGEST = 64.0


@dataclass(frozen=True)
class Group:
    """Tensors whose channels can only be scaled together.

    Args:
        tensors: activations, all with the same last axis.
        makers: weighted layers that write one of them.
        readers: weighted layers that read one of them.
    """

    tensors: frozenset[str]
    makers: tuple[Node, ...]
    readers: tuple[Node, ...]


def groups(graph: Graph) -> list[Group]:
    """Every group that can be scaled, in order of execution."""
    made: list[Group] = []
    seen: set[str] = set()
    for node in graph.nodes:
        if isinstance(node.op, WEIGHTED) and node.output not in seen:
            tensors = _joined(graph, node.output)
            seen |= tensors
            group = _group(graph, tensors)
            if group is not None:
                made.append(group)
    return made


def _joined(graph: Graph, start: str) -> set[str]:
    """The tensors that operators which pass scaling on tie to one."""
    found, waiting = set(), [start]
    while waiting:
        tensor = waiting.pop()
        if tensor in found or graph.tensors[tensor].is_constant:
            continue
        found.add(tensor)
        producer = graph.producer(tensor)
        if producer is not None and isinstance(producer.op, PASSING):
            waiting.extend(producer.inputs)
        waiting.extend(n.output for n in graph.consumers(tensor) if isinstance(n.op, PASSING))
    return found


def _group(graph: Graph, tensors: set[str]) -> Group | None:
    """The group, None where something at its edge does not commute with scaling."""
    makers = [graph.producer(t) for t in tensors]
    readers = [n for t in tensors for n in graph.consumers(t)]
    if tensors & {*graph.kept, *graph.inputs}:
        return None
    if len({graph.tensors[t].shape[-1] for t in tensors}) != 1:
        return None
    found: list[Node] = []
    for node in makers:
        if node is None or not _commutes(graph, node):
            return None
        if isinstance(node.op, WEIGHTED):
            found.append(node)
    ends = [n for n in readers if not isinstance(n.op, PASSING)]
    if not ends or not all(isinstance(n.op, WEIGHTED) and _plain(graph, n) for n in ends):
        return None
    order = {id(n): i for i, n in enumerate(graph.nodes)}
    return Group(
        frozenset(tensors),
        tuple(sorted(found, key=lambda n: order[id(n)])),
        tuple(sorted(ends, key=lambda n: order[id(n)])),
    )


def _commutes(graph: Graph, node: Node) -> bool:
    if isinstance(node.op, WEIGHTED):
        return _plain(graph, node) and node.op.activation in HOMOGENEOUS
    if isinstance(node.op, Add):
        constant = any(t.is_constant for t in graph.ins(node))
        shapes = {t.shape for t in graph.ins(node)}
        return not constant and len(shapes) == 1 and node.op.activation in HOMOGENEOUS
    activation = getattr(node.op, "activation", Activation.NONE)
    return isinstance(node.op, PASSING) and activation in HOMOGENEOUS


def _plain(graph: Graph, node: Node) -> bool:
    """Whether weights and bias are constants."""
    return all(t.is_constant for t in graph.ins(node)[1:])


def equalise(
    graph: Graph,
    samples: Sequence[Sample],
    allowed: Callable[[Group], bool] = lambda group: True,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Graph, list[Group]]:
    """An equal float graph with evened channels, and the groups that were scaled.

    Args:
        graph: float, after the float passes.
        samples: inputs by name; what channels reach is measured on them.
        allowed: whether to scale a group.
        advance: called after each sample.
    """
    chosen = [g for g in groups(graph) if allowed(g)]
    if not chosen:
        return graph, []
    peaks: dict[str, Array] = {}
    for sample in samples:
        values = run(graph, sample)
        for name in (t for g in chosen for t in g.tensors):
            peak = np.abs(values[name]).reshape(-1, values[name].shape[-1]).max(0)
            peaks[name] = np.maximum(peaks.get(name, 0.0), peak)
        advance()
    made = graph.copy()
    for group in chosen:
        peak = np.max([peaks[t] for t in group.tensors], axis=0).astype(np.float64)
        factor = _factors(peak, [(n, graph.tensors[n.inputs[1]].values) for n in group.readers])
        for maker in group.makers:
            _scale(made, maker.output, 1 / factor, makes=True)
        for reader in group.readers:
            _scale(made, reader.output, factor, makes=False)
    made.sweep()
    made.check()
    return made, chosen


def _factors(peak: Array, readers: Sequence[tuple[Node, Array]]) -> Array:
    """What each channel is divided by, around 1. Channels that stay at zero are left alone."""
    weights = [
        np.abs(w.astype(np.float64)).reshape(-1, w.shape[-1]).max(0)
        for n, w in readers
        if not isinstance(n.op, DepthwiseConv2D)
    ]
    # Only depthwise layers read: their channels have scales of their own, so nothing is lost.
    factor = np.sqrt(peak / np.maximum(np.max(weights, axis=0), 1e-30)) if weights else peak.copy()
    live = (peak > 0) & np.isfinite(factor) & (factor > 0)
    if weights:
        live &= np.max(weights, axis=0) > 0
    if not live.any():
        return np.ones_like(peak)
    factor = np.where(live, factor / np.exp(np.mean(np.log(factor[live]))), 1.0)
    return np.clip(factor, 1 / LARGEST, LARGEST)


def _scale(graph: Graph, output: str, factor: Array, *, makes: bool) -> None:
    """Scales the weights of the layer that writes ``output``: its own channels and bias where it
    ``makes`` the scaled activation, the channels it reads otherwise."""
    node = graph.producer(output)
    assert node is not None
    weights, bias = graph.tensors[node.inputs[1]], graph.tensors[node.inputs[2]]
    kernel, offset = weights.values.astype(np.float64), bias.values.astype(np.float64)
    if isinstance(node.op, DepthwiseConv2D):
        kernel = kernel * np.repeat(factor, kernel.shape[-1] // len(factor))
    elif makes:
        kernel = kernel * factor.reshape(-1, *(1,) * (kernel.ndim - 1))
    else:
        kernel = kernel * factor
    if makes:
        offset = offset * factor
    # New constants: a constant may be shared with a layer that is not scaled.
    renames = {
        node.inputs[1]: graph.add(weights.with_data(kernel.astype(np.float32))),
        node.inputs[2]: graph.add(bias.with_data(offset.astype(np.float32))),
    }
    graph.nodes = [n.rewired(renames) if n is node else n for n in graph.nodes]
