# SPDX-License-Identifier: Apache-2.0
"""Kernels of fully connected int16 layers."""

from __future__ import annotations

import numpy as np

from tinyml.ir.tensor import Array
from tinyml.kernels.choose import included
from tinyml.kernels.layer import Layer
from tinyml.kernels.pack import padded

# By instruction set: how many inputs of an output lie side by side, and in which order.
_RUNS = {"dsp": (0, 2, 1, 3), "mve": tuple(range(8))}
# Outputs at a time, and inputs in a round of the loop.
_QUAD, _ROUND = 4, 8


def wide_fully_connected(layer: Layer, isa: str) -> tuple[str, Array]:
    """The kernel of a fully connected layer of int16 activations with a 64-bit bias, and its
    weights in the order that it reads.

    The fast ones sum in 32 bits: they are taken where no input can make a sum leave them.

    Args:
        isa: of the target.
    """
    name = "tml_fully_connected_s16"
    inputs = layer.rows.shape[1]
    if np.abs(layer.rows).sum(axis=1).max() >= 1 << 16:
        return name, layer.weights
    for core in included(isa.partition("/")[0]):
        order = _RUNS.get(core)
        if order is not None and inputs % _ROUND == 0:
            quads = padded(layer.rows, _QUAD, 0).reshape(
                -1, _QUAD, inputs // len(order), len(order)
            )
            packed = quads.transpose(0, 2, 1, 3)[..., order]
            return f"{name}_{core}", np.ascontiguousarray(packed.astype(np.int8))
    return name, layer.weights
