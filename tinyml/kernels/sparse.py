# SPDX-License-Identifier: Apache-2.0
"""Kernels of pruned layers, which store and multiply only the weights that are not zero.

Records: header; int32 biases with the input zero point folded in; multipliers; shifts; then

bitmap
    for each channel a bit for each weight, in words of 32; then the values that are set.
gaps
    for each channel chunks: uint8 pairs of it, at most 255; then the pairs: uint8 gap from the
    weight before (from the first weight, for the first pair), int8 value. A chunk of 255 has
    another behind it, which may be empty. Gaps beyond 255 have pairs of value 0 on the way.
blocks
    uint32 bytes of the index, padded to words; the index: chunks likewise, of uint8 gaps in blocks;
    then four int8 weights a block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tinyml.ir.tensor import Array
from tinyml.kernels.layer import CONV, FULLY_CONNECTED, Layer
from tinyml.kernels.variants import Variant

_LARGEST_GAP = 255
# SPARSE_CHUNK in firmware/kernels/common/sparse.h.
_CHUNK = 255
_LARGEST_SCRATCH = 32768
BLOCK = 4


class Sparse(Variant):
    """What the sparse kernels share."""

    takes_scratch = True
    # Runs of inputs are read in so many bytes at a time.
    multiple = 1

    def applies(self, layer: Layer) -> bool:
        # The folded bias and every partial sum must fit 32 bits.
        peak = np.abs(layer.folded_bias()) + 128 * np.abs(layer.rows).sum(axis=1)
        return bool(np.all(peak < 1 << 31)) and self.scratch(layer) <= _LARGEST_SCRATCH

    def scratch(self, layer: Layer) -> int:
        taps = int(layer.rows.shape[1])
        if taps % self.multiple == 0 and self._reads_in_place(layer):
            return 0
        return -(-taps // BLOCK) * BLOCK

    @staticmethod
    def _reads_in_place(layer: Layer) -> bool:
        """As sparse_column in firmware/kernels/common/sparse.h decides."""
        s = layer.shape
        if layer.kind == FULLY_CONNECTED:
            return True
        last_y = (s["output_h"] - 1) * s["stride_h"]
        last_x = (s["output_w"] - 1) * s["stride_w"]
        return (
            (s["kernel_h"], s["kernel_w"]) == (1, 1)
            and (s["pad_top"], s["pad_left"]) == (0, 0)
            and last_y < s["input_h"]
            and last_x < s["input_w"]
        )

    def entries(self, layer: Layer) -> list[tuple[Array, Array]]:
        """For each channel, positions and values of what is stored."""
        raise NotImplementedError

    def stored(self, layer: Layer) -> list[Array]:
        """What follows the shifts."""
        raise NotImplementedError

    def units(self, layer: Layer) -> Mapping[str, float]:
        """Pixels, outputs, stored weights or blocks, and inputs gathered for each pixel."""
        stored = sum(len(index) for index, _ in self.entries(layer))
        of_pixel = {
            "pixels": 1,
            "outputs": layer.outputs,
            "entries": stored,
            "gathered": self.scratch(layer),
        }
        return {name: float(layer.pixels * n) for name, n in of_pixel.items()}

    def parts(self, layer: Layer) -> Sequence[Array]:
        return [
            layer.folded_bias().astype(np.int32),
            layer.multiplier.astype(np.int32),
            layer.shift.astype(np.int8),
            *self.stored(layer),
        ]


class _Bitmap(Sparse):
    isa = "portable"

    def entries(self, layer: Layer) -> list[tuple[Array, Array]]:
        return [(np.flatnonzero(row), row[row != 0].astype(np.int8)) for row in layer.rows]

    def stored(self, layer: Layer) -> list[Array]:
        rows = layer.rows
        words = -(-rows.shape[1] // 32)
        bits = np.zeros((len(rows), words * 32), bool)
        bits[:, : rows.shape[1]] = rows != 0
        packed = np.packbits(bits, axis=1, bitorder="little")
        return [packed, rows[rows != 0].astype(np.int8)]

    def units(self, layer: Layer) -> Mapping[str, float]:
        words = -(-layer.rows.shape[1] // 32) * layer.outputs
        return {**super().units(layer), "words": float(words * layer.pixels)}


class _Gaps(Sparse):
    isa = "portable"

    def entries(self, layer: Layer) -> list[tuple[Array, Array]]:
        return [with_stops(np.flatnonzero(row), row[:, None]) for row in layer.rows]

    def stored(self, layer: Layer) -> list[Array]:
        pairs = [
            np.stack([np.diff(index, prepend=0).astype(np.uint8), values[:, 0].view(np.uint8)], 1)
            for index, values in self.entries(layer)
        ]
        return [np.concatenate([in_chunks(p) for p in pairs])]


class _Blocks(Sparse):
    isa = "portable"
    multiple = BLOCK

    def entries(self, layer: Layer) -> list[tuple[Array, Array]]:
        rows = np.pad(layer.rows, ((0, 0), (0, -layer.rows.shape[1] % BLOCK)))
        blocks = rows.reshape(len(rows), -1, BLOCK)
        return [with_stops(np.flatnonzero(row.any(axis=1)), row) for row in blocks]

    def stored(self, layer: Layer) -> list[Array]:
        entries = self.entries(layer)
        gaps = [np.diff(index, prepend=0).astype(np.uint8)[:, None] for index, _ in entries]
        index = np.concatenate([in_chunks(g) for g in gaps])
        size = np.array([-(-len(index) // 4) * 4], np.uint32)
        return [size, index, np.concatenate([v for _, v in entries])]


def in_chunks(entries: Array) -> Array:
    """What is stored of a channel, with how many there are before each chunk.

    Args:
        entries: uint8 (count, width).

    Returns:
        uint8 bytes.
    """
    whole = len(entries) // _CHUNK
    counts = [_CHUNK] * whole + [len(entries) % _CHUNK]
    parts: list[Array] = []
    for at, count in enumerate(counts):
        chunk = entries[at * _CHUNK : at * _CHUNK + count]
        parts += [np.array([count], np.uint8), chunk.ravel()]
    return np.concatenate(parts)


def with_stops(index: Array, values: Array) -> tuple[Array, Array]:
    """Positions of what is not zero with stops between, no two further apart than a gap can say.

    Args:
        index: ascending positions.
        values: int64 (positions, width), zero at every position that is not in ``index``.

    Returns:
        Positions, and their values as int8 (count, width).
    """
    stops: list[int] = []
    last = 0
    for position in index:
        while position - last > _LARGEST_GAP:
            last += _LARGEST_GAP
            stops.append(last)
        stops.append(int(position))
        last = int(position)
    where = np.array(stops, np.int64)
    return where, values[where].astype(np.int8)


class BitmapFullyConnected(_Bitmap):
    """tml_fully_connected_s8_bitmap."""

    kind = FULLY_CONNECTED
    kernel = "tml_fully_connected_s8_bitmap"


class BitmapConv(_Bitmap):
    """tml_conv2d_s8_bitmap."""

    kind = CONV
    kernel = "tml_conv2d_s8_bitmap"


class GapsFullyConnected(_Gaps):
    """tml_fully_connected_s8_gaps."""

    kind = FULLY_CONNECTED
    kernel = "tml_fully_connected_s8_gaps"


class GapsConv(_Gaps):
    """tml_conv2d_s8_gaps."""

    kind = CONV
    kernel = "tml_conv2d_s8_gaps"


class BlocksFullyConnected(_Blocks):
    """tml_fully_connected_s8_blocks."""

    kind = FULLY_CONNECTED
    kernel = "tml_fully_connected_s8_blocks"


class BlocksConv(_Blocks):
    """tml_conv2d_s8_blocks."""

    kind = CONV
    kernel = "tml_conv2d_s8_blocks"


class DspBlocksFullyConnected(_Blocks):
    """tml_fully_connected_s8_blocks_dsp."""

    isa = "dsp"
    kind = FULLY_CONNECTED
    kernel = "tml_fully_connected_s8_blocks_dsp"


class DspBlocksConv(_Blocks):
    """tml_conv2d_s8_blocks_dsp."""

    isa = "dsp"
    kind = CONV
    kernel = "tml_conv2d_s8_blocks_dsp"


SPARSE: tuple[Sparse, ...] = (
    DspBlocksFullyConnected(),
    DspBlocksConv(),
    GapsFullyConnected(),
    GapsConv(),
    BitmapFullyConnected(),
    BitmapConv(),
    BlocksFullyConnected(),
    BlocksConv(),
)
