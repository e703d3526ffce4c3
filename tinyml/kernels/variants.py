# SPDX-License-Identifier: Apache-2.0
"""The kernels a layer can be given to: when each applies, its record and its scratch memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from tinyml.ir.tensor import Array
from tinyml.kernels.layer import CONV, DEPTHWISE, FULLY_CONNECTED, Layer
from tinyml.kernels.pack import (
    channel_pairs,
    channel_quads,
    depthwise_channels,
    padded,
    portable_parts,
    requantisation_groups,
    requantisation_vectors,
    sixteen_taps_of_quads,
)

# Beyond this the widened columns of a convolution cost more memory than they are worth.
LARGEST_SCRATCH = 32768
# Which channel of a group stands where in the vectors of quad_t and mve_lanes_t.
_QUAD = np.arange(4)
_INTERLEAVED = np.arange(16).reshape(4, 4).T.ravel()


class Variant(ABC):
    """One kernel for one kind of layer.

    Class attributes:
        isa: the instruction set it is written for.
        kernel: the C function.
        helpers: functions in other files that it calls.
        takes_scratch: whether its last argument is scratch memory.
        in_order: whether it reads its input once from start to end: see `Operator.c_in_order`.
        takes_rows: whether a kernel with a window is given the output rows to compute.
    """

    isa: ClassVar[str]
    kind: ClassVar[str]
    kernel: ClassVar[str]
    helpers: ClassVar[tuple[str, ...]] = ()
    takes_scratch: ClassVar[bool] = False
    in_order: ClassVar[bool] = True
    takes_rows: ClassVar[bool] = True

    def applies(self, layer: Layer) -> bool:
        """Whether the kernel computes this layer."""
        return True

    def scratch(self, layer: Layer) -> int:
        """Bytes of scratch memory."""
        return 0

    def in_place(self, layer: Layer) -> bool:
        """Whether the output may lie over the input: at its address, or at any lower one too if
        the kernel is `in_order`."""
        return False

    def shape(self, layer: Layer) -> tuple[str, Mapping[str, int]]:
        """The C type of the shape and its fields."""
        return _shape_type(layer.kind), layer.shape

    @abstractmethod
    def parts(self, layer: Layer) -> Sequence[Array]:
        """What follows the record's header."""

    def units(self, layer: Layer) -> Mapping[str, float]:
        """What the instructions of a layer are made of: products, outputs, inputs under all
        windows and their runs, and output rows times channels. What a call costs once is not part
        of it: a layer may be called row by row."""
        taps = layer.weights.size // layer.outputs
        channels = layer.shape["input_c"] if layer.is_depthwise else 1
        runs = 0 if layer.is_pointwise else layer.shape["kernel_h"]
        return {
            "macs": float(layer.macs),
            "outputs": float(layer.pixels * layer.outputs),
            "gathered": float(layer.pixels * taps * channels),
            "runs": float(layer.pixels * runs),
            "channel_rows": float(layer.output_rows * layer.outputs),
        }

    def record_bytes(self, layer: Layer) -> int:
        """Bytes that the record takes behind its header."""
        return sum(_up(part.nbytes, 4) for part in self.parts(layer))


def _shape_type(kind: str) -> str:
    return "tml_fully_connected_t" if kind.startswith(FULLY_CONNECTED) else "tml_window_t"


class _Portable(Variant):
    isa = "portable"

    def parts(self, layer: Layer) -> Sequence[Array]:
        return portable_parts(layer)


class PortableConv(_Portable):
    """tml_conv2d_s8."""

    kind = CONV
    kernel = "tml_conv2d_s8"


class PortableDepthwise(_Portable):
    """tml_depthwise_conv2d_s8."""

    kind = DEPTHWISE
    kernel = "tml_depthwise_conv2d_s8"


class PortableFullyConnected(_Portable):
    """tml_fully_connected_s8."""

    kind = FULLY_CONNECTED
    kernel = "tml_fully_connected_s8"


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


class DspConv(Variant):
    """Tiles of two channels by four pixels, whose columns are widened once to int16."""

    isa = "dsp"
    kind = CONV
    kernel = "tml_conv2d_s8_dsp"
    helpers = ("tml_dsp_block_2x4",)
    takes_scratch = True

    def applies(self, layer: Layer) -> bool:
        return layer.has_short_requantisation() and self.scratch(layer) <= LARGEST_SCRATCH

    def scratch(self, layer: Layer) -> int:
        taps = _up(layer.rows.shape[1], 4)
        widened = 4 * 2 * taps
        return widened + (4 * taps if self._channels(layer) % 4 else 0)

    def in_place(self, layer: Layer) -> bool:
        return layer.is_pointwise and layer.outputs <= self._channels(layer)

    @staticmethod
    def _channels(layer: Layer) -> int:
        return int(layer.weights.shape[-1])

    def parts(self, layer: Layer) -> Sequence[Array]:
        return [requantisation_groups(layer, 2), channel_pairs(layer.rows, 4)]


