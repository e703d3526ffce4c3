# SPDX-License-Identifier: Apache-2.0
"""How kernels walk tensors: sizes and strides of at most four axes, as few as will do."""

from __future__ import annotations

from collections.abc import Sequence

from tinyml.ir.operator import Shape

_AXES = 4
LARGEST_DIM = (1 << 16) - 1  # of the shapes in kernels.h


def element_strides(shape: Shape) -> tuple[int, ...]:
    """Elements from one index of an axis to the next; 0 where the size is 1: it repeats."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(0 if size == 1 else step)
        step *= size
    return tuple(reversed(strides))


def merge_axes(sizes: Shape, *strides: Sequence[int]) -> list[tuple[int, ...]]:
    """Axes of which neighbours that every tensor walks as one are one.

    Args:
        sizes: of the loops, outermost first; at most 4.
        strides: of each tensor.

    Returns:
        Four sizes, and four strides of each tensor.
    """
    merged: list[tuple[int, ...]] = []
    for size, *steps in zip(sizes, *strides, strict=True):
        if size == 1:
            continue
        outer = merged[-1] if merged else None
        if (
            outer
            and outer[0] * size <= LARGEST_DIM
            and list(outer[1:]) == [s * size for s in steps]
        ):
            merged[-1] = (outer[0] * size, *steps)
        else:
            merged.append((size, *steps))
    lead = (1,) + (0,) * len(strides)
    return list(zip(*[lead] * (_AXES - len(merged)), *merged, strict=True))
