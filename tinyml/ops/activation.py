# SPDX-License-Identifier: Apache-2.0
"""Activations fused into another operator's output clamp."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tinyml.ir.tensor import Array, DType, Quantisation

if TYPE_CHECKING:
    from tinyml.ir.operator import Operator
    from tinyml.writers.onnx.builder import OnnxBuilder


class Activation(Enum):
    """The clamp after an operator; the values are TFLite's names."""

    NONE = "NONE"
    RELU = "RELU"
    RELU6 = "RELU6"

    def run_float(self, x: Array) -> Array:
        """The clamp on reals."""
        if self is Activation.NONE:
            return x
        return np.clip(x, 0.0, 6.0 if self is Activation.RELU6 else None)

    def bounds(self, quant: Quantisation, dtype: DType = DType.INT8) -> tuple[int, int]:
        """The clamp on the integers of a tensor quantised by ``quant``.

        Source: TFLite CalculateActivationRangeQuantized.
        """
        low, high = dtype.limits
        if self is not Activation.NONE:
            low = max(low, quant.z)
        if self is Activation.RELU6:
            six = float(np.float32(6.0) / np.float32(quant.s))
            high = min(high, quant.z + int(np.floor(six + 0.5)))
        return low, high

    def to_onnx(self, b: OnnxBuilder, value: str) -> str:
        """Appends the float operator of the clamp."""
        if self is Activation.NONE:
            return value
        if self is Activation.RELU:
            return b.node("Relu", [value])
        bounds = [b.scalar(0.0), b.scalar(6.0)]
        return b.node("Clip", [value, *bounds])


def with_activation(op: Operator, activation: Activation) -> Operator:
    """The operator, one with a field ``activation``, with that activation fused."""
    return cast("Operator", replace(cast("Any", op), activation=activation))