def rows_as_pixels(layer: Layer) -> Mapping[str, int]:
    """The window of a fully connected layer, whose rows are the pixels of a 1x1 convolution."""
    sizes = {"h": 1, "w": layer.shape["rows"], "ring": 1}
    return {
        **{f"input_{k}": v for k, v in (sizes | {"c": layer.shape["inputs"]}).items()},
        **{f"output_{k}": v for k, v in (sizes | {"c": layer.outputs}).items()},
        **dict.fromkeys(("kernel_h", "kernel_w", "stride_h", "stride_w"), 1),
        **dict.fromkeys(("dilation_h", "dilation_w"), 1),
    }


class DspRows(DspConv):
    """A fully connected layer of several rows: the rows are pixels."""

    kind = FULLY_CONNECTED

    def applies(self, layer: Layer) -> bool:
        return layer.shape["rows"] > 2 and super().applies(layer)

    def shape(self, layer: Layer) -> tuple[str, Mapping[str, int]]:
        return "tml_window_t", rows_as_pixels(layer)


class DspFullyConnected(Variant):
    """Four outputs at a time from weights read in order."""

    isa = "dsp"
    kind = FULLY_CONNECTED
    kernel = "tml_fully_connected_s8_dsp"
    takes_scratch = True

    def applies(self, layer: Layer) -> bool:
        return layer.has_short_requantisation()

    def scratch(self, layer: Layer) -> int:
        inputs = layer.shape["inputs"]
        return _up(inputs, 8) if inputs % 8 else 0

    def parts(self, layer: Layer) -> Sequence[Array]:
        return [requantisation_groups(layer, 4), channel_quads(layer.rows, 8)]


