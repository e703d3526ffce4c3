# SPDX-License-Identifier: Apache-2.0
"""From federated pruning to sparse firmware.

    python examples/fedtiny/run.py [--density 0.05] [--rounds 120] [--folder build/fedtiny]

Ten clients with different mixes of handwritten digits train 64-128-64-10 and prune it on the way
(FedTiny: coarse mask by ERK, then progressive growing and pruning by the clients' gradients). The
weights become Cortex-M4 firmware twice, with sparse and with dense kernels.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "bench"))
import fedtiny  # noqa: E402

from fleet.federated import masks  # noqa: E402
from fleet.federated.compat import identify_process  # noqa: E402
from fleet.federated.local import layout_of, read_model  # noqa: E402
from tinyml.importers.pytorch import module_to_onnx  # noqa: E402

SEED = 0
KINDS = {
    "dense": ["--sparse", "off", "--keep-channels"],
    "dense without dead channels": ["--sparse", "off"],
    "sparse": ["--sparse", "flash"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--density", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=120)
    parser.add_argument("--folder", type=Path, default=Path("build/fedtiny"))
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    identify_process()
    print(f"== FedTiny: {options.rounds} rounds, 10 clients, density {options.density}", flush=True)
    model, accuracy = fedtiny.train(
        fedtiny.progressive, options.density, SEED, options.rounds, epochs=2, batch=16, lr=0.1
    )
    told(model, accuracy)
    write(model, folder)
    rows = []
    for label, words in KINDS.items():
        print(f"\n== tinyml export {' '.join(words)}", flush=True)
        rows.append((label, export(folder, words)))
    compare(rows)


def told(model: nn.Module, accuracy: float) -> None:
    """Prints what is left of each layer."""
    layout = layout_of(model)
    vector = read_model(model, layout)
    for (name, shape), place in zip(layout.entries, layout.slices().values(), strict=True):
        if len(shape) == 2:
            kept = np.count_nonzero(vector[place])
            print(f"{name:10s} {kept:5,} of {vector[place].size:6,} weights")
    print(f"density {masks.density_of(layout, vector != 0):.4f}, held-out accuracy {accuracy:.3f}")


def write(model: nn.Module, folder: Path) -> None:
    """The model with its batch normalisation as ONNX; samples to calibrate and to test."""
    parts, (x, y) = fedtiny.data(SEED)
    train = torch.cat([p.x for p in parts])[:256]
    (folder / "digits.onnx").write_bytes(module_to_onnx(model, [(1, 64)]))
    np.savez(folder / "calibration.npz", x=train.numpy())
    np.savez(folder / "test.npz", x=x.numpy(), y=y.numpy())


def export(folder: Path, words: list[str]) -> dict[str, Any]:
    """Compiles and verifies; the report."""
    out = folder / "-".join(w.strip("-") for w in words)
    command = [sys.executable, "-m", "tinyml.cli", "export", folder / "digits.onnx", *words]
    command += ["--calibration", folder / "calibration.npz", "--test", folder / "test.npz"]
    command += ["--target", "cortex-m4", "--out", out]
    done = subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="")
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def compare(rows: list[tuple[str, dict[str, Any]]]) -> None:
    """Flash of the exports, from the linker map of each."""
    print("\n| firmware | flash, B | weights | code | instructions | int8 accuracy | smaller |")
    print("|---|---|---|---|---|---|---|")
    whole = rows[0][1]["memory"]["flash"]
    for label, report in rows:
        memory = report["memory"]
        print(
            f"| {label} | {memory['flash']:,} | {memory['weights']:,} | {memory['code']:,} | "
            f"{report['instructions']:,} | {100 * report['accuracy']['int8']:.1f} % | "
            f"{whole / memory['flash']:.2f} x |"
        )
    models = {report["files"]["model.tflite"]["sha256"] for _, report in rows}
    print(f"Integers of the model: {'the same in all' if len(models) == 1 else 'they differ'}")


if __name__ == "__main__":
    main()
