# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolution along a sequence. Made by `passes.drop_image_axes` for C only: the image
(1, length, 1, channels) without its axis of size 1, so that nothing is reshaped around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import Array, Tensor
from tinyml.kernels import Layer
from tinyml.ops.activation import Activation
from tinyml.ops.depthwise_conv2d import DepthwiseConv2D
from tinyml.ops.window import Window

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class SequenceConv(Operator):
    """Inputs: x (1, length, in), weights (1, kernel, 1, out), bias, as `DepthwiseConv2D` has them.

    Args:
        window: of the convolution over (length, 1).
    """

    window: Window
    activation: Activation = Activation.NONE
    kind: ClassVar[str] = "sequence_conv"

    @property
    def _layer(self) -> DepthwiseConv2D:
        return DepthwiseConv2D(self.window, self.activation)

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x = inputs[0]
        if len(x) != 3:
            raise ValueError(f"sequence_conv: {x} is not (1, length, channels)")
        batch, length, width, channels = self._layer.infer([(*x[:2], 1, x[2]), *inputs[1:]])
        if width != 1:
            raise ValueError(f"sequence_conv: {self.window} does not keep one column")
        return (batch, length, channels)

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        return self._layer.macs(inputs, output)

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return self._layer.run_float([inputs[0][:, :, None], *inputs[1:]])[:, :, 0]

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        images = [inputs[0][:, :, None], *inputs[1:]]
        return np.asarray(self._layer.run_int(images, *_images(ins, out))[:, :, 0])

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError("sequence_conv is made after the TFLite model is written")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError("sequence_conv is made after the ONNX model is written")

    def c_layer(self, ins: Sequence[Tensor], out: Tensor) -> Layer:
        """The layer as kernels see it: an image of one column."""
        return self._layer.c_layer(*_images(ins, out))

    def c_scratch(self, ins: Sequence[Tensor], out: Tensor, isa: str) -> int:
        return self._layer.c_scratch(*_images(ins, out), isa)

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        self._layer.to_c(c, *_images(ins, out))


def _images(ins: Sequence[Tensor], out: Tensor) -> tuple[list[Tensor], Tensor]:
    x = replace(ins[0], shape=(*ins[0].shape[:2], 1, ins[0].shape[2]))
    return [x, *ins[1:]], replace(out, shape=(*out.shape[:2], 1, out.shape[2]))
