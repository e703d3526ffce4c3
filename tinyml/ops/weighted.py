# SPDX-License-Identifier: Apache-2.0
"""What convolutions and the fully connected operator share: weights, bias, requantisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tinyml.errors import QuantisationError
from tinyml.ir.fixedpoint import (
    INT32_MAX,
    INT32_MIN,
    Int64,
    quantise_multipliers,
    requantise,
    requantise_wide,
    saturate,
    wrap32,
)
from tinyml.ir.operator import Operator
from tinyml.ir.tensor import Array, DType, Quantisation, Tensor
from tinyml.kernels import (
    DEPTHWISE,
    WIDE,
    WIDE_SHORT_BIAS,
    Layer,
    Variant,
    choose,
)
from tinyml.ops.activation import Activation

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter


def output_multipliers(ins: Sequence[Tensor], out: Tensor) -> tuple[Int64, Int64]:
    """Multiplier and shift of each output channel: input scale * weight scale / output scale,
    in double precision over float32 scales (TFLite PopulateConvolutionQuantizationParams).
    Weights quantised per tensor give every channel the same."""
    weights = np.broadcast_to(np.asarray(ins[1].q.scale, np.float64), ins[2].shape)
    return quantise_multipliers(ins[0].q.s * weights / out.q.s)


def finish_accumulators(
    accumulators: Array, bias: Array, ins: Sequence[Tensor], out: Tensor, activation: Activation
) -> Array:
    """Bias, requantisation, zero point and clamp.

    int16 layers accumulate in 64 bits and round once where the bias is int64; with an int32 bias,
    which only CONV_2D takes, they compute as int8 layers do.

    Args:
        accumulators: (..., channels), exact sums as float64 or integers.
        bias: int32 or int64 (channels,).
    """
    total = accumulators.astype(np.int64) + bias.astype(np.int64)
    multiplier, shift = output_multipliers(ins, out)
    if ins[2].dtype is DType.INT64:
        scaled = requantise_wide(total, multiplier, shift)
    else:
        scaled = requantise(wrap32(total), multiplier, shift)
    return saturate(scaled + out.q.z, out.dtype, activation.bounds(out.q, out.dtype))


def quantise_weights(
    weights: Tensor,
    bias: Tensor,
    axis: int,
    input_quant: Quantisation,
    input_dtype: DType = DType.INT8,
) -> dict[int, Tensor]:
    """int8 weights symmetric per channel of ``axis`` in [-127, 127], or with the scales that their
    file states, and the bias: int32, or int64 beside int16 activations.

    Returns:
        {1: weights, 2: bias} with bias scale = input scale * weight scale.

    Raises:
        QuantisationError: a bias does not fit int32 at its scale; stated weights are asymmetric.
    """
    values = weights.values.astype(np.float64)
    others = tuple(i for i in range(values.ndim) if i != axis)
    peak = np.max(np.abs(values), axis=others)
    # A channel of zeros takes any scale; 1 keeps its bias exact enough.
    scale = (np.where(peak > 0, peak, 127.0) / 127.0).astype(np.float32)
    if weights.quant is None:
        # A tiny channel with a large bias would overflow int32: give it a coarser scale.
        floor = np.abs(bias.values.astype(np.float64)) / (2.0**30 * input_quant.s)
        scale = np.maximum(scale, np.float32(floor))
    else:
        if any(weights.quant.zero_point):
            raise QuantisationError(
                f"the weights '{weights.name}' have zero points other than 0",
                "Quantise weights symmetrically.",
            )
        scale = np.broadcast_to(np.asarray(weights.quant.scale, np.float32), peak.shape)
    quant = Quantisation.per_channel(scale, axis)
    bias_dtype = DType.INT64 if input_dtype is DType.INT16 else DType.INT32
    made = quant.quantise(weights.values)
    bias_scale = input_quant.s * scale.astype(np.float64)
    reals = bias.values.astype(np.float64) / bias_scale
    integers = np.rint(reals)
    if np.any(integers < INT32_MIN) or np.any(integers > INT32_MAX):
        raise QuantisationError(f"the bias '{bias.name}' does not fit 32 bits")
    return {
        1: replace(weights, dtype=DType.INT8, data=made, quant=quant),
        2: replace(
            bias,
            dtype=bias_dtype,
            data=integers.astype(bias_dtype.numpy),
            quant=Quantisation.per_channel(bias_scale, 0),
        ),
    }


class Weighted(Operator):
    """Base class of convolutions and the fully connected operator: their C kernels are chosen
    together (tinyml/kernels)."""

    def c_layer(self, ins: Sequence[Tensor], out: Tensor) -> Layer:
        """The layer as kernels see it."""
        raise NotImplementedError

    def c_variant(self, layer: Layer, isa: str) -> Variant:
        """The kernel that computes it."""
        return choose(layer, isa)

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        layer = self.c_layer(ins, out)
        variant = self.c_variant(layer, c.isa)
        header = [layer.input_zero_point, layer.output_zero_point, layer.low, layer.high]
        kind, fields = variant.shape(layer)
        arguments = [c.shape(kind, fields), c.record(header, *variant.parts(layer))]
        arguments += [c.read(ins[0]), c.write(out)]
        if variant.takes_rows and kind == "tml_window_t":
            arguments += ["0", str(fields["output_h"])]
        if variant.takes_scratch:
            arguments.append(c.scratch())
        c.call(variant.kernel, *arguments)
        c.kernels.update(variant.helpers)

    def c_scratch(self, ins: Sequence[Tensor], out: Tensor, isa: str) -> int:
        layer = self.c_layer(ins, out)
        return self.c_variant(layer, isa).scratch(layer)

    def c_in_place(self, ins: Sequence[Tensor], out: Tensor, isa: str) -> bool:
        layer = self.c_layer(ins, out)
        return self.c_variant(layer, isa).in_place(layer)

    def c_in_order(self, ins: Sequence[Tensor], out: Tensor, isa: str) -> bool:
        return self.c_variant(self.c_layer(ins, out), isa).in_order


def c_layer(
    kind: str,
    shape: Mapping[str, int],
    ins: Sequence[Tensor],
    out: Tensor,
    activation: Activation,
) -> Layer:
    """The layer of a weighted operator; kind is that of int8 activations."""
    multiplier, shift = output_multipliers(ins, out)
    low, high = activation.bounds(out.q, out.dtype)
    weights = ins[1].values[0] if kind == DEPTHWISE else ins[1].values
    bias = ins[2].values.astype(np.int64)
    zero_points = ins[0].q.z, out.q.z
    if ins[0].dtype is DType.INT16:
        kind += WIDE if ins[2].dtype is DType.INT64 else WIDE_SHORT_BIAS
    return Layer(kind, shape, *zero_points, low, high, weights, bias, multiplier, shift)
