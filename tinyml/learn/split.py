# SPDX-License-Identifier: Apache-2.0
"""Where a network is cut: the int8 backbone before, the float layers that learn behind."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from tinyml.errors import LearnError
from tinyml.ir.graph import Graph, Node
from tinyml.ops import Conv2D, DepthwiseConv2D, FullyConnected

WEIGHTED = (FullyConnected, Conv2D, DepthwiseConv2D)


@dataclass(frozen=True)
class Split:
    """A cut through one tensor.

    Args:
        backbone: how many of the graph's first nodes stay int8; 0: the float part starts at the
            input.
        features: the tensor between.
        trained: outputs of the weighted nodes that learn.
    """

    backbone: int
    features: str
    trained: frozenset[str]


def split(graph: Graph, layers: str) -> Split:
    """Cuts a float graph as late as the layers that learn allow.

    Args:
        graph: after the float passes; one input, one output.
        layers: "head", "all" or names joined by commas.

    Raises:
        LearnError: an unknown layer, nothing to train, or more than one input or output.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise LearnError(
            f"'{graph.name}' has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs",
            "Learning takes networks with one input and one output.",
        )
    weighted = [n for n in graph.nodes if isinstance(n.op, WEIGHTED)]
    if not weighted:
        raise LearnError(f"'{graph.name}' has no layer with weights: nothing can learn")
    if layers == "head":
        chosen = weighted[-1:]
    elif layers == "all":
        chosen = weighted
    else:
        chosen = [_named(weighted, name.strip()) for name in layers.split(",")]
    first = min(graph.nodes.index(n) for n in chosen)
    cut = next(i for i in range(first, -1, -1) if len(_crossing(graph, i)) == 1)
    if not any(isinstance(n.op, WEIGHTED) for n in graph.nodes[:cut]):
        cut = 0
    (features,) = _crossing(graph, cut)
    return Split(cut, features, frozenset(n.output for n in chosen))


def layer_name(node: Node) -> str:
    """What a user calls a layer: its module, without the operator behind the last slash."""
    return (node.name.rpartition("/")[0] or node.name).strip("/")


def _named(weighted: list[Node], name: str) -> Node:
    found = [n for n in weighted if name in (n.name, layer_name(n))]
    if len(found) == 1:
        return found[0]
    known = [layer_name(n) for n in weighted]
    if len(found) > 1:
        raise LearnError(f"'{name}' names {len(found)} layers", f"Layers: {', '.join(known)}.")
    close = difflib.get_close_matches(name, known, n=1)
    guess = f" Did you mean '{close[0]}'?" if close else ""
    raise LearnError(
        f"there is no layer '{name}' with weights", f"Layers: {', '.join(known)}.{guess}"
    )


def _crossing(graph: Graph, cut: int) -> set[str]:
    """Activations made before node ``cut`` and read from it on."""
    made = {*graph.inputs, *(n.output for n in graph.nodes[:cut])}
    read = {i for n in graph.nodes[cut:] for i in n.inputs} | set(graph.outputs)
    return made & read
