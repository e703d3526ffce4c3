# SPDX-License-Identifier: Apache-2.0
"""Values times the softmax of int8 scores, as one operator. Made by `passes.fuse_gates` for C only:
the int16 copies of values and scores, and the shares, are never stored. It computes what the
operators it replaces compute, bit for bit, because it is defined by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.graph import Node
from tinyml.ir.lookup import RECIPROCAL
from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import Array, Tensor
from tinyml.ops.mul import Mul
from tinyml.ops.softmax import Softmax

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder


@dataclass(frozen=True, eq=False)  # one is the same as itself only: it holds arrays
class Gate(Operator):
    """Inputs: values (..., depth) int8, scores (..., depth) int8; output (..., depth) int16.

    Args:
        parts: values as int16, scores as int16, softmax, product.
        tensors: every tensor the parts name.
    """

    parts: tuple[Node, Node, Node, Node]
    tensors: tuple[Tensor, ...]
    kind: ClassVar[str] = "gate"
    has_int16: ClassVar[bool] = True

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if inputs[0] != inputs[1]:
            raise ValueError(f"gate: values {inputs[0]} and scores {inputs[1]} do not fit")
        return inputs[0]

    def run_float(self, inputs: Sequence[Array]) -> Array:
        raise NotImplementedError("gates are fused on integer graphs only")

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        known = {t.name: t for t in self.tensors}
        values, scores, _, product = self.parts
        # Rows of tensors may come under other names.
        held: dict[str, Array] = {values.inputs[0]: inputs[0], scores.inputs[0]: inputs[1]}
        for node in self.parts:
            read = [known[i] for i in node.inputs]
            held[node.output] = node.op.run_int(
                [held[i] for i in node.inputs], read, known[node.output]
            )
        return held[product.output]

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError("gates are fused after the TFLite model is written")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError("gates are fused after the ONNX model is written")

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        values, scores = ins
        known = {t.name: t for t in self.tensors}
        _, wide, _, product = self.parts
        depth = out.shape[-1]
        shape = c.shape("tml_softmax_t", {"rows": out.elements // depth, "depth": depth})
        multiplier = Mul.multiplier([known[i] for i in product.inputs], known[product.output])
        terms = Softmax.exponentials_int16(known[wide.output])
        record = c.record([values.q.z, *multiplier], terms)
        table = c.shared(np.asarray(RECIPROCAL))
        arguments = (c.read(values), c.read(scores), c.write(out))
        c.call("tml_gate_s8_s16", shape, record, table, *arguments)
