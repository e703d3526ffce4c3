# SPDX-License-Identifier: Apache-2.0
"""Finds tables of 256 results among the operators of a file, and ids that are only brought into
range.

An elementwise int8 function that TFLite-Micro has no operator for is spelled CAST to int32, ADD of
128, GATHER from a constant vector of 256 (see `TfliteBuilder.table`). The three become one
operator of the kind TABLE, which reads the int8 tensor and the vector.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyml.importers.tflite.draft import Draft
from tinyml.importers.tflite.file import StoredModel, StoredOperator

TABLE = "TABLE"
_ENTRIES = 256


def fold_tables(model: StoredModel) -> StoredModel:
    """The model with each such triple as one operator, in the place of its GATHER."""
    writers = {o.outputs[0]: o for o in model.operators if len(o.outputs) == 1}
    readers: dict[int, int] = dict.fromkeys(model.outputs, 2)
    for operator in model.operators:
        for index in operator.inputs:
            readers[index] = readers.get(index, 0) + 1
    dropped: set[int] = set()
    made: dict[int, StoredOperator] = {}
    for gather in model.operators:
        found = _triple(model, gather, writers)
        if found is None or any(readers.get(o.outputs[0], 0) != 1 for o in found):
            continue
        cast, addition = found
        dropped |= {id(cast), id(addition)}
        inputs = (cast.inputs[0], gather.inputs[0])
        made[id(gather)] = replace(gather, kind=TABLE, inputs=inputs)
    kept = tuple(made.get(id(o), o) for o in model.operators if id(o) not in dropped)
    return replace(model, operators=kept)


def _triple(
    model: StoredModel, gather: StoredOperator, writers: dict[int, StoredOperator]
) -> tuple[StoredOperator, StoredOperator] | None:
    if gather.kind != "GATHER" or len(gather.inputs) != 2 or len(gather.outputs) != 1:
        return None
    table = model.tensors[gather.inputs[0]]
    addition = writers.get(gather.inputs[1])
    if table.type != "INT8" or table.shape != (_ENTRIES,) or addition is None:
        return None
    if addition.kind != "ADD" or len(addition.inputs) != 2 or not _is_128(model, addition):
        return None
    cast = writers.get(addition.inputs[0])
    if cast is None or cast.kind != "CAST" or len(cast.inputs) != 1 or cast.inputs[0] < 0:
        return None
    if model.tensors[cast.inputs[0]].type != "INT8":
        return None
    return cast, addition


def _is_128(model: StoredModel, addition: StoredOperator) -> bool:
    if addition.inputs[1] < 0:
        return False
    stored = model.tensors[addition.inputs[1]]
    raw = model.buffers[stored.buffer] if stored.buffer < len(model.buffers) else None
    if stored.type != "INT32" or raw is None or raw.size != 4:
        return False
    return int(np.frombuffer(raw.tobytes(), "<i4")[0]) == 128


def fold_wrapped_ids(model: StoredModel) -> StoredModel:
    """Takes out what brings negative ids into range: GATHER of SELECT_V2(id < 0, id + rows, id),
    as Keras's Embedding is converted. Ids of a model are from 0."""
    draft = Draft(model)
    writers = draft.writers()
    loose: list[StoredOperator] = []
    for index, gather in enumerate(draft.operators):
        if gather.kind != "GATHER" or len(gather.inputs) != 2:
            continue
        select = writers.get(gather.inputs[1])
        if select is None or select.kind != "SELECT_V2" or len(select.inputs) != 3:
            continue
        less, addition = (writers.get(i) for i in select.inputs[:2])
        ids = select.inputs[2]
        rows = draft.tensors[gather.inputs[0]].shape[:1]
        if less is None or addition is None or (less.kind, addition.kind) != ("LESS", "ADD"):
            continue
        zero, more = (draft.constant(o.inputs[-1], 1) for o in (less, addition))
        if zero is None or more is None or less.inputs[0] != ids or addition.inputs[0] != ids:
            continue
        if int(zero.item()) == 0 and (int(more.item()),) == rows:
            draft.operators[index] = replace(gather, inputs=(gather.inputs[0], ids))
            loose += [less, addition, select]
    draft.sweep(loose)
    return draft.finish()
