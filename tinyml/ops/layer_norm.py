# SPDX-License-Identifier: Apache-2.0
"""Layer normalisation. A float operator only: `passes.expand_layer_norm` turns it into operators
that TFLite-Micro has, and `passes.fuse_norms` makes those one kernel in C, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinyml.ir.operator import Shape
from tinyml.ir.tensor import Array
from tinyml.ops.float_only import FloatOnly


@dataclass(frozen=True)
class LayerNorm(FloatOnly):
    """Inputs x (..., width), gain (width), offset (width); (x - mean) / sqrt(variance + epsilon)
    over the last axis, times gain, plus offset.

    Source: Ba, Kiros, Hinton, arXiv 1607.06450.
    """

    epsilon: float = 1e-5
    kind: ClassVar[str] = "layer_norm"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x, gain, offset = inputs
        if not x or gain != (x[-1],) or offset != gain:
            raise ValueError(f"layer_norm: gain {gain} and offset {offset} do not fit {x}")
        return x

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x, gain, offset = inputs
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        return np.asarray(centred / np.sqrt(variance + np.float32(self.epsilon)) * gain + offset)
