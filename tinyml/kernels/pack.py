# SPDX-License-Identifier: Apache-2.0
"""Records and weight layouts of the kernels, as firmware/include/tinyml/kernels.h states them."""

from __future__ import annotations

import numpy as np

from tinyml.ir.tensor import Array
from tinyml.kernels.layer import Layer

# Even and odd bytes of a word become two pairs of int16: taps 0 and 2, then 1 and 3.
PAIRED_TAPS = (0, 2, 1, 3)


def portable_parts(layer: Layer) -> list[Array]:
    """bias, multiplier, shift and weights as they are."""
    return [
        layer.bias.astype(np.int32),
        layer.multiplier.astype(np.int32),
        layer.shift.astype(np.int8),
        layer.weights,
    ]


def padded(values: Array, multiple: int, axis: int) -> Array:
    """Zeros behind the values up to a multiple along an axis."""
    widths = [(0, 0)] * values.ndim
    widths[axis] = (0, -values.shape[axis] % multiple)
    return np.pad(values, widths)


def requantisation_groups(layer: Layer, group: int) -> Array:
    """For each group of channels: int32 biases with the zero point folded in, int32 multipliers,
    and right shifts as bytes; bytes as uint8 (groups, 8 * group + the shifts padded to 4)."""
    multiplier, shift = layer.canonical()
    count = -(-layer.outputs // group)

    def grouped(values: Array, dtype: str, fill: int) -> Array:
        full = np.full(count * group, fill, np.int64)
        full[: layer.outputs] = values
        return np.ascontiguousarray(full.astype(dtype)).view(np.uint8).reshape(count, -1)

    shifts = padded(grouped(-shift, "<i1", 1), 4, 1)
    return np.concatenate(
        [grouped(layer.folded_bias(), "<i4", 0), grouped(multiplier, "<i4", 0), shifts], axis=1
    )


def channel_pairs(rows: Array, taps: int) -> Array:
    """Weights of two channels by four taps as two words: bytes (a0 b0 a2 b2) and (a1 b1 a3 b3).

    Args:
        rows: (outputs, taps).
        taps: the multiple that the taps are padded to, itself a multiple of 4.

    Returns:
        int8 (pairs of channels, taps / 4, 2, 4).
    """
    full = padded(padded(rows, 2, 0), taps, 1).astype(np.int8)
    pairs, length = full.shape[0] // 2, full.shape[1]
    by_four = full.reshape(pairs, 2, length // 4, 4)[..., PAIRED_TAPS]
    # (pair, channel, four, word, tap of the word) to (pair, four, word, tap, channel).
    words = by_four.reshape(pairs, 2, length // 4, 2, 2).transpose(0, 2, 3, 4, 1)
    return np.ascontiguousarray(words.reshape(pairs, length // 4, 2, 4))


def channel_quads(rows: Array, taps: int) -> Array:
    """Two pairs side by side for every four taps: int8 (quads, taps / 4, 2, 2, 4)."""
    pairs = channel_pairs(padded(rows, 4, 0), taps)
    quads = pairs.reshape(-1, 2, *pairs.shape[1:]).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(quads)


def depthwise_channels(layer: Layer, kernels: Array, *, overlapping: bool) -> Array:
    """depthwise_channel_t of each output channel, each followed by its weights.

    Args:
        kernels: int8 (outputs, kernel_h, kernel_w).
        overlapping: whether three taps become the pairs (0, 1) and (1, 2) rather than (0, 1) and
            (2, zero).

    Returns:
        int32 (outputs, 4 + kernel_h * pairs of a row), weights and bias twice what they are.
    """
    multiplier, shift = layer.canonical()
    constant = ((2 * layer.output_zero_point + 1) << -shift) >> 1
    ends = np.stack([2 * layer.folded_bias(), multiplier, -shift, constant], axis=1).astype("<i4")
    taps = kernels[..., [0, 1, 1, 2]] if overlapping else padded(kernels, 2, 2)
    pairs = np.ascontiguousarray(2 * taps.astype("<i2")).view("<i4").reshape(layer.outputs, -1)
    return np.concatenate([ends, pairs], axis=1)


def requantisation_vectors(layer: Layer, order: Array, channels: Array | None = None) -> Array:
    """For each group of channels bias, multiplier, left shift and constant, a vector each.

    Args:
        order: the channel of the group at each place of a vector.
        channels: which channels are meant; all in order by default.

    Returns:
        int32 (groups, 4 * len(order)). Channels that fill the last group are zeros.
    """
    multiplier, shift = layer.canonical()
    constant = ((2 * layer.output_zero_point + 1) << -shift) >> 1
    ends = np.stack([layer.folded_bias(), multiplier, shift, constant]).astype("<i4")
    chosen = ends if channels is None else ends[:, channels]
    groups = padded(chosen, len(order), 1).reshape(4, -1, len(order))[..., order]
    return np.ascontiguousarray(groups.transpose(1, 0, 2).reshape(groups.shape[1], -1))


def sixteen_taps_of_quads(rows: Array) -> Array:
    """For each four channels, each 16 taps: 16 of each channel. int8 (quads, taps / 16, 4, 16)."""
    full = padded(padded(rows, 4, 0), 16, 1).astype(np.int8)
    quads = full.reshape(full.shape[0] // 4, 4, -1, 16)
    return np.ascontiguousarray(quads.transpose(0, 2, 1, 3))
