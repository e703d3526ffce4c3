# SPDX-License-Identifier: Apache-2.0
"""Networks as PyTorch users write them, small, with random weights. Each has a `shape`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Causal(nn.Module):
    """A block of a temporal convolutional network."""

    def __init__(self, taken: int, made: int, dilation: int) -> None:
        super().__init__()
        self.reach = 2 * dilation
        self.conv = nn.Conv1d(taken, made, 3, dilation=dilation)
        self.norm = nn.BatchNorm1d(made)
        self.past = nn.Conv1d(taken, made, 1) if taken != made else nn.Identity()

    def forward(self, x):
        return torch.relu(self.norm(self.conv(F.pad(x, (self.reach, 0))))) + self.past(x)


class TemporalConvolution(nn.Sequential):
    shape = (6, 48)

    def __init__(self) -> None:
        blocks = [Causal(6, 12, 1), Causal(12, 12, 2), Causal(12, 16, 4)]
        super().__init__(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 5))


class UNet(nn.Module):
    shape = (3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.deep = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.PReLU(12))
        self.up = nn.ConvTranspose2d(12, 8, 2, 2)
        self.last = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ELU(), nn.Conv2d(8, 1, 1))

    def forward(self, x):
        x = self.down(x)
        return torch.sigmoid(self.last(torch.cat([self.up(self.deep(x)), x], 1)))


class Shuffle(nn.Module):
    """Channels split, shuffled and convolved in groups."""

    shape = (3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 2, 1)
        self.right = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1), nn.Hardswish()
        )
        self.groups = nn.Conv2d(16, 24, 1, groups=4)
        self.head = nn.Linear(24, 4)

    def forward(self, x):
        left, right = F.relu(self.first(x)).chunk(2, 1)
        x = torch.cat([left, self.right(right)], 1)
        _, channels, height, width = x.shape
        x = x.view(1, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)
        return self.head(F.hardtanh(self.groups(x)).mean([2, 3]))


class Upscale(nn.Module):
    shape = (1, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, 2, 1)
        self.second = nn.Conv2d(8, 8, 3, 2, 1)
        self.norm = nn.GroupNorm(2, 8)
        self.last = nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, x):
        x = F.silu(self.norm(self.first(x)))
        y = F.interpolate(F.mish(self.second(x)), scale_factor=2, mode="nearest")
        y = self.last(torch.cat([x, y], 1))
        return F.pixel_shuffle(F.interpolate(y, size=(16, 16), mode="bilinear"), 2)


class VisionTransformer(nn.Module):
    shape = (3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.place = nn.Parameter(torch.randn(1, 16, 16) / 10)
        layer = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.encoder(x).mean(1))


class Arithmetic(nn.Module):
    shape = (16,)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        y = self.second(torch.exp(-h * h) + torch.sqrt(h.abs() + 0.1)) / (1 + h.norm(dim=1))
        return torch.maximum(y, F.softplus(x) - 1)
