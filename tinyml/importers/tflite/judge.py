# SPDX-License-Identifier: Apache-2.0
"""Which files TFLite-Micro runs wrongly, so that LiteRT has to say what is right."""

from __future__ import annotations

from tinyml.importers.tflite.draft import Draft
from tinyml.importers.tflite.file import StoredModel, parse
from tinyml.importers.tflite.shapes import fold_shapes


def why_not_micro(data: bytes) -> str:
    """Why TFLite-Micro's output on a file is no measure, empty where it is one.

    Raises:
        ImportModelError: the file is damaged.
    """
    model = parse(data)
    settled = fold_shapes(model)
    for before, after in zip(model.tensors, settled.tensors, strict=False):
        if before.shape != after.shape:
            return f"the file declares '{before.name}' as {before.shape}, it is {after.shape}"
    if _pads_batches(settled):
        return "its SPACE_TO_BATCH_ND pads with an integer that is never set"
    return ""


def _pads_batches(model: StoredModel) -> bool:
    draft = Draft(model)
    for operator in model.operators:
        if operator.kind != "SPACE_TO_BATCH_ND" or len(operator.inputs) != 3:
            continue
        pads = draft.constant(operator.inputs[2], 16)
        if pads is not None and pads.any():
            return True
    return False
