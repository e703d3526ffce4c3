# SPDX-License-Identifier: Apache-2.0
"""Operators of float graphs that passes turn into others before anything is rounded."""

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


class FloatOnly(Operator):
    """Base class: it has no integers."""

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        raise QuantisationError(f"{self.kind} of '{ins[0].name}' was not expanded")

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError(f"{self.kind} is expanded before anything is written")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError(f"{self.kind} is expanded before anything is written")

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError(f"{self.kind} is expanded before anything is written")


@dataclass(frozen=True)
class Div(FloatOnly):
    """a / b of equal rank; sizes agree or are 1. See `passes.expand_division`."""

    kind: ClassVar[str] = "div"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        return tuple(int(s) for s in np.broadcast_shapes(*inputs))

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(inputs[0] / inputs[1])
