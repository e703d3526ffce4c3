# SPDX-License-Identifier: Apache-2.0
"""A transposed convolution as a convolution that makes the stride's pixels as channels, which then
move into place: the same sums without the zeros that it puts between its input's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import Array
from tinyml.ops import Reshape, Slice, Transpose, Window

# Copies of the filters: one for each pixel of the stride.
_MOST_PHASES = 256


@dataclass(frozen=True)
class Phases:
    """How one transposed convolution is computed.

    Args:
        window: of the convolution.
        stride: output pixels for an input pixel, (height, width).
        begin: the first row and column that is kept.
        wanted: rows and columns that are kept.
    """

    window: Window
    stride: tuple[int, int]
    begin: tuple[int, int]
    wanted: tuple[int, int]

    @staticmethod
    def of(
        size: tuple[int, int],
        wanted: tuple[int, int],
        kernel: tuple[int, int],
        stride: tuple[int, int],
        pad: tuple[int, int],
    ) -> Phases:
        """Output pixel u of one axis is the sum over taps k and inputs i with i * stride + k =
        u + pad.

        Args:
            size, wanted: rows and columns of the input and the output.
            pad: rows and columns that are cut off before the first.

        Raises:
            ValueError: so much is cut off that the first inputs count for nothing, or the stride
                is too large.
        """
        if stride[0] * stride[1] > _MOST_PHASES:
            raise ValueError(f"the stride {stride}; up to {_MOST_PHASES} pixels are supported")
        sides, begin = [], []
        for axis in range(2):
            count = -(-kernel[axis] // stride[axis])
            first, last = pad[axis] // stride[axis], (wanted[axis] - 1 + pad[axis]) // stride[axis]
            sides += [count - 1 - first, max(last + 1 - size[axis], 0)]
            begin.append(pad[axis] % stride[axis])
        if min(sides) < 0:
            raise ValueError(f"a transposed convolution of {size} to {wanted} cut by {pad}")
        taps = -(-kernel[0] // stride[0]), -(-kernel[1] // stride[1])
        window = Window(taps, padding=(sides[0], sides[1], sides[2], sides[3]))
        return Phases(window, stride, (begin[0], begin[1]), wanted)

    @property
    def count(self) -> int:
        """Output pixels for an input pixel."""
        return self.stride[0] * self.stride[1]

    def weights(self, filters: Array) -> Array:
        """The filters of each pixel of a stride, one behind the other: tap m of phase p is tap
        p + m * stride, last first; zeros where there is none.

        Args:
            filters: (out, height, width, in).
        """
        channels, height, width, depth = filters.shape
        taps = self.window.kernel
        made = np.zeros((*self.stride, channels, *taps, depth), filters.dtype)
        for y in range(height):
            for x in range(width):
                (i, down), (j, along) = divmod(y, self.stride[0]), divmod(x, self.stride[1])
                made[down, along, :, taps[0] - 1 - i, taps[1] - 1 - j] = filters[:, y, x]
        return made.reshape(-1, *taps, depth)

    def per_channel(self, values: Array) -> Array:
        """Biases or scales (out,) of the convolution's channels."""
        return np.tile(values, self.count)

    def moves(self, made: Shape) -> list[Operator]:
        """What brings the convolution's output into place, one after the other.

        Args:
            made: its shape, (1, rows, columns, pixels * out).
        """
        (_, rows, columns, channels), (down, along) = made, self.stride
        grown = (1, rows * down, columns * along, channels // self.count)
        moves: list[Operator] = [
            Reshape((rows, columns, down, channels // down)),
            Transpose((0, 2, 1, 3)),
            Reshape(grown),
        ]
        kept = (1, *self.wanted, grown[3])
        return moves if kept == grown else [*moves, Slice((0, *self.begin, 0), kept)]
