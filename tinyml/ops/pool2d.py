# SPDX-License-Identifier: Apache-2.0
"""Average and maximum pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.fixedpoint import saturate
from tinyml.ir.operator import Operator, Rule, Shape
from tinyml.ir.tensor import Array, DType, Tensor
from tinyml.ops.window import Window

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class Pool2D(Operator):
    """What both poolings share. Input x (1, h, w, c)."""

    window: Window
    rule: ClassVar[Rule] = Rule.SAME_AS_INPUT
    has_int16: ClassVar[bool] = True
    tflite_name: ClassVar[str]
    onnx_name: ClassVar[str]
    kernel_name: ClassVar[str]

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x = inputs[0]
        return (x[0], *self.window.output(x[1], x[2]), x[3])

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        x, padding = b.padded(ins[0], self.window, lowest=True)
        b.operator(
            self.tflite_name,
            [x],
            [b.tensor(out)],
            "Pool2DOptions",
            padding=b.padding(padding),
            strideH=self.window.stride[0],
            strideW=self.window.stride[1],
            filterHeight=self.window.kernel[0],
            filterWidth=self.window.kernel[1],
        )

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        attributes = b.window(self.window)
        if attributes["dilations"] == [1, 1]:
            del attributes["dilations"]
        b.write(out, b.node(self.onnx_name, [b.read(ins[0])], **attributes))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        shape = c.shape("tml_window_t", self.window.c_fields(ins[0].shape, out.shape))
        arguments = [shape, c.record(list(out.dtype.limits)), c.read(ins[0]), c.write(out)]
        if out.dtype is DType.INT8:
            arguments += ["0", str(out.shape[1])]
        c.call(f"{self.kernel_name}_{c.suffix(out)}", *arguments)


@dataclass(frozen=True)
class AveragePool2D(Pool2D):
    """Mean of the taps inside the input; padding does not count.

    Padding must be TFLite's SAME or VALID (`Window.scheme`): no TFLM operator leaves out any
    other padding. Source: TFLite reference_integer_ops::AveragePool.
    """

    kind: ClassVar[str] = "average_pool2d"
    tflite_name: ClassVar[str] = "AVERAGE_POOL_2D"
    onnx_name: ClassVar[str] = "AveragePool"
    kernel_name: ClassVar[str] = "tml_average_pool"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if self.window.scheme(*inputs[0][1:3]) is None:
            raise ValueError(
                f"average_pool2d: padding {self.window.padding} that does not count in the mean "
                "is neither TFLite's SAME nor VALID"
            )
        return super().infer(inputs)

    def _sums(self, x: Array) -> tuple[Array, Array]:
        inside = np.ones((1, *x.shape[1:3], 1))
        counts = self.window.taps(inside, 0.0).sum(axis=(2, 3))
        return self.window.taps(x.astype(np.float64), 0.0).sum(axis=(2, 3)), counts

    def run_float(self, inputs: Sequence[Array]) -> Array:
        sums, counts = self._sums(inputs[0])
        return np.asarray((sums / counts)[None], np.float32)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        sums, counts = (a.astype(np.int64) for a in self._sums(inputs[0]))
        rounded = np.where(
            sums > 0, (sums + counts // 2) // counts, -((-sums + counts // 2) // counts)
        )
        return saturate(rounded[None], out.dtype)


@dataclass(frozen=True)
class MaxPool2D(Pool2D):
    """Largest tap; padding never wins. Source: TFLite reference_integer_ops::MaxPool."""

    kind: ClassVar[str] = "max_pool2d"
    tflite_name: ClassVar[str] = "MAX_POOL_2D"
    onnx_name: ClassVar[str] = "MaxPool"
    kernel_name: ClassVar[str] = "tml_max_pool"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if self.window.dilation != (1, 1):
            raise ValueError("max_pool2d: dilation has no TFLite-Micro operator")
        return super().infer(inputs)

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(self.window.taps(inputs[0], -np.inf).max(axis=(2, 3))[None])

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return np.asarray(self.window.taps(inputs[0], out.dtype.limits[0]).max(axis=(2, 3))[None])
