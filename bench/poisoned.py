# SPDX-License-Identifier: Apache-2.0
"""One of eight devices is poisoned: which strategies bear it, on agents in C.

    python bench/poisoned.py [--rounds 30] [--out bench/poisoned.md]

Digits 64-32-10; eight agents with 179 samples each, over mosquitto and `fleet train`. The poisoned
agent is the same program: `labels` has every label moved by one, `scaled` has its inputs multiplied
as well, so that what it learns is many times as large as what the others learn. Accuracy is that of
the round's weights on 360 samples that no device has.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from tests.fleet.live import Live

DEVICES, OWN, SCALE = 8, 179, 30.0
STRATEGIES = {
    "fedavg": 'strategy = "fedavg"',
    "trimmedmean": 'strategy = "trimmedmean"\noptions = { beta = 0.2 }',
    "krum": 'strategy = "krum"\noptions = { num_malicious_nodes = 1 }',
    "multikrum": 'strategy = "multikrum"\n'
    "options = { num_malicious_nodes = 1, num_nodes_to_select = 6 }",
}
# Devices that are left out, so that eight are left.
RUNS = {
    "none": ("labels-00001", "scaled-00001"),
    "labels": ("h-00008", "scaled-00001"),
    "scaled": ("h-00008", "labels-00001"),
}
MODEL = """
import torch
from torch import nn
def digits():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
"""
PLAN = """
name = "{name}"
export = "export"
{strategy}
[who]
where = [{where}]
quorum = 8
[training]
steps = 64
lr = 0.05
[rounds]
count = {rounds}
deadline_s = 60
wait_s = 120
"""


def measure(folder: Path, rounds: int) -> dict[tuple[str, str], float]:
    """Accuracy by attack and strategy."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = (digits.data / 16).astype("<f4")[order], digits.target[order]
    write_samples(folder / "samples", x, y)
    test_x, test_y = x[DEVICES * OWN :], y[DEVICES * OWN :]
    found = {}
    with Live(folder, insecure=True) as live:
        export(folder, x[:128])
        live.serve()
        options = ["--report-interval", "0", "--inference-interval", "0"]
        options += ["--learn-samples", str(folder / "samples")]
        for prefix, count in (("h-", DEVICES), ("labels-", 1), ("scaled-", 1)):
            live.start(folder / "export", count, prefix, options)
        for attack, left_out in RUNS.items():
            where = ", ".join(f'"device!={name}"' for name in left_out)
            for name, strategy in STRATEGIES.items():
                plan = folder / f"{name}-{attack}.toml"
                plan.write_text(
                    PLAN.format(name=plan.stem, strategy=strategy, where=where, rounds=rounds)
                )
                found[attack, name] = accuracy(train(live, plan), test_x, test_y)
                print(f"{attack:7s} {name:12s} {found[attack, name]:.3f}", flush=True)
    return found


def write_samples(folder: Path, x: np.ndarray, y: np.ndarray) -> None:
    """A file a device; the two poisoned ones have the last honest device's samples."""
    folder.mkdir(parents=True)
    for device in range(DEVICES):
        own = slice(device * OWN, (device + 1) * OWN)
        rows(folder / f"h-{device + 1:05d}.f32", x[own], y[own])
    rows(folder / "labels-00001.f32", x[own], (y[own] + 1) % 10)
    rows(folder / "scaled-00001.f32", SCALE * x[own], (y[own] + 1) % 10)


def rows(path: Path, x: np.ndarray, y: np.ndarray) -> None:
    """Rows of inputs and label, float32."""
    np.column_stack([x, y]).astype("<f4").tofile(path)


def export(folder: Path, calibration: np.ndarray) -> None:
    """The network with its learner."""
    np.savez(folder / "x.npz", x=calibration)
    (folder / "model.py").write_text(MODEL)
    command = [sys.executable, "-m", "tinyml.cli", "export", f"{folder / 'model.py'}:digits"]
    command += ["--calibration", folder / "x.npz", "--target", "host", "--learn", "all"]
    command += ["--out", folder / "export"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def train(live: Live, plan: Path) -> np.ndarray:
    """The weights that `fleet train` makes."""
    command = [sys.executable, "-m", "fleet.cli", "train", plan, "--json"]
    environment = {**os.environ, "FLEET_HOME": str(live.home.folder)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return np.fromfile(Path(json.loads(done.stdout)["out"]) / "weights.f32", "<f4")


def accuracy(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Of 64-32-10 with these weights, layer after layer, rows then biases."""
    w1, b1, w2, b2 = np.split(weights, np.cumsum([64 * 32, 32, 32 * 10]))
    hidden = np.maximum(x @ w1.reshape(32, 64).T + b1, 0)
    return float(np.mean(np.argmax(hidden @ w2.reshape(10, 32).T + b2, axis=1) == y))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("bench/poisoned.md"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.rounds)
    lines = [
        "# One of eight devices is poisoned",
        "",
        f"Made by `python bench/poisoned.py`: agents in C, {options.rounds} rounds of 64 samples a "
        "device; accuracy on held-out digits, in %. `labels`: every label of one device is moved "
        f"by one; `scaled`: its inputs are {SCALE:g} times as large as well.",
        "",
        "| strategy | none poisoned | labels | scaled |",
        "|---|---|---|---|",
    ]
    for name in STRATEGIES:
        cells = " | ".join(f"{100 * found[attack, name]:.1f}" for attack in RUNS)
        lines.append(f"| {name} | {cells} |")
    lines += [
        "",
        "Krum's result is the weights of one device, so that it is below the mean with nobody "
        "poisoned as well.",
    ]
    options.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
