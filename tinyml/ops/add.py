# SPDX-License-Identifier: Apache-2.0
"""Addition and subtraction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.errors import QuantisationError
from tinyml.ir.fixedpoint import Int64, quantise_multiplier, requantise, saturate
from tinyml.ir.tensor import Array, DType, Tensor
from tinyml.kernels import add_record
from tinyml.ops.binary import Arithmetic, aligned_shape, fast_rows

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter

# Bits that align operands gain before they are scaled.
LEFT_SHIFT = {DType.INT8: 20, DType.INT16: 15}


@dataclass(frozen=True)
class AddSub(Arithmetic):
    """Both inputs are brought to twice the larger input scale with 20 more bits (15 for int16),
    combined, and requantised.

    Source: TFLite reference_integer_ops::Add, add_common.cc of TFLite-Micro.
    """

    subtracts: ClassVar[bool] = False

    @staticmethod
    def combine(a: Array, b: Array) -> Array:
        """The operator on reals or on aligned integers."""
        raise NotImplementedError

    def multipliers(
        self, ins: Sequence[Tensor], out: Tensor
    ) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        twice = 2 * max(ins[0].q.s, ins[1].q.s)
        of_out = twice / ((1 << LEFT_SHIFT[out.dtype]) * out.q.s)
        if of_out >= 1:
            # TFLite-Micro and LiteRT end the process here, and the shift left would overflow.
            raise QuantisationError(
                f"{self.kind}: the range of '{out.name}' is too small beside that of its inputs",
                "Its inputs cancel in every calibration sample; remove the layer or calibrate "
                "with other samples.",
            )
        return (
            quantise_multiplier(ins[0].q.s / twice),
            quantise_multiplier(ins[1].q.s / twice),
            quantise_multiplier(of_out),
        )

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return self.activation.run_float(self.combine(inputs[0], inputs[1]))

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        of_a, of_b, of_out = self.multipliers(ins, out)
        a = self._aligned(inputs[0], ins[0], of_a)
        b = self._aligned(inputs[1], ins[1], of_b)
        total = requantise(self.combine(a, b), *of_out) + out.q.z
        return saturate(total, out.dtype, self.activation.bounds(out.q, out.dtype))

    @staticmethod
    def _aligned(x: Array, tensor: Tensor, multiplier: tuple[int, int]) -> Int64:
        centred = x.astype(np.int64) - tensor.q.z
        return requantise(centred << LEFT_SHIFT[tensor.dtype], *multiplier)

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        bounds = self.activation.bounds(out.q, out.dtype)
        shift = LEFT_SHIFT[out.dtype]
        kernel = f"tml_{self.kind}_{c.suffix(out)}"
        wide, fine = sorted(ins, key=lambda t: t.q.s, reverse=True)
        _, of_fine, of_out = self.multipliers([wide, fine], out)
        zero_points = wide.q.z, fine.q.z, out.q.z
        negative = self.subtracts and wide is not ins[0]
        fast = add_record(zero_points, of_fine, of_out, bounds, shift, negative=negative)
        rows = fast_rows(c, ins, out)
        if fast is not None and rows is not None:
            shape = aligned_shape(c, rows, wide, fine)
            c.call(f"{kernel}_dsp", shape, c.record(fast), c.read(wide), c.read(fine), c.write(out))
            return
        of_a, of_b, of_out = self.multipliers(ins, out)
        zero_points = ins[0].q.z, ins[1].q.z, out.q.z
        record = c.record([*zero_points, *of_a, *of_b, *of_out, shift, *bounds])
        shape = self.c_shape(c, ins, out)
        c.call(kernel, shape, record, c.read(ins[0]), c.read(ins[1]), c.write(out))


@dataclass(frozen=True)
class Add(AddSub):
    """a + b."""

    kind: ClassVar[str] = "add"
    has_int16: ClassVar[bool] = True
    tflite_name: ClassVar[str] = "ADD"
    tflite_options: ClassVar[str] = "AddOptions"
    onnx_name: ClassVar[str] = "Add"

    @staticmethod
    def combine(a: Array, b: Array) -> Array:
        return np.asarray(a + b)


@dataclass(frozen=True)
class Sub(AddSub):
    """a - b."""

    kind: ClassVar[str] = "sub"
    subtracts: ClassVar[bool] = True
    has_int16: ClassVar[bool] = True
    tflite_name: ClassVar[str] = "SUB"
    tflite_options: ClassVar[str] = "SubOptions"
    onnx_name: ClassVar[str] = "Sub"

    @staticmethod
    def combine(a: Array, b: Array) -> Array:
        return np.asarray(a - b)
