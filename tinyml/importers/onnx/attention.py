# SPDX-License-Identifier: Apache-2.0
"""Masked attention: conditions on ids, and softmax over what they leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from tinyml.importers.onnx import movement, reductions  # noqa: F401 - extended here
from tinyml.importers.onnx.registry import (
    TRANSLATORS,
    Unsupported,
    attributes_of,
    translates,
)
from tinyml.ops import MaskedSoftmax

if TYPE_CHECKING:
    from tinyml.importers.onnx.importer import Translation

# Scores below this count as masked out; frameworks write -inf, -1e4, or the least float.
_MASKED = -1e3


@translates("Equal")
def _equal(t: Translation, node: onnx.NodeProto) -> None:
    given = [t.constant(node, i) if t.is_constant(node.input[i]) else None for i in range(2)]
    side = next((i for i in range(2) if given[i] is None), None)
    value = None if side is None else given[1 - side]
    if side is None or value is None or value.size != 1:
        raise Unsupported("anything but ids against one constant")
    t.conditions[node.output[0]] = (t.read(node.input[side]), int(value.ravel()[0]))


@translates("Where")
def _where(t: Translation, node: onnx.NodeProto) -> None:
    condition = t.conditions.get(node.input[0])
    lowest = t.constant(node, 1) if t.is_constant(node.input[1]) else None
    if condition is None or lowest is None or np.any(lowest > _MASKED):
        raise Unsupported("anything but masking scores by Where(ids == padding, -inf, scores)")
    ids, padding = condition
    scores = t.read(node.input[2])
    if t.graph.tensors[ids].shape != (1, t.graph.tensors[scores].shape[-1]):
        raise Unsupported("a mask that is not one value a key")
    t.masked[node.output[0]] = (scores, ids, padding)


_softmax_of_all = TRANSLATORS["Softmax"]


@translates("Softmax")
def _softmax(t: Translation, node: onnx.NodeProto) -> None:
    found = t.masked.get(node.input[0])
    if found is None:
        _softmax_of_all(t, node)
        return
    scores, ids, padding = found
    rank = len(t.graph.tensors[scores].shape)
    if int(attributes_of(node).get("axis", -1)) % rank != rank - 1:
        raise Unsupported("a masked softmax over another axis than the last")
    t.bind(node.output[0], t.apply(MaskedSoftmax(padding), [scores, ids]))


def _renamed(kind: str) -> None:
    """Lets a condition pass an operator that only adds axes of size 1."""
    plain = TRANSLATORS[kind]

    @translates(kind)
    def translate(t: Translation, node: onnx.NodeProto) -> None:
        if node.input[0] in t.conditions:
            t.conditions[node.output[0]] = t.conditions[node.input[0]]
        else:
            plain(t, node)


for _kind in ("Unsqueeze", "Reshape", "Identity", "Expand"):
    _renamed(_kind)
