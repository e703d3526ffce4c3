# SPDX-License-Identifier: Apache-2.0
"""Depthwise two-dimensional convolution with bias and fused activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.operator import Shape
from tinyml.ir.tensor import Array, Quantisation, Tensor
from tinyml.kernels import DEPTHWISE, Layer
from tinyml.ops.activation import Activation
from tinyml.ops.weighted import Weighted, c_layer, finish_accumulators, quantise_weights
from tinyml.ops.window import Window

if TYPE_CHECKING:
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class DepthwiseConv2D(Weighted):
    """Inputs: x (1, h, w, in), weights (1, kernel_h, kernel_w, in * multiplier), bias.

    Output channel c reads input channel c // multiplier.
    Source: TFLite reference_integer_ops::DepthwiseConvPerChannel.
    """

    window: Window
    activation: Activation = Activation.NONE
    kind: ClassVar[str] = "depthwise_conv2d"
    has_int16: ClassVar[bool] = True

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x, weights, bias = inputs
        channels = weights[3]
        if channels % x[3] or bias != (channels,) or weights[:3] != (1, *self.window.kernel):
            raise ValueError(
                f"depthwise_conv2d: input {x}, weights {weights}, bias {bias} do not fit"
            )
        return (x[0], *self.window.output(x[1], x[2]), channels)

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        return int(np.prod(output) * np.prod(self.window.kernel))

    def _sums(self, x: Array, weights: Array) -> Array:
        taps = self.window.taps(x, 0.0)
        multiplier = weights.shape[3] // x.shape[3]
        if multiplier > 1:
            taps = np.repeat(taps, multiplier, axis=4)
        return np.asarray(np.einsum("hwijc,ijc->hwc", taps, weights[0])[None])

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x, weights, bias = inputs
        return self.activation.run_float(self._sums(x, weights) + bias)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        x, weights, bias = inputs
        centred = x.astype(np.float64) - ins[0].q.z
        sums = self._sums(centred, weights.astype(np.float64))
        return finish_accumulators(sums, bias, ins, out, self.activation)

    def quantise_constants(
        self, ins: Sequence[Tensor], quants: Sequence[Quantisation | None]
    ) -> dict[int, Tensor]:
        assert quants[0] is not None
        return quantise_weights(ins[1], ins[2], 3, quants[0], ins[0].dtype)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        x, padding = b.padded(ins[0], self.window)
        b.operator(
            "DEPTHWISE_CONV_2D",
            [x, b.tensor(ins[1]), b.tensor(ins[2])],
            [b.tensor(out)],
            "DepthwiseConv2DOptions",
            padding=b.padding(padding),
            strideH=self.window.stride[0],
            strideW=self.window.stride[1],
            depthMultiplier=out.shape[3] // ins[0].shape[3],
            dilationHFactor=self.window.dilation[0],
            dilationWFactor=self.window.dilation[1],
            fusedActivationFunction=b.activation(self.activation),
        )

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        # (1, kh, kw, out) to ONNX's (out, 1, kh, kw).
        weights = b.constant(ins[1], (3, 0, 1, 2))
        inputs = [b.read(ins[0]), weights, b.constant(ins[2], (0,))]
        value = b.node("Conv", inputs, group=ins[0].shape[3], **b.window(self.window))
        b.write(out, self.activation.to_onnx(b, value))

    def c_layer(self, ins: Sequence[Tensor], out: Tensor) -> Layer:
        fields = self.window.c_fields(ins[0].shape, out.shape)
        return c_layer(DEPTHWISE, fields, ins, out, self.activation)
