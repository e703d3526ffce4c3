# SPDX-License-Identifier: Apache-2.0
"""A digit classifier, trained briefly and trained longer: two versions of one model.

Both have the same structure, so the second can replace the first on a device without new firmware.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from tinyml.zoo.data import load_dataset

STEPS = {"v1": 60, "v2": 600}


def net() -> nn.Module:
    """Two convolutions and a classifier, about 2,700 parameters."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10)),
    )


def train(folder: Path) -> None:
    """Writes FOLDER/v1/digits.onnx, FOLDER/v2/digits.onnx, calibration.npz and test.npz."""
    data = load_dataset("mnist")
    torch.manual_seed(0)
    model = net()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(1, max(STEPS.values()) + 1):
        pick = np.random.default_rng(step).integers(0, len(data.train_x), 128)
        x, y = torch.from_numpy(data.train_x[pick]), torch.from_numpy(data.train_y[pick])
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
        for version, steps in STEPS.items():
            if step == steps:
                (folder / version).mkdir(parents=True, exist_ok=True)
                example = torch.from_numpy(data.train_x[:1])
                file = str(folder / version / "digits.onnx")
                torch.onnx.export(model.eval(), (example,), file, dynamo=True, verbose=False)
                model.train()
    np.savez(folder / "calibration.npz", x=data.train_x[:256])
    np.savez(folder / "test.npz", x=data.test_x, y=data.test_y)
