# SPDX-License-Identifier: Apache-2.0
"""Makes images NHWC throughout.

Requires: a float graph in which transposes surround NHWC operators.
Ensures: no transpose is left between a graph input and its only reader, nor two in a row.
Rules, applied until none fits:
 1. A transpose of a transpose is one transpose; of nothing, none.
 2. A transpose that moves only sizes of 1 is a reshape, once no other rule fits; a reshape of a
    reshape is one reshape.
 3. Elementwise operators, concatenation, padding, slices, picks and reductions of neighbouring
    axes move above a transpose.
 4. A transpose, flattened into a fully connected layer, becomes a permutation of its weights.
 5. A transpose of a graph input to NHWC, or of the last image from NHWC, becomes part of the
    model's contract (`Graph.source_layout`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Operator
from tinyml.ir.tensor import Tensor
from tinyml.ops import (
    Concatenation,
    FullyConnected,
    Gather,
    Pad,
    Reduction,
    Reshape,
    Slice,
    Transpose,
    Unary,
)
from tinyml.ops.binary import Binary
from tinyml.passes.manager import Pass

Permutation = tuple[int, ...]
TO_NHWC: Permutation = (0, 2, 3, 1)


def _inverse(permutation: Permutation) -> Permutation:
    return tuple(int(i) for i in np.argsort(permutation))


def _compose(first: Permutation, second: Permutation) -> Permutation:
    """The permutation of applying ``first``, then ``second``."""
    return tuple(first[i] for i in second)


class CancelTransposes(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        changed = True
        while changed:
            graph.sweep()
            changed = (
                any(self._rewrite(graph, node) for node in list(graph.nodes))
                or any(self._adopt_input(graph, name) for name in list(graph.inputs))
                or any(transpose_as_reshape(graph, node) for node in list(graph.nodes))
            )
        for name in list(graph.outputs):
            self._adopt_output(graph, name)

    def ensures(self, graph: Graph) -> str | None:
        for node in graph.nodes:
            producer = graph.producer(node.inputs[0])
            if isinstance(node.op, Transpose) and isinstance(
                producer.op if producer else None, Transpose
            ):
                return f"two transposes in a row at '{node.name}'"
        return None

    def _rewrite(self, graph: Graph, node: Node) -> bool:
        if node not in graph.nodes:
            return False
        if isinstance(node.op, Transpose):
            return merge_transpose(graph, node)
        if isinstance(node.op, Reshape):
            return merge_reshape(graph, node)
        if isinstance(node.op, FullyConnected):
            return self._fully_connected(graph, node)
        if isinstance(node.op, Gather | Pad | Reduction | Slice):
            return self._sink_one(graph, node)
        if isinstance(node.op, Unary | Binary | Concatenation):
            return self._sink(graph, node)
        return False

    @staticmethod
    def _fully_connected(graph: Graph, node: Node) -> bool:
        """Rule 4."""
        flatten = graph.producer(node.inputs[0])
        if flatten is None or not isinstance(flatten.op, Reshape):
            return False
        turn = graph.producer(flatten.inputs[0])
        flat = graph.out(flatten).shape
        if turn is None or not isinstance(turn.op, Transpose) or math.prod(flat[:-1]) != 1:
            return False
        weights = graph.tensors[node.inputs[1]]
        turned = graph.out(turn).shape
        back = _inverse(turn.op.permutation)
        columns = np.arange(flat[-1]).reshape(turned).transpose(back).ravel()
        permuted = replace(weights, data=np.ascontiguousarray(weights.values[:, columns]))
        stored = graph.add(permuted)
        direct = graph.add(Tensor(f"{flatten.output}_nhwc", flat))
        graph.replace_nodes(
            [node],
            [
                replace(flatten, inputs=turn.inputs, output=direct),
                replace(node, inputs=(direct, stored, node.inputs[2])),
            ],
        )
        return True

    def _sink(self, graph: Graph, node: Node) -> bool:
        """Rule 3: op(transpose(x)) becomes transpose(op(x))."""
        turns = [graph.producer(i) for i in node.inputs]
        permutations = {t.op.permutation for t in turns if t and isinstance(t.op, Transpose)}
        if len(permutations) != 1:
            return False
        permutation = permutations.pop()
        back = _inverse(permutation)
        inputs: list[str] = []
        for name, turn in zip(node.inputs, turns, strict=True):
            tensor = graph.tensors[name]
            if turn is not None and isinstance(turn.op, Transpose):
                inputs.append(turn.inputs[0])
            elif tensor.data is not None:
                moved = np.ascontiguousarray(tensor.data.transpose(back))
                inputs.append(graph.add(tensor.with_data(moved, tensor.quant)))
            elif max(tensor.shape) == 1:
                inputs.append(name)
            else:
                return False
        op = node.op
        if isinstance(op, Concatenation):
            op = Concatenation(permutation[op.axis])
        self._turn_after(graph, node, op, inputs, permutation)
        return True

    def _sink_one(self, graph: Graph, node: Node) -> bool:
        """Rule 3 for operators of one activation."""
        turn = graph.producer(node.inputs[0])
        if turn is None or not isinstance(turn.op, Transpose):
            return False
        if isinstance(node.op, Gather) and len(graph.ins(node)[1].shape) != 1:
            return False
        op = _moved(node.op, turn.op.permutation)
        if op is None:
            return False
        inputs = [turn.inputs[0], *node.inputs[1:]]
        self._turn_after(graph, node, op, inputs, turn.op.permutation)
        return True

    @staticmethod
    def _turn_after(
        graph: Graph, node: Node, op: Operator, inputs: Sequence[str], permutation: Permutation
    ) -> None:
        shape = op.infer([graph.tensors[i].shape for i in inputs])
        inner = graph.add(Tensor(f"{node.output}_nhwc", shape))
        graph.replace_nodes(
            [node],
            [
                Node(op, tuple(inputs), inner, node.name),
                Node(Transpose(permutation), (inner,), node.output, node.name),
            ],
        )

    @staticmethod
    def _adopt_input(graph: Graph, name: str) -> bool:
        """Rule 5 for inputs: the caller hands over the transposed array."""
        if name in graph.source_layout or not _turned_later(graph, name):
            return False
        tensor = graph.tensors[name]
        shape = tuple(tensor.shape[i] for i in TO_NHWC)
        restored = graph.add(Tensor(f"{name}_source", tensor.shape))
        graph.tensors[name] = replace(tensor, shape=shape)
        graph.nodes = [n.rewired({name: restored}) for n in graph.nodes]
        turn = Node(Transpose(_inverse(TO_NHWC)), (name,), restored, name)
        graph.nodes.insert(0, turn)
        graph.source_layout[name] = TO_NHWC
        return True

    @staticmethod
    def _adopt_output(graph: Graph, name: str) -> None:
        """Rule 5 for outputs: the caller receives the array before its last transpose."""
        node = graph.producer(name)
        if node is None or node.op != Transpose(_inverse(TO_NHWC)) or graph.consumers(name):
            return
        source = graph.producer(node.inputs[0])
        if source is None or graph.consumers(source.output) != [node]:
            return
        graph.tensors[name] = replace(graph.tensors[name], shape=graph.out(source).shape)
        graph.replace_nodes([source, node], [replace(source, output=name)])
        graph.source_layout[name] = TO_NHWC


def _turned_later(graph: Graph, name: str) -> bool:
    """Whether a tensor is made NHWC, by itself or after elementwise operators and padding."""
    return any(
        n.op == Transpose(TO_NHWC)
        or (isinstance(n.op, Unary | Binary | Pad) and _turned_later(graph, n.output))
        for n in graph.consumers(name)
    )


def _moved(op: Operator, permutation: Permutation) -> Operator | None:
    """The operator on the transpose's input instead of its output; None where it has no such."""
    back = _inverse(permutation)
    if isinstance(op, Pad):
        before, after = (tuple(side[i] for i in back) for side in (op.before, op.after))
        return replace(op, before=before, after=after)
    if isinstance(op, Slice):
        stride = tuple(op.stride[i] for i in back) if op.stride else op.stride
        return Slice(tuple(op.begin[i] for i in back), tuple(op.size[i] for i in back), stride)
    if isinstance(op, Gather):
        return Gather(permutation[op.axis])
    assert isinstance(op, Reduction)
    axes = tuple(sorted(permutation[a] for a in op.axes))
    neighbours = axes == tuple(range(axes[0], axes[0] + len(axes)))
    return replace(op, axes=axes) if neighbours else None


