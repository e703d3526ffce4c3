# SPDX-License-Identifier: Apache-2.0
"""Gather: rows of a table by id, the embedding lookup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.operator import Operator, Rule, Shape
from tinyml.ir.tensor import Array, DType, Tensor

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True)
class Gather(Operator):
    """Inputs: table, ids (int32). Output table[:axis] + ids + table[axis + 1:].

    Ids outside the table take its nearest end, so that no id leads out of it; TFLite-Micro reads
    beyond the table there. Source: TFLite reference_ops::Gather.
    """

    axis: int = 0
    kind: ClassVar[str] = "gather"
    rule: ClassVar[Rule] = Rule.SAME_AS_INPUT

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        table, ids = inputs
        if not 0 <= self.axis < len(table):
            raise ValueError(f"gather: {table} has no axis {self.axis}")
        return (*table[: self.axis], *ids, *table[self.axis + 1 :])

    def id_count(self, inputs: Sequence[Shape]) -> int | None:
        return inputs[0][self.axis]

    def _take(self, table: Array, ids: Array) -> Array:
        inside = np.clip(ids.astype(np.int64), 0, table.shape[self.axis] - 1)
        return np.take(table, inside, axis=self.axis)

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return self._take(inputs[0], inputs[1])

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return self._take(inputs[0], inputs[1])

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        inputs = [b.tensor(ins[0]), b.tensor(ins[1])]
        b.operator("GATHER", inputs, [b.tensor(out)], "GatherOptions", axis=self.axis, batchDims=0)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        table = b.to_nhwc(b.integers_of(ins[0]), ins[0].shape)
        ids = b.initialiser(ins[1].data) if ins[1].data is not None else ins[1].name
        ids = b.to_nhwc(ids, ins[1].shape)
        value = b.node("Gather", [table, ids], axis=self.axis)
        b.write_integers(out, b.to_nchw(value, out.shape))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        table, ids = ins
        inner = math.prod(table.shape[self.axis + 1 :]) * table.dtype.bytes
        shape = c.shape(
            "tml_gather_t",
            {
                "rows": math.prod(table.shape[: self.axis]),
                "entries": table.shape[self.axis],
                "ids": ids.elements,
                "bytes": inner,
            },
        )
        source = c.read(table, dtype=DType.INT8)
        c.call("tml_gather_s8", shape, source, c.read(ids), c.write(out, DType.INT8))
