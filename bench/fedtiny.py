# SPDX-License-Identifier: Apache-2.0
"""FedTiny on handwritten digits: accuracy by density, against uniform magnitude pruning.

MLP 64-128-64-10 with batch normalisation, 1,797 digits of 8x8 pixels (scikit-learn), 10 clients
with a Dirichlet split, clients in PyTorch behind the same protocol and strategies as devices.

    python bench/fedtiny.py [--seeds 4] [--rounds 120] [--out bench/fedtiny.md]
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from fleet.federated import masks
from fleet.federated.compat import identify_process
from fleet.federated.fedtiny import FedTiny, SparseFedAvg
from fleet.federated.grid import MqttGrid
from fleet.federated.layout import Layout
from fleet.federated.local import (
    LocalExchange,
    Samples,
    TorchClient,
    layout_of,
    read_model,
    write_model,
)
from fleet.federated.selection import candidates, select

CLIENTS, ALPHA = 10, 0.5
EVERY, STOP = 5, 60
CANDIDATES = 10


def network(seed: int) -> nn.Sequential:
    """64-128-64-10."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(),
        nn.Linear(128, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def data(seed: int) -> tuple[list[Samples], tuple[torch.Tensor, torch.Tensor]]:
    """Training samples by client, Dirichlet over classes, and a held-out fifth."""
    digits = load_digits()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(digits.data))
    x = (digits.data[order] / 16).astype(np.float32)
    y = digits.target[order].astype(np.int64)
    cut = len(x) // 5
    parts: list[list[int]] = [[] for _ in range(CLIENTS)]
    for label in range(10):
        mine = np.flatnonzero(y[cut:] == label) + cut
        shares = np.cumsum(rng.dirichlet([ALPHA] * CLIENTS))[:-1]
        for client, rows in enumerate(np.split(mine, (shares * len(mine)).astype(int))):
            parts[client] += rows.tolist()
    made = []
    for rows in parts:
        # A client of very few samples still has a batch.
        chosen = rng.permutation(rows if len(rows) > 1 else range(cut, cut + 2))
        made.append(Samples(torch.from_numpy(x[chosen]), torch.from_numpy(y[chosen])))
    return made, (torch.from_numpy(x[:cut]), torch.from_numpy(y[:cut]))


Made = tuple[SparseFedAvg, np.ndarray]
# The strategy and the weights that it starts from.
Make = Callable[[MqttGrid, Layout, np.ndarray, float, int], Made]
METHODS: dict[str, Make] = {}


def method(name: str) -> Callable[[Make], Make]:
    """Registers a way to prune."""

    def keep(make: Make) -> Make:
        METHODS[name] = make
        return make

    return keep


@method("uniform magnitude")
def uniform(grid: MqttGrid, layout: Layout, weights: np.ndarray, density: float, seed: int) -> Made:
    """One mask by magnitude, the same density in each layer."""
    mask = masks.by_magnitude(layout, weights, masks.uniform(layout, density))
    return SparseFedAvg(layout, mask, seed=seed), weights


@method("ERK")
def erk(grid: MqttGrid, layout: Layout, weights: np.ndarray, density: float, seed: int) -> Made:
    """One mask by magnitude, densities by ERK."""
    mask = masks.by_magnitude(layout, weights, masks.erk(layout, density, 0.3))
    return SparseFedAvg(layout, mask, seed=seed), weights


@method("ERK + progressive")
def progressive(
    grid: MqttGrid, layout: Layout, weights: np.ndarray, density: float, seed: int
) -> Made:
    """FedTiny without candidate exchange."""
    mask = masks.by_magnitude(layout, weights, masks.erk(layout, density, 0.3))
    return FedTiny(layout, mask, EVERY, STOP, seed=seed), weights


@method("selection + progressive")
def selected(
    grid: MqttGrid, layout: Layout, weights: np.ndarray, density: float, seed: int
) -> Made:
    """FedTiny: the clients choose among candidates, each with its own statistics."""
    pool = candidates(layout, weights, density, CANDIDATES, 0.3, seed=seed)
    found = select(grid, layout, weights, pool, 64, 60)
    return FedTiny(layout, found.mask, EVERY, STOP, seed=seed), found.weights


def train(
    make: Make, density: float, seed: int, rounds: int, epochs: int, batch: int, lr: float
) -> tuple[nn.Sequential, float]:
    """The network after the rounds, and its held-out accuracy."""
    model = network(seed)
    layout = layout_of(model)
    parts, (x, y) = data(seed)
    weights = read_model(model, layout)
    loss = nn.CrossEntropyLoss()
    clients = {
        f"c{i}": TorchClient(model, layout, loss, p, classifies=True) for i, p in enumerate(parts)
    }
    grid = MqttGrid(LocalExchange(clients), layout, 0)
    strategy, weights = make(grid, layout, weights, density, seed)
    strategy.lr, strategy.batch = lr, batch
    strategy.steps = epochs * max(len(p.x) for p in parts) // 2
    result = strategy.start(grid, layout.record(weights), rounds, timeout=60)
    write_model(model, layout, layout.vector(result.arrays))
    model.eval()
    with torch.no_grad():
        return model, float((model(x).argmax(1) == y).float().mean())


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=120)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--densities", type=float, nargs="*", default=[0.05, 0.02])
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    identify_process()
    lines = [
        "# FedTiny on digits, measured", "",
        f"Made by `python bench/fedtiny.py --seeds {options.seeds} --rounds {options.rounds}`. "
        f"Held-out accuracy, mean of {options.seeds} seeds (standard deviation).", "",
        "| density | " + " | ".join(options.methods) + " |",
        "|---|" + "---|" * len(options.methods),
    ]  # fmt: skip
    print("\n".join(lines), flush=True)
    for density in options.densities:
        cells = []
        for name in options.methods:
            found = [
                train(METHODS[name], density, seed, options.rounds, options.epochs, options.batch,
                      options.lr)[1]
                for seed in range(options.seeds)
            ]  # fmt: skip
            cells.append(f"{np.mean(found):.3f} ({np.std(found):.3f})")
        lines.append(f"| {density} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    if "selection + progressive" in options.methods:
        lines += [
            "",
            f"Selection is among {CANDIDATES} candidates of an untrained network. It does not pay "
            "here: `fleet train` starts from ERK unless a plan asks for candidates.",
        ]
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
