# SPDX-License-Identifier: Apache-2.0
"""The kernels a layer can be given to: when each applies, its record and its scratch memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from tinyml.ir.tensor import Array
from tinyml.kernels.layer import CONV, DEPTHWISE, FULLY_CONNECTED, Layer
from tinyml.kernels.pack import (
    channel_pairs,
    channel_quads,
    portable_parts,
    requantisation_groups,
)

# Beyond this the widened columns of a convolution cost more memory than they are worth.
_LARGEST_SCRATCH = 32768


class Variant(ABC):
    """One kernel for one kind of layer.

    Class attributes:
        isa: the instruction set it is written for.
        kernel: the C function.
        helpers: functions in other files that it calls.
        takes_scratch: whether its last argument is scratch memory.
    """

    isa: ClassVar[str]
    kind: ClassVar[str]
    kernel: ClassVar[str]
    helpers: ClassVar[tuple[str, ...]] = ()
    takes_scratch: ClassVar[bool] = False

    def applies(self, layer: Layer) -> bool:
        """Whether the kernel computes this layer."""
        return True

    def scratch(self, layer: Layer) -> int:
        """Bytes of scratch memory."""
        return 0

    def in_place(self, layer: Layer) -> bool:
        """Whether the output may be written over the input."""
        return False

    def shape(self, layer: Layer) -> tuple[str, Mapping[str, int]]:
        """The C type of the shape and its fields."""
        return _shape_type(layer.kind), layer.shape

    @abstractmethod
    def parts(self, layer: Layer) -> Sequence[Array]:
        """What follows the record's header."""


def _shape_type(kind: str) -> str:
    return "tml_fully_connected_t" if kind == FULLY_CONNECTED else "tml_window_t"


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
        return layer.has_short_requantisation() and self.scratch(layer) <= _LARGEST_SCRATCH

    def scratch(self, layer: Layer) -> int:
        taps = _up(layer.rows.shape[1], 4)
        widened = 4 * 2 * taps
        return widened + (taps if self._channels(layer) % 4 else 0)

    def in_place(self, layer: Layer) -> bool:
        return layer.is_pointwise and layer.outputs <= self._channels(layer)

    @staticmethod
    def _channels(layer: Layer) -> int:
        return int(layer.weights.shape[-1])

    def parts(self, layer: Layer) -> Sequence[Array]:
        return [requantisation_groups(layer, 2), channel_pairs(layer.rows, 4)]


class DspRows(DspConv):
    """A fully connected layer of several rows: the rows are pixels."""

    kind = FULLY_CONNECTED

    def applies(self, layer: Layer) -> bool:
        return layer.shape["rows"] > 2 and super().applies(layer)

    def shape(self, layer: Layer) -> tuple[str, Mapping[str, int]]:
        rows, inputs = layer.shape["rows"], layer.shape["inputs"]
        sizes = {"h": 1, "w": rows}
        fields = {
            **{f"input_{k}": v for k, v in (sizes | {"c": inputs, "ring": 1}).items()},
            **{f"output_{k}": v for k, v in (sizes | {"c": layer.outputs, "ring": 1}).items()},
            **dict.fromkeys(("kernel_h", "kernel_w", "stride_h", "stride_w"), 1),
            **dict.fromkeys(("dilation_h", "dilation_w"), 1),
        }
        return "tml_window_t", fields


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


VARIANTS: tuple[Variant, ...] = (
    DspRows(),
    DspConv(),
    DspFullyConnected(),
    PortableConv(),
    PortableDepthwise(),
    PortableFullyConnected(),
)
