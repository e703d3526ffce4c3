# SPDX-License-Identifier: Apache-2.0
"""A convolution, depthwise convolution or fully connected layer as kernels see it: integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinyml.ir.fixedpoint import Int64
from tinyml.ir.tensor import Array

CONV, DEPTHWISE, FULLY_CONNECTED = "conv2d", "depthwise_conv2d", "fully_connected"
# Of int16 activations; an int32 bias, which only convolutions take, has the arithmetic of int8.
WIDE, WIDE_SHORT_BIAS = "_s16", "_s16_b32"


@dataclass(frozen=True)
class Layer:
    """Shape, constants and requantisation of one layer.

    Args:
        kind: CONV, DEPTHWISE or FULLY_CONNECTED; of int16 activations with WIDE or
            WIDE_SHORT_BIAS behind it.
        shape: the fields of tml_window_t, or of tml_fully_connected_t.
        input_zero_point, output_zero_point: of the activations.
        low, high: clamp of the output.
        weights: int8; (outputs, kernel_h, kernel_w, input_c), depthwise (kernel_h, kernel_w,
            outputs), fully connected (outputs, inputs).
        bias, multiplier, shift: of each output channel; ``tinyml.ir.fixedpoint`` defines them.
    """

    kind: str
    shape: Mapping[str, int]
    input_zero_point: int
    output_zero_point: int
    low: int
    high: int
    weights: Array
    bias: Int64
    multiplier: Int64
    shift: Int64

    @property
    def outputs(self) -> int:
        """Output channels."""
        return len(self.bias)

    @property
    def is_dense(self) -> bool:
        """Whether it is fully connected."""
        return self.kind.startswith(FULLY_CONNECTED)

    @property
    def is_depthwise(self) -> bool:
        """Whether it is a depthwise convolution."""
        return self.kind.startswith(DEPTHWISE)

    @property
    def rows(self) -> Array:
        """The weights of each output channel: int64 (outputs, taps)."""
        last = self.weights.ndim - 1
        moved = np.moveaxis(self.weights, last, 0) if self.is_depthwise else self.weights
        return moved.reshape(self.outputs, -1).astype(np.int64)

    @property
    def macs(self) -> int:
        """Multiply-accumulates, padding included."""
        return self.pixels * self.weights.size

    @property
    def pixels(self) -> int:
        """Output positions."""
        if self.is_dense:
            return self.shape["rows"]
        return self.shape["output_h"] * self.shape["output_w"]

    @property
    def output_rows(self) -> int:
        """Rows of the output image; of a fully connected layer one holds all."""
        return 1 if self.is_dense else self.shape["output_h"]

    @property
    def density(self) -> float:
        """The part of the weights that is not zero."""
        return float((self.weights != 0).mean())

    @property
    def is_pointwise(self) -> bool:
        """Whether each output pixel reads the same input pixel only."""
        if self.is_dense:
            return True
        s = self.shape
        return (
            self.kind == CONV
            and (s["kernel_h"], s["kernel_w"]) == (1, 1)
            and (s["input_h"], s["input_w"]) == (s["output_h"], s["output_w"])
            and (s["pad_top"], s["pad_left"]) == (0, 0)
        )

    def folded_bias(self) -> Int64:
        """The bias that a kernel needs which multiplies raw inputs: zero point times the sum of
        the weights is part of it."""
        return np.asarray(self.bias - self.input_zero_point * self.rows.sum(axis=1))

    def has_short_requantisation(self) -> bool:
        """Whether every channel shifts right, and neither doubling a sum nor adding the rounding
        constant can leave 32 bits: the condition of the kernels that requantise in six
        instructions (firmware/kernels/dsp/requantise.h)."""
        _, shift = self.canonical()
        peak = np.abs(self.folded_bias()) + 128 * np.abs(self.rows).sum(axis=1)
        return bool(np.all((shift >= -22) & (shift <= -1)) and np.all(peak < 1 << 30))

    def canonical(self) -> tuple[Int64, Int64]:
        """Multiplier and shift where channels whose every output is the zero point have
        multiplier 0 and shift -1, whatever their scale."""
        peak = np.abs(self.folded_bias()) + 128 * np.abs(self.rows).sum(axis=1)
        half = np.left_shift(np.int64(1), np.maximum(-self.shift - 1, 0))
        nothing = (self.multiplier == 0) | (peak == 0) | ((self.shift < -1) & (peak < half))
        return np.where(nothing, 0, self.multiplier), np.where(nothing, -1, self.shift)

    def wide_multipliers(self) -> Int64 | None:
        """For int16 activations: what each sum is multiplied with such that the high word of the
        product, rounded, is its output. TFLite cuts the multiplier to 16 bits and rounds once, so
        that shifting it to where the high word begins changes nothing.

        Returns:
            None where a sum may leave 32 bits, or a multiplier has no such place.
        """
        peak = np.abs(self.bias) + 32768 * np.abs(self.rows).sum(axis=1)
        reduced = np.where(
            self.multiplier < 0x7FFF0000, (self.multiplier + (1 << 15)) >> 16, 0x7FFF
        )
        right = 15 - self.shift
        if np.any(peak >= 1 << 31):
            return None
        nothing = peak * reduced < np.left_shift(np.int64(1), right - 1)
        left = np.where(nothing, 0, 32 - right)
        if np.any((left < 0) | (left > 16)):
            return None
        return np.where(nothing, 0, np.left_shift(reduced, left))
