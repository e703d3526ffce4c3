# SPDX-License-Identifier: Apache-2.0
"""A function of one int8 value, given by its 256 results. Made by the compiler, and read from
TFLite files that spell it as `TfliteBuilder.table` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import Array, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class Table(Operator):
    """Inputs: x, table (256) where table[i] is the result for x = i - 128."""

    kind: ClassVar[str] = "table"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if inputs[1] != (256,):
            raise ValueError(f"table: {inputs[1]} is not 256 results")
        return inputs[0]

    def run_float(self, inputs: Sequence[Array]) -> Array:
        raise NotImplementedError("a table is defined on int8 values only")

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return np.asarray(inputs[1][inputs[0].astype(np.int64) + 128])

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.table(ins[0], ins[1].values, out)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.table(ins[0], ins[1].values, out)

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        shape = c.shape("tml_table_t", {"count": out.elements})
        c.call("tml_table_s8", shape, c.record([], ins[1].values), c.read(ins[0]), c.write(out))
