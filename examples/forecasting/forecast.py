# SPDX-License-Identifier: Apache-2.0
"""Forecasts tomorrow's electricity demand three ways: the float network, the firmware's integers,
and the rule "as a week ago"; plots them against what happened.

    tinyml export zoo:ttm-demand --target cortex-m4 --out build/forecasting
    python examples/forecasting/forecast.py build/forecasting
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from tinyml import open_export
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.samples import Samples
from tinyml.series import c_integers
from tinyml.targets import load_target
from tinyml.zoo import get_model

MODEL = "ttm-demand"
HALF_HOURS = 0.5


def firmware_forecasts(folder: Path, past: np.ndarray) -> np.ndarray:
    """What the generated C makes of raw series: int32 in, int32 out, in the unit of the export.

    The C is compiled for this machine; `tinyml verify` has shown that the board's integers are
    the same.
    """
    export = open_export(folder)
    host = load_target("host")
    feeds = c_integers(export.graph, Samples("example", {"past": past}))
    with tempfile.TemporaryDirectory() as build:
        program = build_program(folder / "c", export.graph.name, host, Path(build))
        outputs = run_program(program, host, export.c_graph, feeds).outputs
    quant = export.c_graph.tensors[export.c_graph.outputs[0]].q
    return np.concatenate([quant.dequantise(o[0]) for o in outputs])


def plot(past: np.ndarray, truth: np.ndarray, forecasts: dict[str, np.ndarray], path: Path) -> None:
    """Two days of the past, and tomorrow."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    for axes, index in zip(figure.subplots(2, 1), (0, len(past) // 2), strict=True):
        before = np.arange(-96, 0) * HALF_HOURS
        after = np.arange(truth.shape[1]) * HALF_HOURS
        axes.plot(before, past[index, -96:, 0], color="#888", label="past")
        axes.plot(after, truth[index, :, 0], color="#222", linewidth=2.5, label="truth")
        styles = {"float": "-", "firmware": "--", "as a week ago": ":"}
        for name, forecast in forecasts.items():
            axes.plot(after, forecast[index, :, 0], styles[name], label=name)
        axes.axvline(0, color="#bbb", linewidth=0.8)
        axes.set(ylabel="demand, MW", xlim=(-48, 24))
        axes.grid(alpha=0.25)
    axes.legend(ncols=5, fontsize=8)
    axes.set_xlabel("hours from now")
    figure.savefig(path)


def main() -> None:
    """Prints errors, writes forecast.svg beside the export."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/forecasting")
    samples = get_model(MODEL).samples("test")
    past, truth = samples.inputs["past"], samples.targets
    assert truth is not None
    with torch.no_grad():
        real = get_model(MODEL).load()(torch.from_numpy(past)).numpy()
    forecasts = {
        "float": real,
        "firmware": firmware_forecasts(folder, past),
        "as a week ago": past[:, : truth.shape[1]],
    }
    print(f"{len(past)} windows of the test part: a week is read, a day is forecast")
    for name, forecast in forecasts.items():
        error = np.abs(forecast - truth)
        print(
            f"{name:14} mean error {error.mean():6.0f} MW, {100 * (error / truth).mean():.2f} %, "
            f"largest {error.max():6.0f} MW"
        )
    apart = np.abs(forecasts["firmware"] - real)
    print(
        f"firmware against float: {apart.mean():.0f} MW apart on average, at most {apart.max():.0f}"
    )
    plot(past, truth, forecasts, folder.parent / "forecast.svg")
    print(f"{folder.parent / 'forecast.svg'}")


if __name__ == "__main__":
    main()
