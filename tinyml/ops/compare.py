# SPDX-License-Identifier: Apache-2.0
"""Comparisons, logic on their truth values, and the choice between two tensors by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx

from tinyml.errors import QuantisationError
from tinyml.ir.fixedpoint import Int64, quantise_multiplier, requantise
from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import Array, DType, Tensor
from tinyml.ops.binary import Binary
from tinyml.ops.strides import element_strides, merge_axes

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

# Bits that TFLite gives operands before it brings them to real values.
_LEFT_SHIFT = 8
_ALL = np.arange(-128, 128, dtype=np.int64)


class Relation(Enum):
    """What is asked of a and b; the values are TFLite's names."""

    LESS = "LESS"
    LESS_EQUAL = "LESS_EQUAL"
    GREATER = "GREATER"
    GREATER_EQUAL = "GREATER_EQUAL"
    EQUAL = "EQUAL"
    NOT_EQUAL = "NOT_EQUAL"

    @property
    def holds(self) -> Callable[[Any, Any], Any]:
        """The relation on arrays."""
        return _HOLDS[self]

    @property
    def options(self) -> str:
        """The name of TFLite's table of options."""
        return "".join(part.title() for part in self.value.split("_")) + "Options"

    @property
    def by_less(self) -> tuple[str, bool, bool]:
        """The kernel that decides it, whether its operands change places, and whether its answer
        is turned round."""
        return _KERNELS[self]


_HOLDS: dict[Relation, Callable[[Any, Any], Any]] = {
    Relation.LESS: np.less,
    Relation.LESS_EQUAL: np.less_equal,
    Relation.GREATER: np.greater,
    Relation.GREATER_EQUAL: np.greater_equal,
    Relation.EQUAL: np.equal,
    Relation.NOT_EQUAL: np.not_equal,
}
_KERNELS = {
    Relation.LESS: ("less", False, False),
    Relation.LESS_EQUAL: ("less", True, True),
    Relation.GREATER: ("less", True, False),
    Relation.GREATER_EQUAL: ("less", False, True),
    Relation.EQUAL: ("equal", False, False),
    Relation.NOT_EQUAL: ("equal", False, True),
}


@dataclass(frozen=True)
class Compare(Binary):
    """a relation b, bool. int8 operands are brought to whole real values with 8 bits below the
    point, so that reals closer than 1/256 count as equal; int32 ones are compared as they are.

    Source: TFLite-Micro comparisons.cc, reference_ops::ComparisonWithScaling.
    """

    relation: Relation = Relation.LESS
    kind: ClassVar[str] = "compare"

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(self.relation.holds(inputs[0], inputs[1]))

    @staticmethod
    def multiplier(x: Tensor) -> tuple[int, int]:
        """What takes an int8 operand to its real value."""
        if x.q.s >= 1:
            # TFLite-Micro and LiteRT end the process here.
            raise QuantisationError(
                f"compare: '{x.name}' has the scale {x.q.s:g}; below 1 is supported",
                "Scale the values that are compared down.",
            )
        return quantise_multiplier(x.q.s)

    def _real(self, x: Array, tensor: Tensor) -> Int64:
        wide = x.astype(np.int64)
        if tensor.dtype is not DType.INT8:
            return wide
        return requantise((wide - tensor.q.z) << _LEFT_SHIFT, *self.multiplier(tensor))

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        sides = [self._real(x, t) for x, t in zip(inputs, ins, strict=True)]
        return np.asarray(self.relation.holds(*sides))

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        inputs = [b.tensor(t) for t in ins]
        b.operator(self.relation.value, inputs, [b.tensor(out)], self.relation.options)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        kernel, swapped, negated = self.relation.by_less
        sides = [self._to_onnx(b, t) for t in ins]
        value = b.node(kernel.title(), sides[::-1] if swapped else sides)
        b.write_integers(out, b.node("Not", [value]) if negated else value)

    def _to_onnx(self, b: OnnxBuilder, x: Tensor) -> str:
        """The operand's real value as TFLite has it: one of 256."""
        if x.data is not None:
            real = self._real(x.values, x).astype(np.int32)
            return b.initialiser(real.transpose(b.order(real.ndim)))
        if x.dtype is not DType.INT8:
            return x.name
        position = b.node("Cast", [x.name], to=onnx.TensorProto.INT32)
        index = b.node("Add", [position, b.initialiser(np.array(128, np.int32))])
        table = b.initialiser(self._real(_ALL, x).astype(np.int32))
        return b.node("Gather", [table, index], axis=0)

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        kernel, swapped, negated = self.relation.by_less
        sides = list(ins[::-1] if swapped else ins)
        dims, a, b = merge_axes(out.shape, *(element_strides(t.shape) for t in sides))
        fields: dict[str, int | Sequence[int]] = {"dims": dims, "stride_a": a, "stride_b": b}
        shape = c.shape("tml_compare_t", {**fields, "negated": int(negated)})
        arguments = [*(c.read(t) for t in sides), c.write(out)]
        if sides[0].dtype is not DType.INT8:
            c.call(f"tml_{kernel}_s32", shape, *arguments)
            return
        parts = [v for t in sides for v in (t.q.z, *self.multiplier(t))]
        c.call(f"tml_{kernel}_s8", shape, c.record(parts), *arguments)