def merge_transpose(graph: Graph, node: Node) -> bool:
    """Rule 1: whether the transpose was removed or merged with the one before it."""
    assert isinstance(node.op, Transpose)
    permutation = node.op.permutation
    if permutation == tuple(range(len(permutation))):
        graph.rename_reads(node.output, node.inputs[0])
        graph.replace_nodes([node], [])
        return True
    producer = graph.producer(node.inputs[0])
    if producer is not None and isinstance(producer.op, Transpose):
        op = Transpose(_compose(producer.op.permutation, permutation))
        graph.replace_nodes([node], [replace(node, op=op, inputs=producer.inputs)])
        return True
    return False


def transpose_as_reshape(graph: Graph, node: Node) -> bool:
    """Rule 2: whether the transpose became a reshape."""
    if not isinstance(node.op, Transpose):
        return False
    shape = graph.ins(node)[0].shape
    moved = [i for i in node.op.permutation if shape[i] != 1]
    if moved != sorted(moved):
        return False
    graph.replace_nodes([node], [replace(node, op=Reshape(graph.out(node).shape))])
    return True


def merge_reshape(graph: Graph, node: Node) -> bool:
    """Rule 2: whether the reshape was removed or merged with the one before it."""
    source = graph.ins(node)[0]
    if graph.out(node).shape == source.shape:
        graph.rename_reads(node.output, source.name)
        graph.replace_nodes([node], [])
        return True
    producer = graph.producer(source.name)
    if producer is not None and isinstance(producer.op, Reshape):
        graph.replace_nodes([node], [replace(node, inputs=producer.inputs)])
        return True
    return False
