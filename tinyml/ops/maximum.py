# SPDX-License-Identifier: Apache-2.0
"""Maximum and minimum of two tensors, and the position of the largest or smallest of a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinyml.ir.operator import Operator, Rule, Shape
from tinyml.ir.tensor import Array, Tensor
from tinyml.ops.binary import Binary

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class Extreme(Binary):
    """Compares integers of one grid. Source: TFLite reference_ops::MaximumMinimumBroadcast."""

    rule: ClassVar[Rule] = Rule.CALIBRATED
    aligns_inputs: ClassVar[bool] = True
    tflite_name: ClassVar[str]
    onnx_name: ClassVar[str]
    pick: ClassVar[Callable[..., Any]]

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(type(self).pick(inputs[0], inputs[1]))

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return np.asarray(type(self).pick(inputs[0], inputs[1]))

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        inputs = [b.tensor(ins[0]), b.tensor(ins[1])]
        b.operator(self.tflite_name, inputs, [b.tensor(out)], "MaximumMinimumOptions")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.write(out, b.node(self.onnx_name, [b.read(ins[0]), b.read(ins[1])]))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        shape = self.c_shape(c, ins, out)
        kernel = f"tml_{self.kind}_{c.suffix(out)}"
        c.call(kernel, shape, c.read(ins[0]), c.read(ins[1]), c.write(out))


@dataclass(frozen=True)
class Maximum(Extreme):
    """max(a, b)."""

    kind: ClassVar[str] = "maximum"
    tflite_name: ClassVar[str] = "MAXIMUM"
    onnx_name: ClassVar[str] = "Max"
    pick: ClassVar[Callable[..., Any]] = np.maximum


@dataclass(frozen=True)
class Minimum(Extreme):
    """min(a, b)."""

    kind: ClassVar[str] = "minimum"
    tflite_name: ClassVar[str] = "MINIMUM"
    onnx_name: ClassVar[str] = "Min"
    pick: ClassVar[Callable[..., Any]] = np.minimum


@dataclass(frozen=True)
class Arg(Operator):
    """The position of the first best element of the innermost axis, int32 (...)."""

    tflite_name: ClassVar[str]
    tflite_options: ClassVar[str]
    onnx_name: ClassVar[str]
    find: ClassVar[Callable[..., Any]]

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if not inputs[0]:
            raise ValueError(f"{self.kind}: a single number")
        return inputs[0][:-1]

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(type(self).find(inputs[0], axis=-1), np.float32)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return np.asarray(type(self).find(inputs[0], axis=-1), np.int32)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        inputs = [b.tensor(ins[0]), b.integers("axis", [len(ins[0].shape) - 1])]
        fields = {"outputType": b.int32}
        b.operator(self.tflite_name, inputs, [b.tensor(out)], self.tflite_options, **fields)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        x = b.to_nhwc(b.integers_of(ins[0]), ins[0].shape)
        found = b.node(self.onnx_name, [x], axis=len(ins[0].shape) - 1, keepdims=0)
        b.cast(out, b.to_nchw(found, out.shape))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        depth = ins[0].shape[-1]
        shape = c.shape("tml_softmax_t", {"rows": ins[0].elements // depth, "depth": depth})
        c.call(f"tml_{self.kind}_s8", shape, c.read(ins[0]), c.write(out))


@dataclass(frozen=True)
class ArgMax(Arg):
    """The position of the first largest element."""

    kind: ClassVar[str] = "arg_max"
    tflite_name: ClassVar[str] = "ARG_MAX"
    tflite_options: ClassVar[str] = "ArgMaxOptions"
    onnx_name: ClassVar[str] = "ArgMax"
    find: ClassVar[Callable[..., Any]] = np.argmax


@dataclass(frozen=True)
class ArgMin(Arg):
    """The position of the first smallest element."""

    kind: ClassVar[str] = "arg_min"
    tflite_name: ClassVar[str] = "ARG_MIN"
    tflite_options: ClassVar[str] = "ArgMinOptions"
    onnx_name: ClassVar[str] = "ArgMin"
    find: ClassVar[Callable[..., Any]] = np.argmin
