# SPDX-License-Identifier: Apache-2.0
"""Five characters from one or five drawings each: an initialisation found by TinyReptile.

    python examples/few_shot/run.py [--data omniglot_small_14x14.npz] [--rounds 2000]

Twenty clients behind the device protocol have alphabets of their own: each round one of them gets
five characters with labels in an order that no other client has, learns from 50 drawings, one at a
time, and answers. Tested on characters that nobody trained on. Without --data, scikit-learn's
digits: five of them for training, the other five for the test.

The .npz has arrays ``train`` and ``test``, (characters, drawings, pixels) in [0, 1].
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from fleet.federated.compat import identify_process
from fleet.federated.grid import MqttGrid
from fleet.federated.local import (
    LocalExchange,
    Samples,
    TorchClient,
    layout_of,
    read_model,
    write_model,
)
from fleet.federated.reptile import Schedule, TinyMetaFed, TinyReptile

WAYS, STEPS, CLIENTS = 5, 50, 20
TASKS, PASSES, TESTED = 50, 8, 10
Images = np.ndarray


class Tasks(Samples):
    """A stream that is another task every STEPS samples."""

    def __init__(self, images: Images, seed: int) -> None:
        self._images, self._rng, self._left = images, np.random.default_rng(seed), 0

    def take(self, count: int) -> tuple[Tensor, Tensor]:
        """The next samples."""
        if self._left < count:
            self._x, self._y = draw(self._images, STEPS // WAYS, self._rng)
            self._left = STEPS
        at = STEPS - self._left
        self._left -= count
        return self._x[at : at + count], self._y[at : at + count]


def draw(images: Images, shots: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A task: WAYS characters with labels in random order, samples in random order."""
    chosen = rng.permutation(len(images))[:WAYS]
    rows = [images[c][rng.permutation(images.shape[1])[:shots]] for c in chosen]
    order = rng.permutation(WAYS * shots)
    labels = np.repeat(np.arange(WAYS), shots)
    return torch.from_numpy(np.concatenate(rows)[order]), torch.from_numpy(labels[order])


def load(path: Path | None) -> tuple[Images, Images]:
    """Characters for training, others for the test."""
    if path is not None:
        with np.load(path) as arrays:
            return arrays["train"], arrays["test"]
    digits = load_digits()
    few = min(np.bincount(digits.target))
    images = np.stack([digits.data[digits.target == n][:few] for n in range(10)])
    images = (images / 16).astype(np.float32)
    return images[:5], images[5:]


def judge(model: nn.Module, images: Images, shots: int, rate: float) -> float:
    """Mean accuracy on new tasks after adaptation, one sample at a time."""
    start = {k: v.clone() for k, v in model.state_dict().items()}
    rng = np.random.default_rng(1000)
    loss, right = nn.CrossEntropyLoss(), 0.0
    for _ in range(TASKS):
        model.load_state_dict(start)
        x, y = draw(images, shots + TESTED, rng)
        known = torch.cat([torch.nonzero(y == n)[:shots, 0] for n in range(WAYS)])
        new = torch.cat([torch.nonzero(y == n)[shots:, 0] for n in range(WAYS)])
        for _ in range(PASSES):
            for i in rng.permutation(known.numpy()):
                gradients = torch.autograd.grad(
                    loss(model(x[i : i + 1]), y[i : i + 1]), list(model.parameters())
                )
                with torch.no_grad():
                    for weight, gradient in zip(model.parameters(), gradients, strict=True):
                        weight.sub_(rate * gradient)
        with torch.no_grad():
            right += float((model(x[new]).argmax(1) == y[new]).float().mean())
    model.load_state_dict(start)
    return right / TASKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=0.05)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    identify_process()
    train, test = load(options.data)
    print(f"{len(train)} characters to learn from, {len(test)} others to test on", flush=True)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(train.shape[2], 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, WAYS)
    )
    layout = layout_of(model)
    first = read_model(model, layout)
    clients = {
        f"c{i}": TorchClient(model, layout, nn.CrossEntropyLoss(), Tasks(train, i), classifies=True)
        for i in range(CLIENTS)
    }
    schedule = Schedule(0.5, options.rounds)
    common = {"steps": STEPS, "lr": options.rate}
    methods = {
        "no training": None,
        "TinyReptile": TinyReptile(layout, schedule, **common),
        "TinyMetaFed, P = 30 %": TinyMetaFed(layout, schedule, top=0.3, **common),
    }
    print("\n| initialisation | 5-way 5-shot | 5-way 1-shot | uplink, B |\n|---|---|---|---|")
    for name, strategy in methods.items():
        write_model(model, layout, first)
        sent = 0
        if strategy is not None:
            grid = MqttGrid(LocalExchange(clients), layout, 0)
            result = strategy.start(grid, layout.record(first), options.rounds, timeout=60)
            write_model(model, layout, layout.vector(result.arrays))
            sent = grid.traffic.up
        five, one = (judge(model, test, shots, options.rate) for shots in (5, 1))
        print(f"| {name} | {five:.3f} | {one:.3f} | {sent:,} |", flush=True)


if __name__ == "__main__":
    main()
