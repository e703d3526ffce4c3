# SPDX-License-Identifier: Apache-2.0
"""Zero-shot forecasts of a Tiny Time Mixer on a benchmark series: the float network, and the
generated C, which holds the integers of every runtime.

    python bench/forecasting.py --weights ttm-r2-512-96.pth --series ETTh1.csv

`--samples FOLDER` also writes the calibration windows, and 1,000 windows evenly from the test part
with what came after them, as `tinyml export` takes them.

Protocol of the ETT benchmarks: hourly rows 0 to 8,639 train (here: calibration), 11,520 to 14,399
test, each column standardised by the training part, one channel at a time, every window.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from tinyml.export import QuantiseOptions, compile_model, write_c_folder
from tinyml.ir.tensor import Array
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.samples import Samples
from tinyml.series import c_integers
from tinyml.source import open_source
from tinyml.targets import load_target
from tinyml.zoo import get_model

TRAIN, TEST, END = 8640, 11520, 14400
CALIBRATION = 256
PART = 512
EXPORTED = 1000


def read(path: Path) -> Array:
    """Columns standardised by the training part, float32 (time, channels)."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    values = np.array([[float(v) for v in row[1:]] for row in rows])
    part = values[:TRAIN]
    return np.asarray((values - part.mean(0)) / part.std(0), np.float32)


def windows(values: Array, context: int, horizon: int) -> tuple[Array, Array]:
    """Every window, every channel a series of its own: (count, context, 1), (count, horizon, 1)."""
    spans = np.lib.stride_tricks.sliding_window_view(values, context + horizon, axis=0)
    flat = spans.reshape(-1, context + horizon, 1)
    return flat[:, :context], flat[:, context:]


def main() -> None:
    """Prints errors and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ttm-512-96")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--series", type=Path, required=True)
    parser.add_argument("--observer", default="minmax")
    parser.add_argument("--snr", type=float, help="raise layers to int16 until this is reached")
    parser.add_argument("--stride", type=int, default=1, help="take every n-th window")
    parser.add_argument("--samples", type=Path, help="folder for calibration.npz and test.npz")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    model = get_model(given.model)
    config = model.config()
    values = read(given.series)
    past, _ = windows(values[:TRAIN], config.context, config.horizon)
    chosen = np.random.default_rng(0).permutation(len(past))[:CALIBRATION]
    calibration = Samples(f"{given.series.stem}, rows before {TRAIN}", {"past": past[chosen]})
    source = open_source(f"zoo:{given.model}", None, given.weights)
    host = load_target("host")
    options = QuantiseOptions(given.observer, snr_db=given.snr)
    made = compile_model(source, host, calibration, options)

    past, truth = windows(values[TEST - config.context : END], config.context, config.horizon)
    if given.samples is not None:
        given.samples.mkdir(parents=True, exist_ok=True)
        np.savez(given.samples / "calibration.npz", **calibration.inputs)
        even = np.linspace(0, len(past) - 1, EXPORTED).astype(int)
        np.savez(given.samples / "test.npz", past=past[even], y=truth[even])
    past, truth = past[:: given.stride], truth[:: given.stride]
    network = model.load(given.weights)
    quant = made.c_graph.tensors[made.c_graph.outputs[0]].q
    scaling = made.graph.scaling
    assert scaling is not None
    sums = dict.fromkeys(("mse", "mae", "c_mse", "c_mae", "last_mse"), 0.0)
    signal, noise = np.zeros(2), np.zeros(2)
    with tempfile.TemporaryDirectory() as folder:
        write_c_folder(made.c_model, made.graph.name, Path(folder) / "c")
        program = build_program(Path(folder) / "c", made.graph.name, host, Path(folder) / "b")
        for first in range(0, len(past), PART):
            x, y = past[first : first + PART], truth[first : first + PART]
            with torch.no_grad():
                real = network(torch.from_numpy(np.ascontiguousarray(x))).numpy()
            feeds = c_integers(made.graph, Samples("test", {"past": x}))
            outputs = run_program(program, host, made.c_graph, feeds).outputs
            coarse = np.concatenate([quant.dequantise(o[0]) for o in outputs])
            for prefix, forecast in (("", real), ("c_", coarse)):
                error = forecast.astype(np.float64) - y
                sums[f"{prefix}mse"] += float(np.sum(np.square(error)))
                sums[f"{prefix}mae"] += float(np.sum(np.abs(error)))
            sums["last_mse"] += float(np.sum(np.square(x[:, -1:].astype(np.float64) - y)))
            mean, deviation = scaling.statistics(x)
            for place, (offset, size) in enumerate(((0.0, 1.0), (mean, deviation))):
                signal[place] += float(np.sum(np.square((real - offset) / size)))
                noise[place] += float(np.sum(np.square((real - coarse) / size)))
    count = truth.size
    ratios = 10 * np.log10(signal / noise)
    result = {
        "series": given.series.stem,
        "windows": len(past),
        **{k: v / count for k, v in sums.items()},
        "c_over_float": sums["c_mse"] / sums["mse"] - 1,
        "snr_db": float(ratios[0]),
        "snr_standard_db": float(ratios[1]),
        "arena": made.plan.arena_bytes,
        "weights": len(made.c_model.weights),
    }
    if given.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{given.model} on {given.series.stem}, {len(past):,} windows of one channel")
    print(f"float  MSE {result['mse']:.5f}  MAE {result['mae']:.5f}")
    print(f"C      MSE {result['c_mse']:.5f}  MAE {result['c_mae']:.5f}")
    print(f"repeating the last value: MSE {result['last_mse']:.5f}")
    print(f"C over float: MSE {100 * result['c_over_float']:+.3f} %")
    print(f"SNR of the forecast: {ratios[0]:.1f} dB, in each series' deviations {ratios[1]:.1f} dB")


if __name__ == "__main__":
    main()
