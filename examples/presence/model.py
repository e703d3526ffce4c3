# SPDX-License-Identifier: Apache-2.0
"""Somebody there or nobody, from CO2, humidity, light and temperature."""

from __future__ import annotations

import torch
from torch import nn


def presence() -> nn.Module:
    """4-16-8-2, 234 parameters."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    )
