# SPDX-License-Identifier: Apache-2.0
"""Runs operators on images once for each image of a batch.

Kernels on images take one; so does everything that is planned in rows. A batch is split, each
image goes its way, and the results lie side by side again. Where one such operator follows
another, the passes take out what only joins and splits again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinyml.importers.tflite.draft import Draft
from tinyml.importers.tflite.file import Options, StoredModel, StoredOperator

# The place of the image among each operator's inputs.
_ON_IMAGES = {
    "AVERAGE_POOL_2D": 0,
    "CONV_2D": 0,
    "DEPTHWISE_CONV_2D": 0,
    "DEPTH_TO_SPACE": 0,
    "MAX_POOL_2D": 0,
    "RESIZE_BILINEAR": 0,
    "RESIZE_NEAREST_NEIGHBOR": 0,
    "SPACE_TO_DEPTH": 0,
    "TRANSPOSE_CONV": 2,
}
# More images at once are a declared size, not a model for a microcontroller.
_MOST = 16


def split_batches(model: StoredModel) -> StoredModel:
    """The model with one operator for each image."""
    draft = Draft(model)
    instead: dict[int, list[StoredOperator]] = {}
    parts: dict[int, list[int]] = {}
    for operator in model.operators:
        place = _ON_IMAGES.get(operator.kind, len(operator.inputs))
        if place >= len(operator.inputs) or len(operator.outputs) != 1:
            continue
        x, out = operator.inputs[place], operator.outputs[0]
        images = draft.tensors[x].shape[0] if x >= 0 and len(draft.tensors[x].shape) == 4 else 1
        if not 1 < images <= _MOST or draft.tensors[out].shape[:1] != (images,):
            continue
        made: list[StoredOperator] = []
        if x not in parts:
            parts[x] = _images(draft, x, images)
            axis = draft.tensors[operator.inputs[place]]
            zero = draft.store(np.zeros((), np.int32), "INT32")
            constant = replace(axis, name="batch", type="INT32", shape=(), signature=None)
            index = draft.add(replace(constant, buffer=zero, quant=type(axis.quant)()))
            split = Options("SplitOptions", None)
            made.append(StoredOperator("SPLIT", (index, x), tuple(parts[x]), split))
        results = _images(draft, out, images)
        for image, result in zip(parts[x], results, strict=True):
            inputs = (*operator.inputs[:place], image, *operator.inputs[place + 1 :])
            made.append(replace(operator, inputs=inputs, outputs=(result,)))
        joined = Options("ConcatenationOptions", _Joined())
        made.append(StoredOperator("CONCATENATION", tuple(results), (out,), joined))
        instead[id(operator)] = made
    draft.replace_operators([], instead)
    return draft.finish() if instead else model


def _images(draft: Draft, index: int, count: int) -> list[int]:
    """New tensors for the images of a batch."""
    batch = draft.tensors[index]
    one = replace(batch, shape=(1, *batch.shape[1:]), signature=None, buffer=0)
    names: Sequence[str] = [f"{batch.name}_image_{i}" for i in range(count)]
    return [draft.add(replace(one, name=name)) for name in names]


class _Joined:
    """Options of a concatenation along the batch, as the schema's accessors give them."""

    def Axis(self) -> int:  # noqa: N802 - the schema's name
        return 0

    def FusedActivationFunction(self) -> int:  # noqa: N802 - the schema's name
        return 0
