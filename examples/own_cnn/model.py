# SPDX-License-Identifier: Apache-2.0
"""A user's own small CNN, trained for a minute on MNIST, and its samples: model.py is all there is.

python examples/own_cnn/model.py        # trains, writes weights and samples next to this file
tinyml export examples/own_cnn/model.py:digits_cnn --calibration examples/own_cnn/calibration.npz \
    --test examples/own_cnn/test.npz --target cortex-m4 --out build/own-cnn
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent


def net() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10)),
    )


def digits_cnn() -> nn.Module:
    model = net()
    model.load_state_dict(torch.load(HERE / "weights.pt", weights_only=True))
    return model


if __name__ == "__main__":
    from tinyml.zoo.data import load_dataset

    data, model = load_dataset("mnist"), net()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(1500):
        pick = np.random.default_rng(step).integers(0, len(data.train_x), 128)
        x, y = torch.from_numpy(data.train_x[pick]), torch.from_numpy(data.train_y[pick])
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    torch.save(model.state_dict(), HERE / "weights.pt")
    np.savez(HERE / "calibration.npz", x=data.train_x[:256])
    np.savez(HERE / "test.npz", x=data.test_x, y=data.test_y)
