# SPDX-License-Identifier: Apache-2.0
"""Rounding that training can see through: the integers are the quantiser's, the gradient passes as
if nothing had been rounded (straight-through estimator) and stops where a value saturates.

Everything is rounded in double precision with ties to even, as `Quantisation.quantise` does.
Source: Bengio et al., arXiv 1308.3432; Jacob et al., arXiv 1712.05877, section 3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tinyml.ir.tensor import DType, Quantisation

# Samples are rounded in groups of about as many values as a cache holds: a whole batch in double
# precision, five times through memory, would take most of a training step.
_GROUP = 1 << 18


class _Rounded(torch.autograd.Function):
    """Values on a grid; the gradient is that of the clamp."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, zero: int, low: int, high: int) -> Tensor:
        made, inside = torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)
        count = max(1, _GROUP * len(x) // max(1, x.numel()))
        parts = (torch.split(t, count) for t in (x, made, inside))
        for source, result, mask in zip(*parts, strict=True):
            grid = source.double().div_(scale).round_()
            held = grid.clamp(low - zero, high - zero)
            torch.eq(grid, held, out=mask)
            result.copy_(held.mul_(scale))
        ctx.save_for_backward(inside)
        return made

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None, None, None, None


def fake_quantise(x: Tensor, quant: Quantisation, dtype: DType = DType.INT8) -> Tensor:
    """float32 values as a per-tensor grid holds them: `quantise`, then `dequantise`."""
    made: Tensor = _Rounded.apply(x, quant.s, quant.z, *dtype.limits)  # type: ignore[no-untyped-call]
    return made


def fake_quantise_weights(
    weights: Tensor, bias: Tensor, axis: int, input_scale: float
) -> tuple[Tensor, Tensor]:
    """Weights and bias as `ops.weighted.quantise_weights` makes them: symmetric int8 per slice of
    ``axis``, and a bias on the grid of the sums."""
    exact, offset = weights.detach().double(), bias.detach().double()
    others = [i for i in range(exact.dim()) if i != axis]
    peak = exact.abs().amax(others)
    scale = (torch.where(peak > 0, peak, torch.full_like(peak, 127.0)) / 127.0).float()
    scale = torch.maximum(scale, (offset.abs() / (2.0**30 * input_scale)).float()).double()
    shaped = scale.reshape([-1 if i == axis else 1 for i in range(exact.dim())])
    rounded = (exact / shaped).round().clamp(-127, 127) * shaped
    of_sums = scale * input_scale
    shifted = (offset / of_sums).round() * of_sums
    return weights + (rounded - exact).float(), bias + (shifted - offset).float()
