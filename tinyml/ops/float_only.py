# SPDX-License-Identifier: Apache-2.0
"""Operators of float graphs that no integer graph holds: they occur in patterns which a pass
replaces, and are refused by name where none does."""

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
    """Base class: everything integer raises QuantisationError."""

    def _refuse(self, ins: Sequence[Tensor]) -> QuantisationError:
        return QuantisationError(
            f"{self.kind} of '{ins[0].name}' has no integer form here",
            "It is supported where a series is scaled by its own mean and deviation over time, "
            "as (x - mean(x)) / sqrt(var(x) + epsilon) at the input and x * deviation + mean at "
            "the output.",
        )

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        raise self._refuse(ins)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise self._refuse(ins)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise self._refuse(ins)

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        raise self._refuse(ins)


@dataclass(frozen=True)
class Sqrt(FloatOnly):
    """The square root."""

    kind: ClassVar[str] = "sqrt"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.sqrt(inputs[0])


@dataclass(frozen=True)
class Div(FloatOnly):
    """a / b of equal rank; sizes agree or are 1."""

    kind: ClassVar[str] = "div"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        return tuple(int(s) for s in np.broadcast_shapes(*inputs))

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(inputs[0] / inputs[1])