@dataclass(frozen=True)
class Logical(Binary):
    """a and b, or a or b, of truth values.

    Args:
        either: whether one of the two is enough.
    """

    either: bool = False
    kind: ClassVar[str] = "logical"

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray((np.logical_or if self.either else np.logical_and)(*inputs))

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return self.run_float(inputs)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        name = "LOGICAL_OR" if self.either else "LOGICAL_AND"
        options = "LogicalOrOptions" if self.either else "LogicalAndOptions"
        b.operator(name, [b.tensor(t) for t in ins], [b.tensor(out)], options)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        sides = [b.in_place(t) for t in ins]
        b.write_integers(out, b.node("Or" if self.either else "And", sides))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        # Of 0 and 1 the larger is "or", the smaller "and".
        shape = self.c_shape(c, ins, out)
        kernel = "tml_maximum_s8" if self.either else "tml_minimum_s8"
        c.call(kernel, shape, c.read(ins[0]), c.read(ins[1]), c.write(out))


@dataclass(frozen=True)
class LogicalNot(Operator):
    """Not a, of truth values."""

    kind: ClassVar[str] = "logical_not"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(np.logical_not(inputs[0]))

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return self.run_float(inputs)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.operator("LOGICAL_NOT", [b.tensor(ins[0])], [b.tensor(out)], "LogicalNotOptions")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.write_integers(out, b.node("Not", [b.in_place(ins[0])]))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        shape = c.shape("tml_table_t", {"count": out.elements})
        c.call("tml_logical_not", shape, c.read(ins[0]), c.write(out))


@dataclass(frozen=True)
class Select(Operator):
    """Inputs: condition bool, a, b of equal rank, at most 4; sizes agree or are 1. The integer of
    a where the condition holds, that of b elsewhere.

    Source: TFLite reference_ops::BroadcastSelect5DSlow.
    """

    kind: ClassVar[str] = "select"
    has_int16: ClassVar[bool] = True
    aligns_inputs: ClassVar[bool] = True

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if len({len(s) for s in inputs}) != 1 or len(inputs[0]) > 4:
            raise ValueError(f"select: shapes {list(inputs)} need one rank, at most 4")
        return tuple(int(d) for d in np.broadcast_shapes(*inputs))

    def input_dtype(self, out: DType) -> DType | None:
        return None

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.where(inputs[0], inputs[1], inputs[2])

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        return self.run_float(inputs)

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        inputs = [b.tensor(t) for t in ins]
        b.operator("SELECT_V2", inputs, [b.tensor(out)], "SelectV2Options")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        # onnxruntime chooses between no short integers.
        wide = [b.node("Cast", [b.in_place(t)], to=onnx.TensorProto.INT32) for t in ins[1:]]
        b.cast(out, b.node("Where", [b.in_place(ins[0]), *wide]))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        strides = [element_strides(t.shape) for t in ins]
        dims, flags, a, b = merge_axes(out.shape, *strides)
        fields = {"dims": dims, "stride_flags": flags, "stride_a": a, "stride_b": b}
        shape = c.shape("tml_select_t", fields)
        kernel = f"tml_select_{c.suffix(out)}"
        c.call(kernel, shape, *(c.read(t) for t in ins), c.write(out))