class DspDepthwise(Variant):
    """Four channels at a time are spread to planes of int16, whose neighbouring taps are pairs.
    Planes hold the rows under as many output rows as are worth it."""

    isa = "dsp"
    kind = DEPTHWISE
    kernel = "tml_depthwise_conv2d_s8_dsp"
    helpers = ("tml_dsp_depthwise_rows_3x3_1", "tml_dsp_spread_four")
    takes_scratch = True
    in_order = False  # a pass for each group of channels
    # As in depthwise_conv2d_dsp.c.
    _GROUP, _MOST_ROWS, _PLANES = 4, 16, 2048

    def shape(self, layer: Layer) -> tuple[str, Mapping[str, int]]:
        width = int(self._kernel(layer).shape[1])
        return "tml_window_t", {**layer.shape, "kernel_w": width, "dilation_w": 1}

    @staticmethod
    def _kernel(layer: Layer) -> Array:
        """The weights with zeros between dilated columns."""
        gap = layer.shape["dilation_w"]
        height, width, outputs = layer.weights.shape
        spread = np.zeros((height, (width - 1) * gap + 1, outputs), np.int8)
        spread[:, ::gap] = layer.weights
        return spread

    def applies(self, layer: Layer) -> bool:
        return (
            layer.has_short_requantisation()
            and layer.shape["kernel_h"] <= self._MOST_ROWS
            and self._kernel(layer).shape[1] <= 255
            and self.scratch(layer) <= LARGEST_SCRATCH
        )

    def scratch(self, layer: Layer) -> int:
        s, width = layer.shape, int(self._kernel(layer).shape[1])
        window = (s["kernel_h"] - 1) * s["dilation_h"] + 1
        if self._is_unrolled(layer):
            row = s["stride_w"] * _up(s["output_w"], 2) + 2
        else:
            row = s["stride_w"] * (_up(s["output_w"], 4) - 1) + 2 * ((width + 1) // 2)
        row_bytes = min(s["input_c"], self._GROUP) * _up(max(row, s["pad_left"]), 2) * 2
        fit = self._PLANES // row_bytes - window
        together = min(s["output_h"], fit // s["stride_h"] + 1) if fit >= 0 else 1
        worth = together == s["output_h"] or together >= 3 * (window - s["stride_h"])
        if not (self._is_unrolled(layer) and worth):
            together = 1
        return row_bytes * ((together - 1) * s["stride_h"] + window)

    def _is_unrolled(self, layer: Layer) -> bool:
        """Whether the functions for 3x3 compute it."""
        kernel = (layer.shape["kernel_h"], self._kernel(layer).shape[1])
        return kernel == (3, 3) and layer.shape["stride_w"] <= 2

    def in_place(self, layer: Layer) -> bool:
        s = layer.shape
        same = all(s[f"input_{k}"] == s[f"output_{k}"] for k in "hwc")
        return same and (s["stride_h"], s["stride_w"]) == (1, 1)

    def parts(self, layer: Layer) -> Sequence[Array]:
        by_channel = np.moveaxis(self._kernel(layer), 2, 0)
        return [depthwise_channels(layer, by_channel, overlapping=self._is_unrolled(layer))]


class DspColumn(Variant):
    """Four channels of a depthwise convolution along one column at a time."""

    isa = "dsp"
    kind = DEPTHWISE
    kernel = "tml_depthwise_column_s8_dsp"

    def applies(self, layer: Layer) -> bool:
        s = layer.shape
        return (
            layer.has_short_requantisation()
            and (s["input_w"], s["output_w"], s["kernel_w"]) == (1, 1, 1)
            and (s["pad_left"], s["dilation_h"]) == (0, 1)
            and s["input_c"] == s["output_c"]
            and s["input_c"] % 4 == 0
        )

    def parts(self, layer: Layer) -> Sequence[Array]:
        quads = layer.rows.reshape(-1, 4, layer.rows.shape[1]).transpose(0, 2, 1)
        return [requantisation_groups(layer, 4), quads.astype(np.int8)]


class DspOneChannel(DspDepthwise):
    """A convolution of one input channel is a depthwise convolution."""

    kind = CONV

    def applies(self, layer: Layer) -> bool:
        return layer.shape["input_c"] == 1 and super().applies(self._depthwise(layer))

    def shape(self, layer: Layer) -> tuple[str, Mapping[str, int]]:
        return super().shape(self._depthwise(layer))

    def scratch(self, layer: Layer) -> int:
        return super().scratch(self._depthwise(layer))

    def in_place(self, layer: Layer) -> bool:
        return False

    def parts(self, layer: Layer) -> Sequence[Array]:
        return super().parts(self._depthwise(layer))

    @staticmethod
    def _depthwise(layer: Layer) -> Layer:
        if layer.kind == DEPTHWISE:
            return layer
        weights = np.moveaxis(layer.weights[..., 0], 0, 2)
        return replace(layer, kind=DEPTHWISE, weights=weights)


class MveConv(Variant):
    """Four channels of a pixel at a time, sixteen taps an instruction."""

    isa = "mve"
    kind = CONV
    kernel = "tml_conv2d_s8_mve"
    helpers = ("tml_mve_block_4x1",)
    _LINE = 16
    takes_scratch = True

    def applies(self, layer: Layer) -> bool:
        return layer.has_short_requantisation() and self.scratch(layer) <= LARGEST_SCRATCH

    def scratch(self, layer: Layer) -> int:
        _, shape = self.shape(layer)
        pads = shape.get("pad_top", 0), shape.get("pad_left", 0)
        if (shape["kernel_h"], shape["kernel_w"], *pads) == (1, 1, 0, 0):
            return 0
        taps = int(layer.rows.shape[1])
        if shape["kernel_w"] * shape["input_c"] >= self._LINE:
            return 4 * taps
        return shape["output_w"] * _up(taps, self._LINE) + _padded_rows(shape)

    def parts(self, layer: Layer) -> Sequence[Array]:
        return [requantisation_vectors(layer, _QUAD), sixteen_taps_of_quads(layer.rows)]


def _padded_rows(shape: Mapping[str, int]) -> int:
    """Bytes of the padded input rows under one window (padded_rows.h)."""
    ring = (shape["kernel_h"] - 1) * shape["dilation_h"] + 1
    last = (shape["output_w"] - 1) * shape["stride_w"]
    width = last + (shape["kernel_w"] - 1) * shape["dilation_w"] + 1
    return ring * max(width, shape["pad_left"]) * shape["input_c"]


class MveRows(MveConv):
    """A fully connected layer: the rows are pixels."""

    kind = FULLY_CONNECTED

    def shape(self, layer: Layer) -> tuple[str, Mapping[str, int]]:
        return "tml_window_t", rows_as_pixels(layer)


class MveOneChannel(MveConv):
    """A depthwise convolution of one input channel is a convolution."""

    kind = DEPTHWISE

    def applies(self, layer: Layer) -> bool:
        return layer.shape["input_c"] == 1 and super().applies(layer)


class MveDepthwise(Variant):
    """Sixteen channels at a time, or fewer of several pixels."""

    isa = "mve"
    kind = DEPTHWISE
    kernel = "tml_depthwise_conv2d_s8_mve"
    helpers = ("tml_mve_depthwise_row", "tml_mve_depthwise_3x3")
    takes_scratch = True
    # As in depthwise_conv2d_mve.c.
    _LANES, _MOST_TAPS = 16, 64

    def applies(self, layer: Layer) -> bool:
        s = layer.shape
        return (
            s["input_c"] == s["output_c"]
            and s["kernel_h"] * s["kernel_w"] <= self._MOST_TAPS
            # Two products must fit 16 bits.
            and int(layer.weights.min()) >= -127
            and layer.has_short_requantisation()
            and self.scratch(layer) <= LARGEST_SCRATCH
        )

    def scratch(self, layer: Layer) -> int:
        return _padded_rows(layer.shape) + self._LANES

    def parts(self, layer: Layer) -> Sequence[Array]:
        repeats = 1
        if layer.shape["stride_w"] == 1 and self._LANES % layer.outputs == 0:
            repeats = self._LANES // layer.outputs
        lanes = np.tile(np.arange(layer.outputs), repeats)
        ends = requantisation_vectors(layer, _INTERLEAVED, lanes).view(np.uint8)
        weights = padded(padded(layer.rows[lanes], 2, 1), self._LANES, 0).astype(np.int8)
        by_lane = weights.reshape(-1, self._LANES, weights.shape[1]).transpose(0, 2, 1)
        flat = np.ascontiguousarray(by_lane.reshape(len(by_lane), -1)).view(np.uint8)
        return [np.concatenate([ends, flat], axis=1)]


class RiscvConv(Variant):
    """Tiles of four channels by two pixels on bytes."""

    isa = "rv32"
    kind = CONV
    kernel = "tml_conv2d_s8_rv32"
    takes_scratch = True

    def applies(self, layer: Layer) -> bool:
        return layer.has_short_requantisation() and self.scratch(layer) <= LARGEST_SCRATCH

    def scratch(self, layer: Layer) -> int:
        _, shape = self.shape(layer)
        pads = shape.get("pad_top", 0), shape.get("pad_left", 0)
        one_tap = (shape["kernel_h"], shape["kernel_w"], *pads) == (1, 1, 0, 0)
        return 0 if one_tap else 2 * int(layer.rows.shape[1])

    def parts(self, layer: Layer) -> Sequence[Array]:
        by_quad = padded(layer.rows, 4, 0).astype(np.int8).reshape(-1, 4, layer.rows.shape[1])
        return [requantisation_vectors(layer, _QUAD), by_quad.transpose(0, 2, 1)]


class RiscvRows(RiscvConv):
    """A fully connected layer: the rows are pixels."""

    kind = FULLY_CONNECTED

    def shape(self, layer: Layer) -> tuple[str, Mapping[str, int]]:
        return "tml_window_t", rows_as_pixels(layer)


class RiscvOneChannel(RiscvConv):
    """A depthwise convolution of one input channel is a convolution."""

    kind = DEPTHWISE

    def applies(self, layer: Layer) -> bool:
        return layer.shape["input_c"] == 1 and super().applies(layer)


class RiscvDepthwise(Variant):
    """A channel at a time along rows, with its weights in registers."""

    isa = "rv32"
    kind = DEPTHWISE
    kernel = "tml_depthwise_conv2d_s8_rv32"
    takes_scratch = True
    _MOST_ROWS = 16  # as in depthwise_conv2d_rv32.c

    def applies(self, layer: Layer) -> bool:
        s = layer.shape
        return (
            s["input_c"] == s["output_c"]
            and s["kernel_h"] <= self._MOST_ROWS
            and layer.has_short_requantisation()
            and self.scratch(layer) <= LARGEST_SCRATCH
        )

    def scratch(self, layer: Layer) -> int:
        return _padded_rows(layer.shape)

    def parts(self, layer: Layer) -> Sequence[Array]:
        ends = requantisation_vectors(layer, np.arange(1)).view(np.uint8)
        weights = padded(layer.rows, 4, 1).astype(np.int8).view(np.uint8)
        return [np.concatenate([ends, weights], axis=1)]


VARIANTS: tuple[Variant, ...] = (
    RiscvOneChannel(),
    RiscvDepthwise(),
    RiscvConv(),
    RiscvRows(),
    MveOneChannel(),
    MveDepthwise(),
    MveConv(),
    MveRows(),
    DspOneChannel(),
    DspRows(),
    DspConv(),
    DspDepthwise(),
    DspColumn(),
    DspFullyConnected(),
    PortableConv(),
    PortableDepthwise(),
    PortableFullyConnected(),
)
