# SPDX-License-Identifier: Apache-2.0
"""Quantisation-aware training: a PyTorch model that rounds as its export will.

    ranges = prepare_qat(model, batches)      # from now on the model rounds as int8 does
    ...                                       # the user's own training loop, a small rate
    write_ranges(ranges, Path("own.toml"))    # tinyml export ... --overrides own.toml

Weights are rounded symmetrically per output channel in [-127, 127] and activations on the grid of
their range, both by the quantiser's own rules; gradients pass rounding as if it were not there
(straight-through estimator) and stop where a value saturates. Batch normalisation may follow a
convolution: it scales whole output channels, which leaves the integers of the weights as they are.

The state dict of the model stays what it was, so weights are saved and loaded as ever.
Source: Jacob et al., arXiv 1712.05877, section 3; Bengio et al., arXiv 1308.3432.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tinyml.errors import CalibrationError
from tinyml.ir.operator import affine

Ranges = dict[str, tuple[float, float]]
_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_CLAMPS = (nn.ReLU, nn.ReLU6)


def fake_quantise_weights(weights: Tensor) -> Tensor:
    """Weights (out, ...) as int8 holds them: symmetric per output channel."""
    peak = weights.detach().abs().flatten(1).amax(1)
    scale = torch.where(peak > 0, peak, torch.full_like(peak, 127.0)) / 127.0
    scale = scale.reshape(-1, *(1,) * (weights.dim() - 1))
    rounded = (weights.detach() / scale).round().clamp(-127, 127) * scale
    return weights + (rounded - weights.detach())


def fake_quantise(values: Tensor, low: float, high: float) -> Tensor:
    """Activations as int8 over [low, high] holds them."""
    grid = affine(low, high)
    least, most = (-128 - grid.z) * grid.s, (127 - grid.z) * grid.s
    clamped = values.clamp(least, most)
    rounded = ((clamped.detach() / grid.s).round() + grid.z).clamp(-128, 127)
    return clamped + ((rounded - grid.z) * grid.s - clamped.detach())


def prepare_qat(model: nn.Module, batches: Iterable[Tensor]) -> Ranges:
    """Measures the ranges of activations and makes the model round from now on.

    Activations are those of convolutions and linear layers, after a batch normalisation module
    and a ReLU module that directly follow. Ranges stay as measured: training moves the weights.

    Args:
        model: trained in float; changed in place, its state dict is not.
        batches: real inputs.

    Returns:
        (low, high) by layer, for `write_ranges`.

    Raises:
        CalibrationError: there are no batches, or none reaches a layer that could be rounded.
    """
    places = _observe(model, batches)
    if not places:
        raise CalibrationError(
            "no convolution or linear layer ran", "Give batches of real inputs, and a model."
        )
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            _round_convolution(module)
        elif isinstance(module, nn.Linear):
            _round_linear(module)
    for module, (_, bounds) in places.items():
        module.register_forward_hook(_rounding(*bounds))
    return dict(places.values())


def write_ranges(ranges: Ranges, path: Path) -> None:
    """Writes ranges as a file for ``tinyml export --overrides``."""
    lines = ["# Ranges of quantisation-aware training: the weights were trained for these."]
    for name, (low, high) in ranges.items():
        lines += ["", "[[layer]]", f"match = {json.dumps(name + '/*')}"]
        lines += [f"range = [{low!r}, {high!r}]"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _observe(
    model: nn.Module, batches: Iterable[Tensor]
) -> dict[nn.Module, tuple[str, tuple[float, float]]]:
    """By module whose output is rounded: the layer's name in the compiler, and the range."""
    names = {m: n for n, m in model.named_modules()}
    ends: dict[nn.Module, str] = {}
    bounds: dict[nn.Module, tuple[float, float]] = {}
    made_by: dict[int, tuple[Tensor, nn.Module]] = {}

    def after(module: nn.Module, inputs: Any, output: Tensor) -> None:
        low, high = float(output.detach().min()), float(output.detach().max())
        held = bounds.get(module, (low, high))
        bounds[module] = min(low, held[0]), max(high, held[1])
        # The tensor is held too: its identity must not be given to another one.
        source = made_by.get(id(inputs[0]), (None, None))[1]
        if isinstance(module, _WEIGHTED):
            ends[module] = names[module]
        elif source in ends and isinstance(module, _NORMS):
            del ends[source]
            ends[module] = names[module]  # the compiler names the merged layer after it
        elif source in ends:
            ends[module] = ends.pop(source)
        made_by[id(output)] = (output, module)

    kinds = (*_WEIGHTED, *_NORMS, *_CLAMPS)
    hooks = [m.register_forward_hook(after) for m in model.modules() if isinstance(m, kinds)]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                made_by.clear()
                ends.clear()
                model(batch)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return {m: (n, bounds[m]) for m, n in ends.items()}


def _round_convolution(module: nn.Conv1d | nn.Conv2d) -> None:
    plain = module._conv_forward

    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return plain(x, fake_quantise_weights(weight), bias)

    module._conv_forward = forward  # type: ignore[method-assign]


def _round_linear(module: nn.Linear) -> None:
    def forward(x: Tensor) -> Tensor:
        return nn.functional.linear(x, fake_quantise_weights(module.weight), module.bias)

    module.forward = forward  # type: ignore[method-assign]


def _rounding(low: float, high: float) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return fake_quantise(output, low, high)

    return hook
