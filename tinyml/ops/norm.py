# SPDX-License-Identifier: Apache-2.0
"""A normalisation over the last axis as one operator. Made by `passes.fuse_norms` for C only: a
chain of int16 operators that TFLite-Micro has, run row by row, so that none of the tensors
between them exists. It computes what the chain computes, bit for bit, because it is defined by
the chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.fixedpoint import quantise_multiplier, requantise
from tinyml.ir.graph import Node
from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import Array, DType, Tensor
from tinyml.ops.add import LEFT_SHIFT, Add, Sub
from tinyml.ops.mean import Mean
from tinyml.ops.mul import Mul
from tinyml.ops.unary import Requantise, Rsqrt

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

# The parts of a chain in order; a chain may lack those in _OPTIONAL.
PARTS: tuple[tuple[str, type[Operator]], ...] = (
    ("mean", Mean),
    ("centred", Sub),
    ("square", Mul),
    ("variance", Mean),
    ("floor", Add),
    ("rsqrt", Rsqrt),
    ("normal", Mul),
    ("gain", Mul),
    ("offset", Add),
    ("narrow", Requantise),
)
_UNUSED = {
    "mean": (0, 0),
    "centred": (0,) * 6,
    "floor": (0,) * 5,
    "gain": (0, 0),
    "offset": (0,) * 4,
    "narrow": (0, 0, 0),
}
_CENTRE, _FLOOR, _GAIN, _OFFSET, _NARROW = 1, 2, 4, 8, 16


@dataclass(frozen=True, eq=False)
class Norm(Operator):
    """Inputs: x int16 (..., width), then the constants of the chain in its order.

    Args:
        parts: the chain's nodes by the names of `PARTS`.
        tensors: every tensor the nodes name.
    """

    parts: tuple[tuple[str, Node], ...]
    tensors: tuple[Tensor, ...]
    kind: ClassVar[str] = "norm"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]

    def run_float(self, inputs: Sequence[Array]) -> Array:
        raise NotImplementedError("norms are fused on integer graphs only")

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        known = {t.name: t for t in self.tensors}
        values = {t.name: t.data for t in self.tensors if t.data is not None}
        values[ins[0].name] = inputs[0]
        result = inputs[0]
        for _, node in self.parts:
            read = [values[i] for i in node.inputs]
            result = node.op.run_int(read, [known[i] for i in node.inputs], known[node.output])
            values[node.output] = result
        return result

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError("norms are fused after the TFLite model is written")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError("norms are fused after the ONNX model is written")

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        parts = dict(self.parts)
        width = out.shape[-1]
        flags = (
            ("centred" in parts) * _CENTRE
            + ("floor" in parts) * _FLOOR
            + ("gain" in parts) * _GAIN
            + ("offset" in parts) * _OFFSET
            + ("narrow" in parts) * _NARROW
        )
        shape = c.shape(
            "tml_norm_t", {"rows": out.elements // width, "width": width, "flags": flags}
        )
        header: list[int] = []
        for name, _ in PARTS:
            header += self._scalars(name, parts[name]) if name in parts else _UNUSED[name]
        arrays = []
        if "gain" in parts:
            arrays.append(self._constant(parts["gain"]).values.astype(np.int16).ravel())
        if "offset" in parts:
            arrays.append(self._aligned(parts["offset"]).ravel())
        record = c.record(header, *arrays)
        c.call(f"tml_norm_s16_{c.suffix(out)}", shape, record, c.read(ins[0]), c.write(out))

    def _tensor(self, name: str) -> Tensor:
        return next(t for t in self.tensors if t.name == name)

    def _constant(self, node: Node) -> Tensor:
        return next(t for t in (self._tensor(i) for i in node.inputs) if t.data is not None)

    def _aligned(self, node: Node) -> Array:
        """A constant addend as the addition sees it: aligned, so that C need not."""
        constant = self._constant(node)
        _, of_constant, _ = self._addition(node)
        centred = constant.values.astype(np.int64) << LEFT_SHIFT[DType.INT16]
        return requantise(centred, *of_constant).astype(np.int32)

    def _addition(self, node: Node) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """The multipliers of an addition or subtraction: of the first or only computed operand,
        of the other one, and of the output."""
        assert isinstance(node.op, Add | Sub)
        ins = [self._tensor(i) for i in node.inputs]
        a, b, output = node.op.multipliers(ins, self._tensor(node.output))
        return (b, a, output) if ins[0].data is not None else (a, b, output)

    def _scalars(self, name: str, node: Node) -> list[int]:
        ins, out = [self._tensor(i) for i in node.inputs], self._tensor(node.output)
        op = node.op
        if isinstance(op, Mean):
            return list(op.multiplier(ins[0], out))
        if isinstance(op, Mul):
            return list(op.multiplier(ins, out))
        if isinstance(op, Rsqrt):
            return list(op.c_multiplier(ins[0].q, out.q))
        if isinstance(op, Requantise):
            return [*quantise_multiplier(ins[0].q.s / out.q.s), out.q.z]
        of_x, of_other, of_out = self._addition(node)
        if name == "centred":
            return [*of_x, *of_other, *of_out]
        if name == "floor":
            return [*of_x, int(self._aligned(node).ravel()[0]), *of_out]
        return [*of_x, *of_out]
