# SPDX-License-Identifier: Apache-2.0
"""Elementwise functions of one tensor. In C each int8 one is a table of its 256 results."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinyml.errors import QuantisationError
from tinyml.ir.fixedpoint import (
    INT32_MAX,
    Int64,
    clamp_int8,
    exp_on_negative,
    input_radius,
    inverse_square_root,
    one_minus_x_over_one_plus_x,
    one_over_one_plus_x,
    quantise_multiplier,
    requantise,
    rounding_divide_by_pot,
    saturate,
)
from tinyml.ir.lookup import SIGMOID, sigmoid16, sigmoid_multiplier, sigmoid_position, tanh16
from tinyml.ir.operator import Operator, Rule, Shape
from tinyml.ir.tensor import Array, DType, Quantisation, Tensor
from tinyml.kernels import DUAL_MULTIPLY, requantise_record

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

# Bits below the point of a root on its way to the output.
_RSQRT_BITS = 20

ALL_INT8 = np.arange(-128, 128).astype(np.int8)


@dataclass(frozen=True)
class Unary(Operator):
    """One input, an output of the same shape."""

    tflite_name: ClassVar[str]
    tflite_options: ClassVar[str | None] = None
    onnx_name: ClassVar[str]

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        return inputs[0]

    @abstractmethod
    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        """The int8 result for each integer of ``x``."""

    def map_int16(self, x: Int64, source: Tensor, target: Tensor) -> Array:
        """The result for each integer of ``x`` where source or target is int16.

        Raises:
            QuantisationError: TFLite-Micro has the operator on int8 only.
        """
        raise QuantisationError(
            f"{self.kind} of '{source.name}' has no int16 form in TFLite-Micro",
            "Keep its input and output int8.",
        )

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        x = inputs[0].astype(np.int64)
        if ins[0].dtype is DType.INT8 and out.dtype is DType.INT8:
            return self.map_int8(x, ins[0].q, out.q)
        return self.map_int16(x, ins[0], out)

    def tflite_attributes(self) -> dict[str, Any]:
        """Fields of the TFLite options table."""
        return {}

    def onnx_attributes(self) -> dict[str, Any]:
        """Attributes of the ONNX operator."""
        return {}

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.operator(
            self.tflite_name,
            [b.tensor(ins[0])],
            [b.tensor(out)],
            self.tflite_options,
            **self.tflite_attributes(),
        )

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.write(out, b.node(self.onnx_name, [b.read(ins[0])], **self.onnx_attributes()))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError(f"collapse_tables turns {self.kind} of int8 into a table")


def _q4_input(x: Int64, source: Quantisation) -> tuple[Int64, Array, Array]:
    """The input in Q4.27, and where it lies beyond the representable radius on either side."""
    multiplier, shift = quantise_multiplier(source.s * (1 << 27))
    radius = input_radius(4, shift)
    centred = x - source.z
    inside = np.clip(centred, -radius, radius)
    return requantise(inside, multiplier, shift), centred <= -radius, centred >= radius


@dataclass(frozen=True)
class Logistic(Unary):
    """1 / (1 + exp(-x)); output scale 1/256, zero point -128.

    Source: TFLite reference_integer_ops::Logistic, gemmlowp::logistic.
    """

    kind: ClassVar[str] = "logistic"
    has_int16: ClassVar[bool] = True
    rule: ClassVar[Rule] = Rule.FIXED
    tflite_name: ClassVar[str] = "LOGISTIC"
    onnx_name: ClassVar[str] = "Sigmoid"

    def fixed_quantisation(self, dtype: DType = DType.INT8) -> Quantisation:
        if dtype is DType.INT16:
            return Quantisation.per_tensor(1.0 / 32768, 0)
        return Quantisation.per_tensor(1.0 / 256, -128)

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x = inputs[0].astype(np.float64)
        return np.asarray(np.exp(-np.logaddexp(0.0, -x)), np.float32)

    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        q4, below, above = _q4_input(x, source)
        positive = one_over_one_plus_x(exp_on_negative(-np.abs(q4), 4))
        result = np.where(q4 > 0, positive, INT32_MAX - positive)
        result = np.where(q4 == 0, 1 << 30, result)
        rounded = rounding_divide_by_pot(result, 23) - 128
        return clamp_int8(np.where(below, -128, np.where(above, 127, rounded)))

    def map_int16(self, x: Int64, source: Tensor, target: Tensor) -> Array:
        position = sigmoid_position(x, *sigmoid_multiplier(source.q.s, (0,)))
        return sigmoid16(position).astype(np.int16)

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        shape = c.shape("tml_table_t", {"count": out.elements})
        record = c.record(sigmoid_multiplier(ins[0].q.s, (0,)))
        table = c.shared(SIGMOID)
        c.call("tml_logistic_s16", shape, record, table, c.read(ins[0]), c.write(out))


@dataclass(frozen=True)
class Tanh(Unary):
    """Hyperbolic tangent; output scale 1/128, zero point 0.

    Source: TFLite reference_integer_ops::Tanh, gemmlowp::tanh.
    """

    kind: ClassVar[str] = "tanh"
    has_int16: ClassVar[bool] = True
    rule: ClassVar[Rule] = Rule.FIXED
    tflite_name: ClassVar[str] = "TANH"
    onnx_name: ClassVar[str] = "Tanh"

    def fixed_quantisation(self, dtype: DType = DType.INT8) -> Quantisation:
        return Quantisation.per_tensor(1.0 / (32768 if dtype is DType.INT16 else 128), 0)

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.asarray(np.tanh(inputs[0]))

    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        q4, below, above = _q4_input(x, source)
        # Doubling the argument costs one integer bit and leaves the raw value as it is.
        positive = one_minus_x_over_one_plus_x(exp_on_negative(-np.abs(q4), 5))
        result = np.where(q4 < 0, -positive, positive)
        result = np.where(q4 == 0, 0, result)
        rounded = rounding_divide_by_pot(result, 24)
        return clamp_int8(np.where(below, -128, np.where(above, 127, rounded)))

    def map_int16(self, x: Int64, source: Tensor, target: Tensor) -> Array:
        position = sigmoid_position(x, *sigmoid_multiplier(source.q.s, (0, 1)))
        return tanh16(position).astype(np.int16)

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        shape = c.shape("tml_table_t", {"count": out.elements})
        record = c.record(sigmoid_multiplier(ins[0].q.s, (0, 1)))
        table = c.shared(SIGMOID)
        c.call("tml_tanh_s16", shape, record, table, c.read(ins[0]), c.write(out))


@dataclass(frozen=True)
class Relu(Unary):
    """max(x, 0), where it cannot be fused into its producer.

    Source: TFLite reference_ops::QuantizedReluX.
    """

    kind: ClassVar[str] = "relu"
    has_int16: ClassVar[bool] = True
    tflite_name: ClassVar[str] = "RELU"
    onnx_name: ClassVar[str] = "Relu"

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.maximum(inputs[0], 0.0)

    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        multiplier, shift = quantise_multiplier(source.s / target.s)
        scaled = requantise(x - source.z, multiplier, shift) + target.z
        return clamp_int8(scaled, low=max(-128, target.z))

    def map_int16(self, x: Int64, source: Tensor, target: Tensor) -> Array:
        scaled = requantise(x, *quantise_multiplier(source.q.s / target.q.s))
        return saturate(scaled, DType.INT16, (0, 32767))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        identity = quantise_multiplier(ins[0].q.s / out.q.s)
        shape = c.shape("tml_table_t", {"count": out.elements})
        record = c.record([*identity, 0, 0])
        c.call("tml_leaky_relu_s16", shape, record, c.read(ins[0]), c.write(out))


@dataclass(frozen=True)
class Relu6(Unary):
    """min(max(x, 0), 6), where it cannot be fused. Keeps the input's scale: TFLite-Micro's
    RELU6 does not rescale."""

    kind: ClassVar[str] = "relu6"
    rule: ClassVar[Rule] = Rule.SAME_AS_INPUT
    tflite_name: ClassVar[str] = "RELU6"
    onnx_name: ClassVar[str] = "Clip"

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.clip(inputs[0], 0.0, 6.0)

    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        # TFLite divides in single precision.
        steps = np.floor(np.float32(6.0) / np.float32(source.s) + np.float32(0.5))
        six = int(np.clip(source.z + float(steps), -128, 127))
        return clamp_int8(x, low=source.z, high=six)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.write(out, b.node("Clip", [b.read(ins[0]), b.scalar(0.0), b.scalar(6.0)]))


@dataclass(frozen=True)
class LeakyRelu(Unary):
    """x where positive, alpha * x elsewhere. Source: TFLite reference_ops::QuantizeLeakyRelu."""

    alpha: float = 0.01  # at least 0: kernels round products with a negative slope differently
    kind: ClassVar[str] = "leaky_relu"
    has_int16: ClassVar[bool] = True
    tflite_name: ClassVar[str] = "LEAKY_RELU"
    tflite_options: ClassVar[str | None] = "LeakyReluOptions"
    onnx_name: ClassVar[str] = "LeakyRelu"

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        if self.alpha < 0:
            raise ValueError(f"leaky_relu: the slope {self.alpha} is negative")
        return inputs[0]

    def tflite_attributes(self) -> dict[str, Any]:
        return {"alpha": self.alpha}

    def onnx_attributes(self) -> dict[str, Any]:
        return {"alpha": self.alpha}

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x = inputs[0]
        return np.asarray(np.where(x > 0, x, np.float32(self.alpha) * x))

    def _multipliers(
        self, source: Quantisation, target: Quantisation
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        slope = source.s * float(np.float32(self.alpha)) / target.s
        return quantise_multiplier(source.s / target.s), quantise_multiplier(slope)

    def _scaled(self, x: Int64, source: Quantisation, target: Quantisation) -> Int64:
        identity, slope = self._multipliers(source, target)
        return np.where(x >= 0, requantise(x, *identity), requantise(x, *slope))

    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        return clamp_int8(self._scaled(x - source.z, source, target) + target.z)

    def map_int16(self, x: Int64, source: Tensor, target: Tensor) -> Array:
        return saturate(self._scaled(x, source.q, target.q), DType.INT16)

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        identity, slope = self._multipliers(ins[0].q, out.q)
        shape = c.shape("tml_table_t", {"count": out.elements})
        record = c.record([*identity, *slope])
        c.call("tml_leaky_relu_s16", shape, record, c.read(ins[0]), c.write(out))


@dataclass(frozen=True)
class HardSwish(Unary):
    """x * min(max(x + 3, 0), 6) / 6. Source: TFLite reference_ops::HardSwish on int16."""

    kind: ClassVar[str] = "hard_swish"
    tflite_name: ClassVar[str] = "HARD_SWISH"
    tflite_options: ClassVar[str | None] = "HardSwishOptions"
    onnx_name: ClassVar[str] = "HardSwish"

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x = inputs[0]
        return np.asarray(x * np.clip(x + 3, 0, 6) / 6, np.float32)

    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        high_resolution = np.float32(1.0 / 128.0) * np.float32(source.s)
        to_output, output_exponent = _int16_multiplier(high_resolution / np.float32(target.s))
        if output_exponent > 0:
            raise QuantisationError(
                f"hard_swish: the output scale {target.s:g} is less than 1/128 of the input scale "
                f"{source.s:g}, which TFLite-Micro cannot compute",
                "Calibrate with samples that cover the layer's inputs around zero.",
            )
        reluish_scale = np.float32(3.0 / 32768.0)
        to_reluish, reluish_exponent = _int16_multiplier(high_resolution / reluish_scale)
        value = (x - source.z) << 7
        preshift = _doubling_high_multiply16(value, to_output)
        reluish = value
        if reluish_exponent > 0:
            reluish = _saturate16(reluish << (reluish_exponent - 1))
        reluish = _doubling_high_multiply16(reluish, to_reluish)
        if reluish_exponent > 0:
            reluish = _saturate16(reluish << 1)
        if reluish_exponent < 0:
            reluish = _rounding_divide_by_pot16(reluish, -reluish_exponent)
        gate = (reluish + (1 << 15)) >> 1
        product = gate * preshift
        truncated = np.where(product >= 0, product >> 15, -((-product) >> 15))
        return clamp_int8(_rounding_divide_by_pot16(truncated, -output_exponent) + target.z)


def _int16_multiplier(real: np.float32) -> tuple[int, int]:
    multiplier, exponent = quantise_multiplier(float(real))
    return min((multiplier + (1 << 15)) >> 16, 32767), exponent


def _saturate16(x: Int64) -> Int64:
    return np.clip(x, -32768, 32767)


def _rounding_divide_by_pot16(x: Int64, exponent: int) -> Int64:
    # From 16 bits on gemmlowp's int16 mask is all ones, and the quotient plus or minus 1.
    if exponent >= 16:
        return np.where(x >= 0, 1, -1).astype(np.int64)
    return rounding_divide_by_pot(x, exponent)


def _doubling_high_multiply16(a: Int64, b: int) -> Int64:
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return _saturate16(np.where(nudged >= 0, nudged >> 15, -((-nudged) >> 15)))


@dataclass(frozen=True)
class Elu(Unary):
    """x where positive, exp(x) - 1 elsewhere. Source: TFLite-Micro elu.cc, a table made in single
    precision."""

    kind: ClassVar[str] = "elu"
    tflite_name: ClassVar[str] = "ELU"
    onnx_name: ClassVar[str] = "Elu"

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x = inputs[0]
        return np.asarray(np.where(x < 0, np.expm1(np.minimum(x, 0)), x), np.float32)

    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        real = np.float32(source.s) * (x - source.z).astype(np.float32)
        scaled = self.run_float([real]) * (np.float32(1) / np.float32(target.s))
        rounded = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))
        return clamp_int8(rounded + target.z)


@dataclass(frozen=True)
class Requantise(Unary):
    """The same reals on another grid, int8 or int16 on either side.

    Source: TFLite reference_ops::Requantize.
    """

    kind: ClassVar[str] = "requantise"
    has_int16: ClassVar[bool] = True
    tflite_name: ClassVar[str] = "QUANTIZE"
    onnx_name: ClassVar[str] = "Identity"

    def input_dtype(self, out: DType) -> DType | None:
        return None

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return inputs[0]

    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        multiplier, shift = quantise_multiplier(source.s / target.s)
        return clamp_int8(requantise(x - source.z, multiplier, shift) + target.z)

    def map_int16(self, x: Int64, source: Tensor, target: Tensor) -> Array:
        scaled = requantise(x - source.q.z, *quantise_multiplier(source.q.s / target.q.s))
        return saturate(scaled + target.q.z, target.dtype)

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        shape = c.shape("tml_table_t", {"count": out.elements})
        multiplier = quantise_multiplier(ins[0].q.s / out.q.s)
        kernel = f"tml_requantise_{c.suffix(ins[0])}_{c.suffix(out)}"
        values: Sequence[int] = [ins[0].q.z, out.q.z, *multiplier]
        types = {ins[0].dtype, out.dtype}
        if c.core in DUAL_MULTIPLY and types <= {DType.INT8, DType.INT16}:
            low, high = ins[0].dtype.limits
            largest = max(high - ins[0].q.z, ins[0].q.z - low)
            fast = requantise_record((ins[0].q.z, out.q.z), multiplier, largest)
            if fast is not None:
                kernel, values = f"{kernel}_dsp", fast
        c.call(kernel, shape, c.record(values), c.read(ins[0]), c.write(out))


@dataclass(frozen=True)
class Abs(Unary):
    """|x|. Source: TFLite-Micro elementwise.cc."""

    kind: ClassVar[str] = "abs"
    has_int16: ClassVar[bool] = True
    tflite_name: ClassVar[str] = "ABS"
    tflite_options: ClassVar[str | None] = "AbsOptions"
    onnx_name: ClassVar[str] = "Abs"

    def run_float(self, inputs: Sequence[Array]) -> Array:
        return np.abs(inputs[0])

    @staticmethod
    def _scaled(x: Int64, source: Quantisation, target: Quantisation) -> Int64:
        size = np.abs(x - source.z)
        if source.s == target.s:
            return size + target.z
        return requantise(size, *quantise_multiplier(source.s / target.s)) + target.z

    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        return clamp_int8(self._scaled(x, source, target))

    def map_int16(self, x: Int64, source: Tensor, target: Tensor) -> Array:
        return saturate(self._scaled(x, source.q, target.q), DType.INT16)

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        # A factor of 1 is exact: 2**30 with a shift of 1.
        shape = c.shape("tml_table_t", {"count": out.elements})
        record = c.record(quantise_multiplier(ins[0].q.s / out.q.s))
        c.call("tml_abs_s16", shape, record, c.read(ins[0]), c.write(out))


@dataclass(frozen=True)
class Rsqrt(Unary):
    """1 / sqrt(x); the greatest integer for x <= 0, where TFLite-Micro stops on x < 0.

    Source: TFLite-Micro elementwise.cc.
    """

    kind: ClassVar[str] = "rsqrt"
    has_int16: ClassVar[bool] = True
    tflite_name: ClassVar[str] = "RSQRT"
    onnx_name: ClassVar[str] = "Sqrt"

    def run_float(self, inputs: Sequence[Array]) -> Array:
        x = inputs[0].astype(np.float64)
        positive = x > 0
        largest = float(np.finfo(np.float32).max)
        return np.asarray(
            np.where(positive, 1 / np.sqrt(np.where(positive, x, 1)), largest), np.float32
        )

    @staticmethod
    def _multiplier(source: Quantisation, target: Quantisation) -> tuple[int, int]:
        return quantise_multiplier(1.0 / (math.sqrt(source.s) * target.s))

    def c_multiplier(self, source: Quantisation, target: Quantisation) -> tuple[int, int]:
        """What takes a root with `_RSQRT_BITS` bits below the point to the output."""
        multiplier, shift = self._multiplier(source, target)
        return multiplier, shift - _RSQRT_BITS

    def _root(self, x: Int64, source: Quantisation, target: Quantisation) -> tuple[Int64, Array]:
        """The rescaled root, and where the input is not positive."""
        multiplier, shift = self._multiplier(source, target)
        root, root_shift = inverse_square_root(np.maximum(x - source.z, 1))
        fine = requantise(1, root, root_shift + _RSQRT_BITS)
        return requantise(fine, multiplier, shift - _RSQRT_BITS) + target.z, x <= source.z

    def map_int8(self, x: Int64, source: Quantisation, target: Quantisation) -> Array:
        root, below = self._root(x, source, target)
        return np.asarray(np.where(below, 127, np.clip(root, -128, 127)), np.int8)

    def map_int16(self, x: Int64, source: Tensor, target: Tensor) -> Array:
        root, below = self._root(x, source.q, target.q)
        return np.asarray(np.where(below, 32767, np.clip(root, -32768, 32767)), np.int16)

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        b.write(out, b.node("Reciprocal", [b.node("Sqrt", [b.read(ins[0])])]))

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        multiplier, shift = self._multiplier(ins[0].q, out.q)
        shape = c.shape("tml_table_t", {"count": out.elements})
        record = c.record([multiplier, shift - _RSQRT_BITS])
        c.call("tml_rsqrt_s16", shape, record, c.read(ins[0]), c.write(out))
