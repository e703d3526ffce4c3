# SPDX-License-Identifier: Apache-2.0
"""Finds masked softmaxes among the operators of a file.

TFLite has no softmax that leaves out the keys of padding; `MaskedSoftmax.to_tflite` spells it in
seven operators from NOT_EQUAL to SELECT_V2. They become one operator of the kind MASKED_SOFTMAX,
which reads the scores, the ids and the id of padding.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from tinyml.importers.tflite.file import StoredModel, StoredOperator

MASKED_SOFTMAX = "MASKED_SOFTMAX"
_SPELLING = ("SELECT_V2", "QUANTIZE", "ADD", "CAST", "SOFTMAX", "SELECT_V2", "NOT_EQUAL")
_MOVED = 32768
_LOWEST = -128
_FULL = 2.0**-16


@dataclass(frozen=True)
class _Found:
    """The operators, the last first, and what the one in their place reads."""

    operators: tuple[StoredOperator, ...]
    inputs: tuple[int, int, int]


def fold_masks(model: StoredModel) -> StoredModel:
    """The model with each masked softmax as one operator, in the place of its last."""
    writers = {o.outputs[0]: o for o in model.operators if len(o.outputs) == 1}
    reads = Counter(i for o in model.operators for i in o.inputs)
    reads.update(model.outputs)
    dropped: set[int] = set()
    made: dict[int, StoredOperator] = {}
    for operator in model.operators:
        found = _masked_softmax(model, operator, writers)
        if found is None or any(reads[o.outputs[0]] != 1 for o in found.operators[1:-1]):
            continue
        if reads[found.operators[-1].outputs[0]] != 2:  # both selections read the mask
            continue
        dropped |= {id(o) for o in found.operators[1:]}
        made[id(operator)] = replace(operator, kind=MASKED_SOFTMAX, inputs=found.inputs)
    kept = tuple(made.get(id(o), o) for o in model.operators if id(o) not in dropped)
    return replace(model, operators=kept)


def _masked_softmax(
    model: StoredModel, last: StoredOperator, writers: dict[int, StoredOperator]
) -> _Found | None:
    """The seven operators that end in ``last``, where they are spelled exactly so."""
    chain = [last]
    for kind in _SPELLING[1:6]:
        # Selections read the computed tensor second, all others first.
        before = chain[-1].inputs
        place = 1 if len(chain) == 1 else 0
        operator = writers.get(before[place]) if len(before) > place else None
        if operator is None or operator.kind != kind:
            return None
        chain.append(operator)
    select, narrow, addition, _, softmax, mask = chain
    if (
        select.kind != _SPELLING[0]
        or len(select.inputs) != 3
        or len(mask.inputs) != 3
        or len(addition.inputs) != 2
        or select.inputs[0] != mask.inputs[0]
    ):
        return None
    flags = writers.get(mask.inputs[0])
    if flags is None or flags.kind != _SPELLING[6] or len(flags.inputs) != 2:
        return None
    constants = (
        _integer(model, mask.inputs[2]),
        _integer(model, select.inputs[2]),
        _integer(model, addition.inputs[1]),
    )
    if constants != (_LOWEST, 0, _MOVED) or _integer(model, flags.inputs[1]) is None:
        return None
    grids = [model.tensors[o.outputs[0]].quant for o in (softmax, addition)]
    if [(q.scale, q.zero_point) for q in grids] != [((_FULL,), (-_MOVED,)), ((_FULL,), (0,))]:
        return None
    kept = [model.tensors[i] for i in (mask.inputs[1], mask.outputs[0])]
    same = kept[0].type == kept[1].type == "INT8" and kept[0].quant == kept[1].quant
    exact = model.tensors[narrow.outputs[0]].quant == model.tensors[select.outputs[0]].quant
    if not (same and exact and softmax.options.real("Beta") == 1.0):
        return None
    inputs = (mask.inputs[1], flags.inputs[0], flags.inputs[1])
    return _Found((*chain, flags), inputs) if min(inputs) >= 0 else None


def _integer(model: StoredModel, index: int) -> int | None:
    """The value of a constant of one integer."""
    if index < 0:
        return None
    stored = model.tensors[index]
    types = {"INT8": "<i1", "INT16": "<i2", "INT32": "<i4"}
    raw = model.buffers[stored.buffer] if stored.buffer < len(model.buffers) else None
    if stored.type not in types or raw is None or stored.variable:
        return None
    dtype = np.dtype(types[stored.type])
    return int(np.frombuffer(raw.tobytes(), dtype)[0]) if raw.size == dtype.itemsize else None
