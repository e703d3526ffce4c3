# SPDX-License-Identifier: Apache-2.0
"""The TinyNet family of image classifiers.

Source: Han et al., "Model Rubik's Cube: Twisting Resolution, Depth and Width for TinyNets",
arXiv 2010.14819. Parameter names are those of timm's tinynet_a .. tinynet_e, so its state dicts
load as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tinyml.errors import DatasetError

BN_EPSILON = 1e-5

# EfficientNet-B0's stages: blocks, kernel, stride, expansion, channels.
BASE_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
SE_RATIO = 0.25

Activation = Literal["silu", "relu"]
_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": nn.functional.silu,
    "relu": nn.functional.relu,
}


@dataclass(frozen=True)
class TinyNetConfig:
    """One member of the family.

    Args:
        width, depth: multipliers of channels and of blocks per stage.
        resolution: height and width of the input.
        classes: outputs.
        input_channels: 3 for colour, 1 for grey.
        stem: channels after the first convolution; the paper fixes 32.
        stem_stride: 2 in the paper; 1 for inputs of few pixels.
        head: channels before the classifier; the paper's rule gives 1280 for all members.
        stages: of the base network.
        activation: SiLU in the paper; ReLU fuses into a convolution's requantisation.
    """

    width: float
    depth: float
    resolution: int
    classes: int = 1000
    input_channels: int = 3
    stem: int = 32
    stem_stride: int = 2
    head: int = 1280
    stages: tuple[tuple[int, int, int, int, int], ...] = BASE_STAGES
    activation: Activation = "silu"


# Resolution, width and depth as in timm.
FAMILY = {
    "tinynet-a": TinyNetConfig(1.0, 1.2, 192),
    "tinynet-b": TinyNetConfig(0.75, 1.1, 188),
    "tinynet-c": TinyNetConfig(0.54, 0.85, 184),
    "tinynet-d": TinyNetConfig(0.54, 0.695, 152),
    "tinynet-e": TinyNetConfig(0.51, 0.60, 106),
}


def round_channels(channels: float) -> int:
    """Channels rounded to a multiple of 8, never by more than a tenth downward."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class SqueezeExcite(nn.Module):
    """Scales channels by a gate computed from their means."""

    def __init__(self, channels: int, reduced: int, activation: Activation) -> None:
        super().__init__()
        self.activate = _ACTIVATIONS[activation]
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.conv_expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width)."""
        gate = x.mean((2, 3), keepdim=True)
        gate = self.conv_expand(self.activate(self.conv_reduce(gate)))
        return x * torch.sigmoid(gate)


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPSILON)


class DepthwiseSeparable(nn.Module):
    """Depthwise convolution, squeeze-excite, pointwise convolution."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, activation: Activation
    ) -> None:
        super().__init__()
        self.activate = _ACTIVATIONS[activation]
        self.conv_dw = _convolution(inputs, inputs, kernel, stride, inputs)
        self.bn1 = _norm(inputs)
        self.se = SqueezeExcite(inputs, round(inputs * SE_RATIO), activation)
        self.conv_pw = _convolution(inputs, outputs, 1)
        self.bn2 = _norm(outputs)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, inputs, height, width)."""
        y = self.activate(self.bn1(self.conv_dw(x)))
        y = self.bn2(self.conv_pw(self.se(y)))
        result: Tensor = x + y if self.skip else y
        return result


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, squeeze-excite, projection."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        expand: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.activate = _ACTIVATIONS[activation]
        hidden = inputs * expand
        self.conv_pw = _convolution(inputs, hidden, 1)
        self.bn1 = _norm(hidden)
        self.conv_dw = _convolution(hidden, hidden, kernel, stride, hidden)
        self.bn2 = _norm(hidden)
        self.se = SqueezeExcite(hidden, round(inputs * SE_RATIO), activation)
        self.conv_pwl = _convolution(hidden, outputs, 1)
        self.bn3 = _norm(outputs)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, inputs, height, width)."""
        y = self.activate(self.bn1(self.conv_pw(x)))
        y = self.activate(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(self.se(y)))
        result: Tensor = x + y if self.skip else y
        return result


class TinyNet(nn.Module):
    """A member of the family.

    Args:
        config: its size.
    """

    def __init__(self, config: TinyNetConfig) -> None:
        super().__init__()
        act = config.activation
        self.activate = _ACTIVATIONS[act]
        self.conv_stem = _convolution(config.input_channels, config.stem, 3, config.stem_stride)
        self.bn1 = _norm(config.stem)
        stages: list[nn.Module] = []
        inputs = config.stem
        for repeats, kernel, stride, expand, base in config.stages:
            outputs = round_channels(base * config.width)
            blocks: list[nn.Module] = []
            for index in range(max(1, round(repeats * config.depth))):
                step = stride if index == 0 else 1
                if expand == 1:
                    blocks.append(DepthwiseSeparable(inputs, outputs, kernel, step, act))
                else:
                    blocks.append(InvertedResidual(inputs, outputs, kernel, step, expand, act))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _convolution(inputs, config.head, 1)
        self.bn2 = _norm(config.head)
        self.classifier = nn.Linear(config.head, config.classes)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, 0.0, (2.0 * module.groups / fan_out) ** 0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, resolution, resolution) -> logits (batch, classes)."""
        x = self.activate(self.bn1(self.conv_stem(x)))
        x = self.blocks(x)
        x = self.activate(self.bn2(self.conv_head(x)))
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]


def adopt_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads a state dict of timm or of this package.

    Counters of batches may be missing: evaluation does not use them.

    Raises:
        DatasetError: naming the first parameter that is missing, unknown or of another shape.
    """
    own = model.state_dict()
    counters = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}
    for name, value in own.items():
        if name not in state and name not in counters:
            raise DatasetError(f"the weights lack the parameter '{name}'")
        if name in state and state[name].shape != value.shape:
            raise DatasetError(
                f"the weights' parameter '{name}' has shape {tuple(state[name].shape)}, "
                f"the model's has {tuple(value.shape)}"
            )
    unknown = [name for name in state if name not in own]
    if unknown:
        raise DatasetError(f"the model has no parameter '{unknown[0]}' of the weights")
    model.load_state_dict({**counters, **state}, strict=True)
