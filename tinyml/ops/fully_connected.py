# SPDX-License-Identifier: Apache-2.0
"""Fully connected layer with bias and fused activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.operator import Shape
from tinyml.ir.tensor import Array, DType, Quantisation, Tensor
from tinyml.kernels import FULLY_CONNECTED, Layer
from tinyml.ops.activation import Activation
from tinyml.ops.weighted import Weighted, c_layer, finish_accumulators, quantise_weights

if TYPE_CHECKING:
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class FullyConnected(Weighted):
    """Inputs: x (..., in), weights (out, in), bias (out). The leading sizes of x are kept.

    Source: TFLite reference_integer_ops::FullyConnectedPerChannel.
    """

    activation: Activation = Activation.NONE
    kind: ClassVar[str] = "fully_connected"
    has_int16: ClassVar[bool] = True

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x, weights, bias = inputs
        if x[-1] != weights[1] or bias != (weights[0],):
            raise ValueError(
                f"fully_connected: input {x}, weights {weights}, bias {bias} do not fit"
            )
        return (*x[:-1], weights[0])

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        return int(np.prod(output)) * inputs[1][1]

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x, weights, bias = inputs
        return self.activation.run_float(np.asarray(x @ weights.T + bias))

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        x, weights, bias = inputs
        centred = x.astype(np.float64) - ins[0].q.z
        sums = np.asarray(centred @ weights.T.astype(np.float64))
        return finish_accumulators(sums, bias, ins, out, self.activation)

    def quantise_constants(
        self, ins: Sequence[Tensor], quants: Sequence[Quantisation | None]
    ) -> dict[int, Tensor]:
        assert quants[0] is not None
        return quantise_weights(ins[1], ins[2], 0, quants[0], ins[0].dtype)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.operator(
            "FULLY_CONNECTED",
            [b.tensor(t) for t in ins],
            [b.tensor(out)],
            "FullyConnectedOptions",
            keepNumDims=len(out.shape) > 2,
            fusedActivationFunction=b.activation(self.activation),
        )

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        # onnxruntime flattens higher ranks by itself, into a model that it then refuses.
        x = b.read_rows(ins[0])
        if ins[0].dtype is DType.INT16:
            # Given constant weights on the right, onnxruntime rounds activations to 8 bits.
            across = b.node("Transpose", [x], perm=[1, 0])
            across = b.node("MatMul", [b.constant(ins[1], (0, 1)), across])
            product = b.node("Transpose", [across], perm=[1, 0])
        else:
            product = b.node("MatMul", [x, b.constant(ins[1], (1, 0))])
        value = b.node("Add", [product, b.constant(ins[2], (0,))])
        b.write_rows(out, self.activation.to_onnx(b, value))

    def c_layer(self, ins: Sequence[Tensor], out: Tensor) -> Layer:
        outputs, inputs = ins[1].shape
        fields = {"rows": out.elements // outputs, "inputs": inputs, "outputs": outputs}
        return c_layer(FULLY_CONNECTED, fields, ins, out, self.activation)
