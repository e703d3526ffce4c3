# SPDX-License-Identifier: Apache-2.0
"""What quantisation-aware training wins back in networks so narrow that rounding costs accuracy:
three layers of three numbers between the 8x8 digits of scikit-learn and their classes.

python bench/qat.py
"""

from __future__ import annotations

import copy
import itertools

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn

from tinyml.qat import prepare_qat

SEEDS = 3
Split = tuple[Tensor, Tensor]


def splits() -> list[Split]:
    """900 digits to train on, 300 to choose by, 597 to test on."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    images, labels = torch.from_numpy(digits.data).float() / 16, torch.from_numpy(digits.target)
    return [(images[i], labels[i]) for i in np.split(order, [900, 1200])]


def network(seed: int) -> nn.Module:
    """64 -> 3 -> 3 -> 3 -> 10."""
    torch.manual_seed(seed)
    widths = [64, 3, 3, 3]
    pairs = itertools.pairwise(widths)
    layers = [layer for a, b in pairs for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(3, 10))


def accuracy(model: nn.Module, split: Split) -> float:
    """Top-1."""
    return float((model(split[0]).argmax(1) == split[1]).float().mean())


def fit(model: nn.Module, train: Split, choose: Split, steps: int, rate: float) -> None:
    """Adam on a cosine schedule; keeps the weights that do best on the second split."""
    optimiser = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(0)
    best, kept = accuracy(model, choose), copy.deepcopy(model.state_dict())
    for step in range(steps):
        chosen = torch.randint(len(train[0]), (100,), generator=generator)
        loss = nn.functional.cross_entropy(model(train[0][chosen]), train[1][chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 49 and (reached := accuracy(model, choose)) > best:
            best, kept = reached, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)


def main() -> None:
    """Prints the table."""
    train, choose, test = splits()
    table = Table("seed", "float", "int8, calibrated", "int8, trained under rounding")
    rows = []
    for seed in range(SEEDS):
        model = network(seed)
        fit(model, train, choose, 3000, 1e-2)
        rounded = prepare_qat(model.eval(), [train[0][:256]])
        row = [accuracy(model, test), accuracy(rounded, test)]
        fit(rounded, train, choose, 2000, 1e-3)
        rows.append([*row, accuracy(rounded, test)])
        table.add_row(str(seed), *(f"{100 * v:.2f} %" for v in rows[-1]))
    table.add_row("mean", *(f"{100 * v:.2f} %" for v in np.mean(rows, 0)))
    Console().print(table)


if __name__ == "__main__":
    main()
