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
    clamp_int8,
    quantise_multipliers,
    requantise,
    wrap32,
)
from tinyml.ir.operator import Operator
from tinyml.ir.tensor import Array, DType, Quantisation, Tensor
from tinyml.kernels import DEPTHWISE, Layer, choose
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

    Args:
        accumulators: (..., channels), exact sums as float64 or integers.
        bias: int32 (channels,).
    """
    total = wrap32(accumulators.astype(np.int64) + bias.astype(np.int64))
    multiplier, shift = output_multipliers(ins, out)
    scaled = requantise(total, multiplier, shift) + out.q.z
    return clamp_int8(scaled, *activation.bounds(out.q))


def quantise_weights(
    weights: Tensor, bias: Tensor, axis: int, input_quant: Quantisation
) -> dict[int, Tensor]:
    """int8 weights symmetric per channel of ``axis`` in [-127, 127], and the int32 bias.

    Returns:
        {1: weights, 2: bias} with bias scale = input scale * weight scale.

    Raises:
        QuantisationError: a bias does not fit int32 at its scale.
    """
    values = weights.values.astype(np.float64)
    others = tuple(i for i in range(values.ndim) if i != axis)
    peak = np.max(np.abs(values), axis=others)
    # A channel of zeros takes any scale; 1 keeps its bias exact enough.
    scale = (np.where(peak > 0, peak, 127.0) / 127.0).astype(np.float32)
    # A tiny channel with a large bias would overflow int32: give it a coarser scale.
    floor = np.abs(bias.values.astype(np.float64)) / (2.0**30 * input_quant.s)
    scale = np.maximum(scale, np.float32(floor))
    quant = Quantisation.per_channel(scale, axis)
    made = np.clip(quant.quantise(weights.values), -127, 127)
    bias_scale = input_quant.s * scale.astype(np.float64)
    reals = bias.values.astype(np.float64) / bias_scale
    integers = np.rint(reals)
    if np.any(integers < INT32_MIN) or np.any(integers > INT32_MAX):
        raise QuantisationError(f"the bias '{bias.name}' does not fit 32 bits")
    return {
        1: replace(weights, dtype=DType.INT8, data=made, quant=quant),
        2: replace(
            bias,
            dtype=DType.INT32,
            data=integers.astype(np.int32),
            quant=Quantisation.per_channel(bias_scale, 0),
        ),
    }


class Weighted(Operator):
    """Base class of convolutions and the fully connected operator: their C kernels are chosen
    together (tinyml/kernels)."""

    def c_layer(self, ins: Sequence[Tensor], out: Tensor) -> Layer:
        """The layer as kernels see it."""
        raise NotImplementedError

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        layer = self.c_layer(ins, out)
        variant = choose(layer, c.isa)
        header = [layer.input_zero_point, layer.output_zero_point, layer.low, layer.high]
        kind, fields = variant.shape(layer)
        arguments = [c.shape(kind, fields), c.record(header, *variant.parts(layer))]
        arguments += [c.read(ins[0]), c.write(out)]
        if kind == "tml_window_t":
            arguments += ["0", str(fields["output_h"])]
        if variant.takes_scratch:
            arguments.append(c.scratch())
        c.call(variant.kernel, *arguments)
        c.kernels.update(variant.helpers)

    def c_scratch(self, ins: Sequence[Tensor], out: Tensor, isa: str) -> int:
        layer = self.c_layer(ins, out)
        return choose(layer, isa).scratch(layer)

    def c_in_place(self, ins: Sequence[Tensor], out: Tensor, isa: str) -> bool:
        layer = self.c_layer(ins, out)
        return choose(layer, isa).in_place(layer)


def c_layer(
    kind: str,
    shape: Mapping[str, int],
    ins: Sequence[Tensor],
    out: Tensor,
    activation: Activation,
) -> Layer:
    """The layer of a weighted operator."""
    multiplier, shift = output_multipliers(ins, out)
    low, high = activation.bounds(out.q)
    weights = ins[1].values[0] if kind == DEPTHWISE else ins[1].values
    bias = ins[2].values.astype(np.int64)
    zero_points = ins[0].q.z, out.q.z
    return Layer(kind, shape, *zero_points, low, high, weights, bias, multiplier, shift)
