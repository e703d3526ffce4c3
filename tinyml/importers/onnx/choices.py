# SPDX-License-Identifier: Apache-2.0
"""Where(x > constant, f(x), g(x)): activations that exporters spell as a choice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import onnx

from tinyml.importers.onnx import attention  # noqa: F401 - extended here
from tinyml.importers.onnx.registry import TRANSLATORS, Unsupported, required, translates
from tinyml.ops import Piecewise, Unary
from tinyml.ops.binary import Binary
from tinyml.ops.function import Chain, Step

if TYPE_CHECKING:
    from tinyml.importers.onnx.importer import Translation

_RELATIONS = {
    "Greater": "greater",
    "GreaterOrEqual": "greater or equal",
    "Less": "less",
    "LessOrEqual": "less or equal",
}


@translates(*_RELATIONS)
def _compare(t: Translation, node: onnx.NodeProto) -> None:
    threshold = required(t, node, 1)
    if threshold.size != 1:
        raise Unsupported("a comparison with more than one number")
    held = (t.read(node.input[0]), _RELATIONS[node.op_type], float(threshold.ravel()[0]))
    t.choices[node.output[0]] = held


_masked = TRANSLATORS["Where"]


@translates("Where")
def _where(t: Translation, node: onnx.NodeProto) -> None:
    found = t.choices.get(node.input[0])
    if found is None:
        _masked(t, node)
        return
    tested, relation, threshold = found
    sides = [
        float(required(t, node, i).ravel()[0])
        if t.is_constant(node.input[i]) and required(t, node, i).size == 1
        else t.read(node.input[i])
        for i in (1, 2)
    ]
    # The nearest tensor that all of them are made of, one operator after the other.
    for root, before in _back(t, tested):
        chains = [s if isinstance(s, float) else _from(t, root, s) for s in sides]
        holds, fails = chains
        if holds is not None and fails is not None:
            made = t.apply(Piecewise(relation, threshold, before, holds, fails), [root])
            t.bind(node.output[0], made)
            return
    raise Unsupported("a choice between anything but functions of the tensor that is compared")


def _back(t: Translation, tensor: str) -> Iterator[tuple[str, tuple[Step, ...]]]:
    """The tensors a tensor is made of, nearest first, with the steps from each to it."""
    steps: tuple[Step, ...] = ()
    while True:
        yield tensor, steps
        node = t.graph.producer(tensor)
        if node is None:
            return
        if isinstance(node.op, Unary):
            steps, tensor = (Step(node.op), *steps), node.inputs[0]
            continue
        ins = t.graph.ins(node)
        given = [i for i, x in enumerate(ins) if x.data is not None and x.elements == 1]
        if not isinstance(node.op, Binary) or len(given) != 1 or len(ins) != 2:
            return
        place = given[0]
        number = float(ins[place].values.ravel()[0])
        steps = (Step(node.op, number, place == 0), *steps)
        tensor = node.inputs[1 - place]


def _from(t: Translation, root: str, tensor: str) -> Chain | None:
    return next((steps for found, steps in _back(t, tensor) if found == root), None)
