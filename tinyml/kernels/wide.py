# SPDX-License-Identifier: Apache-2.0
"""Kernels of layers with int16 activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from tinyml.ir.fixedpoint import Int64
from tinyml.ir.tensor import Array
from tinyml.kernels.layer import CONV, DEPTHWISE, FULLY_CONNECTED, WIDE, WIDE_SHORT_BIAS, Layer
from tinyml.kernels.pack import PAIRED_TAPS, padded
from tinyml.kernels.variants import LARGEST_SCRATCH, Variant, rows_as_pixels

# Channels at a time.
_QUAD = 4


class WideVariant(Variant):
    """A kernel for int16 activations: whole layers, not rows of them."""

    takes_rows = False


class PortableWideConv(WideVariant):
    """tml_conv2d_s16."""

    isa = "portable"
    kind = CONV + WIDE
    kernel = "tml_conv2d_s16"
    bias: ClassVar[type] = np.int64

    def parts(self, layer: Layer) -> Sequence[Array]:
        multiplier, shift = layer.multiplier.astype(np.int32), layer.shift.astype(np.int8)
        return [layer.bias.astype(self.bias), multiplier, shift, layer.weights]


class PortableShortBiasConv(PortableWideConv):
    """tml_conv2d_s16_b32."""

    kind = CONV + WIDE_SHORT_BIAS
    kernel = "tml_conv2d_s16_b32"
    bias = np.int32


class PortableWideDepthwise(PortableWideConv):
    """tml_depthwise_conv2d_s16."""

    kind = DEPTHWISE + WIDE
    kernel = "tml_depthwise_conv2d_s16"


class PortableWideFullyConnected(PortableWideConv):
    """tml_fully_connected_s16."""

    kind = FULLY_CONNECTED + WIDE
    kernel = "tml_fully_connected_s16"


class FastWideVariant(WideVariant):
    """Four channels at a time, summed in 32 bits and finished by one multiplication."""

    def applies(self, layer: Layer) -> bool:
        return layer.wide_multipliers() is not None and self.scratch(layer) <= LARGEST_SCRATCH

    @staticmethod
    def ends(layer: Layer) -> Array:
        """int32 (quads, 2, 4): biases and multipliers."""
        multipliers = layer.wide_multipliers()
        assert multipliers is not None
        both = padded(np.stack([layer.bias, multipliers]), _QUAD, 1)
        return _contiguous(both.reshape(2, -1, _QUAD).transpose(1, 0, 2), np.int32)


class WideConv(FastWideVariant):
    """Pixels gathered to columns of a multiple of eight inputs.

    Class attributes:
        order: how many inputs of a channel lie side by side, and in which order.
    """

    kind = CONV + WIDE
    takes_scratch = True
    order: ClassVar[Sequence[int]]
    _ROUND = 8

    def scratch(self, layer: Layer) -> int:
        _, s = self.shape(layer)
        taps = layer.rows.shape[1]
        unpadded = s.get("pad_top", 0) == s.get("pad_left", 0) == 0
        as_they_lie = taps == s["input_c"] and unpadded and taps % self._ROUND == 0
        return 0 if as_they_lie else 2 * (taps + -taps % self._ROUND)

    def parts(self, layer: Layer) -> Sequence[Array]:
        rows = padded(padded(layer.rows, _QUAD, 0), self._ROUND, 1)
        runs = rows.reshape(-1, _QUAD, rows.shape[1] // len(self.order), len(self.order))
        return [self.ends(layer), _contiguous(runs.transpose(0, 2, 1, 3)[..., self.order], np.int8)]


class DspWideConv(WideConv):
    """Four inputs of each channel in turn."""

    isa = "dsp"
    kernel = "tml_conv2d_s16_dsp"
    order = PAIRED_TAPS


class MveWideConv(WideConv):
    """Eight inputs of each channel in turn."""

    isa = "mve"
    kernel = "tml_conv2d_s16_mve"
    order = tuple(range(8))


class DspWideRows(DspWideConv):
    """A fully connected layer: the rows are pixels."""

    kind = FULLY_CONNECTED + WIDE

    def shape(self, layer: Layer) -> tuple[str, Mapping[str, int]]:
        return "tml_window_t", rows_as_pixels(layer)


class MveWideRows(MveWideConv):
    """A fully connected layer: the rows are pixels."""

    kind = FULLY_CONNECTED + WIDE

    def shape(self, layer: Layer) -> tuple[str, Mapping[str, int]]:
        return "tml_window_t", rows_as_pixels(layer)


class DspWideDepthwise(FastWideVariant):
    """Each tap of four channels is a word of weights."""

    isa = "dsp"
    kind = DEPTHWISE + WIDE
    kernel = "tml_depthwise_conv2d_s16_dsp"
    order: ClassVar[Sequence[int]] = PAIRED_TAPS

    def applies(self, layer: Layer) -> bool:
        channels = layer.shape["input_c"]
        return channels == layer.outputs and channels % _QUAD == 0 and super().applies(layer)

    def parts(self, layer: Layer) -> Sequence[Array]:
        quads = layer.rows.reshape(-1, _QUAD, layer.rows.shape[1])
        taps = quads.transpose(0, 2, 1)[..., self.order]
        return [self.ends(layer), _contiguous(taps, np.int8)]


class MveWideDepthwise(DspWideDepthwise):
    """Four channels in the lanes of a vector."""

    isa = "mve"
    kernel = "tml_depthwise_conv2d_s16_mve"
    order = tuple(range(_QUAD))


def _contiguous(values: Int64, dtype: type) -> Array:
    return np.ascontiguousarray(values.astype(dtype))


WIDE_VARIANTS: tuple[Variant, ...] = (
    MveWideConv(),
    MveWideRows(),
    MveWideDepthwise(),
    DspWideConv(),
    DspWideRows(),
    DspWideDepthwise(),
    PortableWideConv(),
    PortableShortBiasConv(),
    PortableWideDepthwise(),
    PortableWideFullyConnected(),
)
