# SPDX-License-Identifier: Apache-2.0
"""Layer normalisation. A float operator only: `passes.expand_layer_norm` turns it into operators
that TFLite-Micro has, and `passes.fuse_norms` makes those one kernel in C, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.errors import QuantisationError
from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import Array, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class LayerNorm(Operator):
    """Inputs x (..., width), gain (width), offset (width); (x - mean) / sqrt(variance + epsilon)
    over the last axis, times gain, plus offset.

    Source: Ba, Kiros, Hinton, arXiv 1607.06450.
    """

    epsilon: float = 1e-5
    kind: ClassVar[str] = "layer_norm"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        x, gain, offset = inputs
        if not x or gain != (x[-1],) or offset != gain:
            raise ValueError(f"layer_norm: gain {gain} and offset {offset} do not fit {x}")
        return x

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x, gain, offset = inputs
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        return np.asarray(centred / np.sqrt(variance + np.float32(self.epsilon)) * gain + offset)

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        raise QuantisationError(f"layer_norm of '{ins[0].name}' was not expanded")

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError("layer_norm is expanded before anything is written")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError("layer_norm is expanded before anything is written")

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError("layer_norm is expanded before anything is written")
