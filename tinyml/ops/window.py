# SPDX-License-Identifier: Apache-2.0
"""The sliding window shared by convolutions and pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyml.ir.tensor import Array


@dataclass(frozen=True)
class Window:
    """Kernel size, stride, dilation and explicit padding, in elements.

    Args:
        kernel, stride, dilation: (height, width).
        padding: (top, bottom, left, right).
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def extent(self) -> tuple[int, int]:
        """Input rows and columns that one window spans."""
        return (
            (self.kernel[0] - 1) * self.dilation[0] + 1,
            (self.kernel[1] - 1) * self.dilation[1] + 1,
        )

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Output height and width; ValueError when the window does not fit."""
        top, bottom, left, right = self.padding
        rows, cols = self.extent
        if height + top + bottom < rows or width + left + right < cols:
            raise ValueError(f"window {self.kernel} is larger than the {height}x{width} input")
        return (
            (height + top + bottom - rows) // self.stride[0] + 1,
            (width + left + right - cols) // self.stride[1] + 1,
        )

    def used_padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The padding that some window really touches: bottom and right may be less."""
        out_h, out_w = self.output(height, width)
        rows, cols = self.extent
        bottom = (out_h - 1) * self.stride[0] + rows - height - self.padding[0]
        right = (out_w - 1) * self.stride[1] + cols - width - self.padding[2]
        return self.padding[0], max(bottom, 0), self.padding[2], max(right, 0)

    def scheme(self, height: int, width: int) -> str | None:
        """TFLite's padding scheme that is this window, SAME or VALID, or None."""
        used = self.used_padding(height, width)
        if used == (0, 0, 0, 0):
            return "VALID"
        rows, cols = self.extent
        same_h, same_w = -(-height // self.stride[0]), -(-width // self.stride[1])
        total_h = max((same_h - 1) * self.stride[0] + rows - height, 0)
        total_w = max((same_w - 1) * self.stride[1] + cols - width, 0)
        same = (total_h // 2, total_h - total_h // 2, total_w // 2, total_w - total_w // 2)
        fits = self.output(height, width) == (same_h, same_w)
        return "SAME" if fits and used == same else None

    def taps(self, image: Array, fill: Any) -> Array:
        """The values under each window position.

        Args:
            image: (1, height, width, channels).
            fill: the value of padding.

        Returns:
            A view of shape (out_h, out_w, kernel_h, kernel_w, channels).
        """
        top, bottom, left, right = self.used_padding(image.shape[1], image.shape[2])
        padded = np.pad(image[0], ((top, bottom), (left, right), (0, 0)), constant_values=fill)
        out_h, out_w = self.output(image.shape[1], image.shape[2])
        row, col, channel = padded.strides
        return np.lib.stride_tricks.as_strided(
            padded,
            (out_h, out_w, *self.kernel, padded.shape[2]),
            (
                row * self.stride[0],
                col * self.stride[1],
                row * self.dilation[0],
                col * self.dilation[1],
                channel,
            ),
            writeable=False,
        )

    def c_fields(
        self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> dict[str, int]:
        """The fields of tml_window_t."""
        return {
            "input_h": input_shape[1],
            "input_w": input_shape[2],
            "input_c": input_shape[3],
            "output_h": output_shape[1],
            "output_w": output_shape[2],
            "output_c": output_shape[3],
            "input_ring": input_shape[1],
            "output_ring": output_shape[1],
            "kernel_h": self.kernel[0],
            "kernel_w": self.kernel[1],
            "stride_h": self.stride[0],
            "stride_w": self.stride[1],
            "dilation_h": self.dilation[0],
            "dilation_w": self.dilation[1],
            "pad_top": self.padding[0],
            "pad_left": self.padding[2],
        }
