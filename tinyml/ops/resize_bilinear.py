# SPDX-License-Identifier: Apache-2.0
"""Bilinear resizing of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.operator import Operator, Rule, Shape
from tinyml.ir.tensor import Array, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

_ONE = 1 << 10
# Larger images would overflow the kernel's positions, which are 32-bit.
_MOST = 1 << 15


@dataclass(frozen=True)
class ResizeBilinear(Operator):
    """Input x (1, h, w, c), output (1, *size, c), each pixel blended from 4 in steps of 1/1024.

    Source: TFLite reference_ops::ResizeBilinearInteger.

    Args:
        size: height and width of the output.
        align_corners: the corner pixels' centres coincide.
        half_pixel_centers: pixels have their centres at halves.
    """

    size: tuple[int, int]
    align_corners: bool = False
    half_pixel_centers: bool = False
    kind: ClassVar[str] = "resize_bilinear"
    rule: ClassVar[Rule] = Rule.SAME_AS_INPUT

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x = inputs[0]
        if len(x) != 4 or x[0] != 1 or not 1 <= min(self.size) <= max(self.size) < _MOST:
            raise ValueError(f"resize_bilinear: {x} to {self.size}")
        return (1, *self.size, x[3])

    def _scale(self, x: int, out: int) -> tuple[int, int]:
        """Input pixels for each output pixel and the position of the first, times 1024."""
        if self.align_corners and out > 1:
            scale = (_ONE * (x - 1) + (out - 1) // 2) // (out - 1)
        else:
            scale = (_ONE * x + out // 2) // out
        return scale, scale // 2 - _ONE // 2 if self.half_pixel_centers else 0

    def _neighbours(self, x: int, out: int) -> tuple[Array, Array, Array]:
        scale, offset = self._scale(x, out)
        at = np.arange(out, dtype=np.int64) * scale + offset
        # C divides towards zero.
        lower = np.maximum(at, 0) // _ONE
        upper = np.minimum(np.maximum(at + _ONE - 1, 0) // _ONE, x - 1)
        return lower, upper, at - _ONE * lower

    def _blend(self, x: Array) -> Array:
        """Sums of 4 products of pixels and weights, which add up to 2**20."""
        top, bottom, down = self._neighbours(x.shape[1], self.size[0])
        left, right, along = self._neighbours(x.shape[2], self.size[1])
        across = along[None, None, :, None]
        wide = x[:, :, left] * (_ONE - across) + x[:, :, right] * across
        deep = down[None, :, None, None]
        return np.asarray(wide[:, top] * (_ONE - deep) + wide[:, bottom] * deep)

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(self._blend(inputs[0].astype(np.float64)) / _ONE**2, np.float32)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        sums = self._blend(inputs[0].astype(np.int64))
        nudged = sums + np.where(sums > 0, 1 << 19, -(1 << 19))
        return np.where(nudged >= 0, nudged >> 20, -((-nudged) >> 20)).astype(np.int8)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        inputs = [b.tensor(ins[0]), b.integers("size", self.size)]
        b.operator(
            "RESIZE_BILINEAR",
            inputs,
            [b.tensor(out)],
            "ResizeBilinearOptions",
            alignCorners=self.align_corners,
            halfPixelCenters=self.half_pixel_centers,
        )

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        # The weights are ours to 1/1024, which Resize has not: two products of matrices.
        height, width = (
            self._matrix(n, m) for n, m in zip(ins[0].shape[1:3], self.size, strict=True)
        )
        tall = b.node("MatMul", [b.initialiser(height), b.read(ins[0])])
        b.write(out, b.node("MatMul", [tall, b.initialiser(width.T.copy())]))

    def _matrix(self, x: int, out: int) -> Array:
        lower, upper, along = self._neighbours(x, out)
        made = np.zeros((out, x), np.float32)
        np.add.at(made, (np.arange(out), lower), (_ONE - along) / _ONE)
        np.add.at(made, (np.arange(out), upper), along / _ONE)
        return made

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        _, height, width, channels = ins[0].shape
        scale_h, offset_h = self._scale(height, self.size[0])
        scale_w, offset_w = self._scale(width, self.size[1])
        fields = {"input_h": height, "input_w": width, "channels": channels}
        fields |= {"output_h": self.size[0], "output_w": self.size[1]}
        fields |= {"scale_h": scale_h, "scale_w": scale_w}
        fields |= {"offset_h": offset_h, "offset_w": offset_w}
        c.call(
            "tml_resize_bilinear_s8", c.shape("tml_resize_t", fields), c.read(ins[0]), c.write(out)
        )
