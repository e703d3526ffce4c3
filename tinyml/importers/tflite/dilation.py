# SPDX-License-Identifier: Apache-2.0
"""Finds dilated convolutions that are spelled as SPACE_TO_BATCH_ND, a convolution,
BATCH_TO_SPACE_ND, as Keras's dilation_rate is converted.

The middle convolution sees every d-th pixel as one image of a batch; padding adds the zero point,
as a convolution's own padding does. A one-dimensional convolution has an axis of size 1 put in
before and taken out after.
"""

from __future__ import annotations

from dataclasses import replace

from tinyml.importers.tflite.draft import Draft
from tinyml.importers.tflite.file import Dilation, StoredModel, StoredOperator

_CONVOLUTIONS = {"CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions"}
_ONES = ("EXPAND_DIMS", "SQUEEZE", "RESHAPE")
_VALID = 1


def fold_dilation(model: StoredModel) -> StoredModel:
    """The model with each such triple as one convolution that has a `Dilation`."""
    if all(o.kind != "BATCH_TO_SPACE_ND" for o in model.operators):
        return model
    draft = Draft(model)
    writers, reads = draft.writers(), draft.reads()
    instead: dict[int, list[StoredOperator]] = {}
    loose: list[StoredOperator] = []
    for last in model.operators:
        if last.kind != "BATCH_TO_SPACE_ND" or len(last.inputs) != 3 or len(last.outputs) != 1:
            continue
        chain = _chain(last, writers)
        if chain is None or any(reads[o.outputs[0]] != 1 for o in chain[2:]):
            continue
        made = _convolution(draft, chain, last)
        if made is not None:
            instead[id(last)] = made
            loose += chain
    draft.replace_operators([], instead)
    draft.sweep(loose)
    return draft.finish()


def _chain(last: StoredOperator, writers: dict[int, StoredOperator]) -> list[StoredOperator] | None:
    """SPACE_TO_BATCH_ND, reshape or nothing, convolution, reshape or nothing; the operators in
    front of the convolution may serve others too."""
    back: list[StoredOperator] = []
    at = last
    for _ in range(4):
        index = at.inputs[0]
        found = writers.get(index)
        if found is None or len(found.outputs) != 1 or not found.inputs:
            return None
        at = found
        back.append(at)
        if at.kind == "SPACE_TO_BATCH_ND":
            break
        if at.kind not in _CONVOLUTIONS and at.kind not in _ONES:
            return None
    kinds = [o.kind for o in reversed(back)]
    middle = [k for k in kinds if k in _CONVOLUTIONS]
    plain = kinds[0] == "SPACE_TO_BATCH_ND" and len(middle) == 1 and len(back[-1].inputs) == 3
    if not plain or kinds.index(middle[0]) != len(kinds) // 2 or len(kinds) not in (2, 4):
        return None
    found_chain = back[::-1]
    if len(kinds) == 2:
        # No reshapes: the same positions, so that callers count alike.
        return [found_chain[0], found_chain[0], found_chain[1]]
    return found_chain


def _convolution(
    draft: Draft, chain: list[StoredOperator], last: StoredOperator
) -> list[StoredOperator] | None:
    first, conv = chain[0], chain[2]
    options = conv.options
    if options.name != _CONVOLUTIONS[conv.kind] or options.integer("Padding") != _VALID:
        return None
    if any(options.integer(f) != 1 for f in ("StrideH", "StrideW")):
        return None
    if any(options.integer(f) != 1 for f in ("DilationHFactor", "DilationWFactor")):
        return None
    parts = [draft.constant(i, 4) for i in (*first.inputs[1:], *last.inputs[1:])]
    if any(p is None for p in parts):
        return None
    block, pads, last_block, crops = ([int(v) for v in p.ravel()] for p in parts if p is not None)
    x, out = draft.tensors[first.inputs[0]], draft.tensors[last.outputs[0]]
    if block != last_block or not 2 * len(block) == len(pads) == len(crops):
        return None
    if len(x.shape) != len(block) + 2 or x.shape[0] != 1 or len(out.shape) != len(x.shape):
        return None
    padding = [p - c for p, c in zip(pads, crops, strict=True)]
    if min(padding) < 0 or min(block) < 1:
        return None
    if len(block) == 2 and len(chain) == 3:
        dilation = Dilation((block[0], block[1]), (padding[0], padding[1], *padding[2:4]))  # type: ignore[arg-type]
        inputs = (first.inputs[0], *conv.inputs[1:])
        return [replace(conv, inputs=inputs, outputs=last.outputs, dilation=dilation)]
    inner, made = draft.tensors[conv.inputs[0]], draft.tensors[conv.outputs[0]]
    if len(block) != 1 or len(chain) != 4 or len(inner.shape) != 4 or len(made.shape) != 4:
        return None
    # Where the axis of size 1 went in: before or after the one that is dilated.
    axis = next((a for a in (1, 2) if inner.shape[a] == 1 == made.shape[a]), None)
    if axis is None or inner.shape[0] != block[0]:
        return None
    wide = tuple(1 if a == axis else x.shape[1] for a in (1, 2))
    narrow = tuple(1 if a == axis else out.shape[1] for a in (1, 2))
    taken = draft.add(replace(inner, shape=(1, *wide, x.shape[2]), signature=None))
    given = draft.add(replace(made, shape=(1, *narrow, out.shape[2]), signature=None))
    across = (1, block[0]) if axis == 1 else (block[0], 1)
    sides = (0, 0, *padding) if axis == 1 else (*padding, 0, 0)
    dilation = Dilation(across, sides)  # type: ignore[arg-type]
    squeeze = replace(conv, kind="SQUEEZE")
    return [
        replace(squeeze, inputs=(first.inputs[0],), outputs=(taken,)),
        replace(conv, inputs=(taken, *conv.inputs[1:]), outputs=(given,), dilation=dilation),
        replace(squeeze, inputs=(given,), outputs=last.outputs),
    ]
