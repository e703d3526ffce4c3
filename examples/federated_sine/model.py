# SPDX-License-Identifier: Apache-2.0
"""The network of the sine task, as in Reptile's and TinyReptile's toy."""

from __future__ import annotations

import torch
from torch import nn


def sine() -> nn.Module:
    """1-32-32-1 with tanh, 1,153 parameters."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    )
