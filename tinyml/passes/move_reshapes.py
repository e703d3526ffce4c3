# SPDX-License-Identifier: Apache-2.0
"""Takes reshapes out of the way of fusing: a convolution along a sequence is one of an image of
height 1, with a reshape before and behind it.

Requires: a float graph, images NHWC.
Ensures: no activation or per-channel constant is kept from a weighted layer by a reshape that
leaves the channels as they are, and no padding from the convolution of a sequence by the reshape
to an image.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Operator
from tinyml.ir.tensor import Tensor
from tinyml.ops import Add, Mul, Pad, Relu, Relu6, Reshape, Sub, Transpose
from tinyml.passes.cancel_transposes import merge_reshape
from tinyml.passes.fold_affine import WEIGHTED
from tinyml.passes.manager import Pass


class MoveReshapes(Pass):
    """See the module."""

    def run(self, graph: Graph) -> None:
        changed = True
        while changed:
            changed = any(
                n in graph.nodes
                and (
                    _sink(graph, n)
                    or _pad_later(graph, n)
                    or _turn_first(graph, n)
                    or _merge(graph, n)
                )
                for n in list(graph.nodes)
            )
            graph.sweep()

    def ensures(self, graph: Graph) -> str | None:
        left = next((n for n in graph.nodes if _behind_layer(graph, n) is not None), None)
        return f"a reshape is left before '{left.name}'" if left else None


def _merge(graph: Graph, node: Node) -> bool:
    return isinstance(node.op, Reshape) and merge_reshape(graph, node)


def _behind_layer(graph: Graph, node: Node) -> Node | None:
    """The reshape between a weighted layer and a node that could be folded into it."""
    data = _data_input(graph, node)
    reshape = None if data is None else graph.producer(data)
    if reshape is None or not isinstance(reshape.op, Reshape):
        return None
    source, made = graph.ins(reshape)[0], graph.out(reshape)
    if source.shape[-1:] != made.shape[-1:] or not _alone(graph, reshape.output):
        return None
    # Others that will be folded may stand between.
    at = source.name
    while _alone(graph, at):
        layer = graph.producer(at)
        if layer is None or isinstance(layer.op, WEIGHTED):
            return None if layer is None else reshape
        before = _data_input(graph, layer)
        if before is None:
            return None
        at = before
    return None


def _alone(graph: Graph, tensor: str) -> bool:
    """Whether one node reads a tensor and nothing else does."""
    return len(graph.consumers(tensor)) == 1 and tensor not in graph.kept


def _data_input(graph: Graph, node: Node) -> str | None:
    if isinstance(node.op, Relu | Relu6):
        return node.inputs[0]
    if not isinstance(node.op, Add | Sub | Mul):
        return None
    constants = [graph.tensors[i].data is not None for i in node.inputs]
    if constants not in ([False, True], [True, False]) or (
        isinstance(node.op, Sub) and constants[0]
    ):
        return None
    constant = graph.tensors[node.inputs[constants.index(True)]]
    # Per channel, or one number; and nothing that spreads the data.
    fits = constant.elements in (1, constant.shape[-1])
    data = node.inputs[constants.index(False)]
    return data if fits and graph.tensors[data].shape == graph.out(node).shape else None


def _sink(graph: Graph, node: Node) -> bool:
    """op(reshape(x)) becomes reshape(op(x))."""
    reshape = _behind_layer(graph, node)
    if reshape is None:
        return False
    source = graph.ins(reshape)[0]
    inputs = []
    for name in node.inputs:
        tensor = graph.tensors[name]
        if tensor.data is None:
            inputs.append(source.name)
            continue
        shape = (1,) * (len(source.shape) - 1) + (tensor.elements,)
        data = np.ascontiguousarray(tensor.data.reshape(shape))
        inputs.append(graph.add(replace(tensor, shape=shape, data=data)))
    _swap(graph, [reshape, node], node.op, inputs, Reshape(graph.out(node).shape))
    return True


def _pad_later(graph: Graph, node: Node) -> bool:
    """reshape(pad(x)) becomes pad(reshape(x)) where the reshape makes an image of a sequence."""
    if not isinstance(node.op, Reshape):
        return False
    pad = graph.producer(node.inputs[0])
    if pad is None or not isinstance(pad.op, Pad) or not _alone(graph, pad.output):
        return False
    source, made = graph.ins(pad)[0].shape, graph.out(node).shape
    if len(source) != 3 or made != (1, *graph.out(pad).shape):
        return False
    op = Pad((0, *pad.op.before), (0, *pad.op.after))
    image = graph.add(Tensor(f"{node.output}_image", (1, *source)))
    graph.replace_nodes(
        [pad, node],
        [
            Node(Reshape((1, *source)), pad.inputs[:1], image, node.name),
            Node(op, (image, *pad.inputs[1:]), node.output, pad.name),
        ],
    )
    return True


def _turn_first(graph: Graph, node: Node) -> bool:
    """transpose(pad(x)) becomes pad(transpose(x)) where an image is made of the sequence."""
    if node.op != Transpose((0, 2, 1)):
        return False
    pad, readers = graph.producer(node.inputs[0]), graph.consumers(node.output)
    if pad is None or not isinstance(pad.op, Pad) or not _alone(graph, pad.output):
        return False
    if [graph.out(r).shape for r in readers] != [(1, *graph.out(node).shape)]:
        return False
    before, after = (tuple(side[a] for a in (0, 2, 1)) for side in (pad.op.before, pad.op.after))
    turned = node.op.infer([graph.ins(pad)[0].shape])
    inner = graph.add(Tensor(f"{node.output}_bare", turned))
    graph.replace_nodes(
        [pad, node],
        [
            Node(node.op, pad.inputs[:1], inner, node.name),
            Node(Pad(before, after), (inner, *pad.inputs[1:]), node.output, pad.name),
        ],
    )
    return True


def _swap(graph: Graph, old: list[Node], op: Operator, inputs: list[str], then: Operator) -> None:
    node = old[-1]
    shape = op.infer([graph.tensors[i].shape for i in inputs])
    inner = graph.add(Tensor(f"{node.output}_image", shape))
    graph.replace_nodes(
        old,
        [
            Node(op, tuple(inputs), inner, node.name, node.wide),
            Node(then, (inner,), node.output, node.name),
        ],
    )
