# SPDX-License-Identifier: Apache-2.0
"""What training under rounding wins back: in networks so deep and narrow that rounding costs
accuracy, ten layers of six numbers between the 8x8 digits of scikit-learn and their classes; and in
the zoo's image models, where it costs next to none.

python bench/qat.py                            # the narrow networks
python bench/qat.py --model tinynet-mnist      # `tinyml zoo train tinynet-mnist --qat`
"""

from __future__ import annotations

import argparse
import copy
import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn

from tinyml.qat import prepare_qat
from tinyml.zoo import get_model
from tinyml.zoo.images import ImageModel

SEEDS = 3
WIDTHS = (64, *[6] * 10)
HEADINGS = ("float", "int8, calibrated", "int8, trained under rounding")
Split = tuple[Tensor, Tensor]


def splits() -> list[Split]:
    """900 digits to train on, 300 to choose by, 597 to test on."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    images, labels = torch.from_numpy(digits.data).float() / 16, torch.from_numpy(digits.target)
    return [(images[i], labels[i]) for i in np.split(order, [900, 1200])]


def network(seed: int) -> nn.Module:
    """64 -> 6 -> ... -> 6 -> 10."""
    torch.manual_seed(seed)
    pairs = itertools.pairwise(WIDTHS)
    layers = [layer for a, b in pairs for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(WIDTHS[-1], 10))


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


def narrow(console: Console) -> Table:
    """The narrow networks: a row by seed, and the mean."""
    train, choose, test = splits()
    rows = []
    for seed in track(range(SEEDS), "Narrow networks", console=console):
        model = network(seed)
        fit(model, train, choose, 3000, 1e-2)
        rounded = prepare_qat(model.eval(), [train[0][:256]])
        row = [accuracy(model, test), accuracy(rounded, test)]
        fit(rounded, train, choose, 2000, 1e-3)
        rows.append([*row, accuracy(rounded, test)])
    table = Table("seed", *HEADINGS)
    for name, row in [*((str(s), r) for s, r in enumerate(rows)), ("mean", np.mean(rows, 0))]:
        table.add_row(name, *(f"{100 * v:.2f} %" for v in row))
    return table


def zoo(name: str, console: Console) -> Table:
    """One model of the zoo, by its own recipe."""
    model = get_model(name)
    assert isinstance(model, ImageModel)
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as bars:
        task = bars.add_task(name, total=None)

        def advance(step: int, steps: int, loss: float) -> None:
            bars.update(task, completed=step, total=steps)

        facts = model.train_qat(Path(folder), advance)
    found = ("float_accuracy_before", "rounded_accuracy_before", "test_accuracy")
    table = Table("model", *HEADINGS)
    table.add_row(name, *(f"{100 * facts[k]:.2f} %" for k in found))
    return table


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="an image model of the zoo instead of the narrow networks")
    given = parser.parse_args()
    console = Console(stderr=True)
    Console().print(zoo(given.model, console) if given.model else narrow(console))


if __name__ == "__main__":
    main()
