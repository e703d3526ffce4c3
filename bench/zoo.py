# SPDX-License-Identifier: Apache-2.0
"""What `tinyml zoo list` shows of the models with shipped weights: quality of float and int8 on
their test split, and instructions, flash and RAM on every emulated target.

python bench/zoo.py                                # all of them; writes tinyml/zoo/measured.json
python bench/zoo.py --model ttm-demand             # this one anew, the rest as it was
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from models import Prepared, measure
from rich.console import Console

from tinyml.export import FORECAST_SAMPLES, compile_model, write_c_folder
from tinyml.measure import float_accuracy, forecast_quality, int8_accuracy
from tinyml.samples import Samples
from tinyml.series import c_integers
from tinyml.source import open_samples, open_source
from tinyml.targets import Target, list_targets, load_target
from tinyml.zoo import list_models
from tinyml.zoo.entry import MEASURED

TEST_SAMPLES = 2000


def measured(name: str, targets: list[Target]) -> dict[str, Any]:
    """One model's record."""
    spec = f"zoo:{name}"
    samples = open_samples(None, spec, "calibration")
    test = open_samples(None, spec, "test")
    assert samples is not None and test is not None
    few = samples.take(256)
    source = open_source(spec, few.shapes, None, few)
    made = compile_model(source, load_target("host"), few)
    feed = c_integers(made.graph, test.take(1))[0]
    prepared = Prepared(source, made.graph, made.c_graph, feed)
    with tempfile.TemporaryDirectory() as folder:
        c_dir, build = Path(folder) / "c", Path(folder) / "build"
        write_c_folder(made.c_model, made.graph.name, c_dir)
        quality = _quality(source.onnx, made, c_dir, test, build)
    return {"quality": quality, "targets": {t.name: _cost(prepared, t) for t in targets}}


def _quality(onnx: bytes, made: Any, c_dir: Path, test: Samples, build: Path) -> dict[str, Any]:
    """Top-1 accuracy, or the mean squared error of forecasts in the data's units."""
    if test.labels is None:
        some = test.take(FORECAST_SAMPLES)
        found = forecast_quality(onnx, made.graph, made.c_graph, c_dir, some, build)
        float_value, int8_value = found["float"]["mse"], found["c"]["mse"]
        measure_name = "mse"
    else:
        some = test.take(TEST_SAMPLES)
        float_value = float_accuracy(onnx, some)
        int8_value = int8_accuracy(made.c_graph, c_dir, some, build)
        measure_name = "accuracy"
    return {
        "measure": measure_name,
        "float": float_value,
        "int8": int8_value,
        "samples": some.count,
        "data": some.source,
    }


def _cost(prepared: Prepared, target: Target) -> dict[str, Any]:
    found = measure(prepared, target)
    if found.problem:
        return {"problem": found.problem}
    return {
        "instructions": found.instructions,
        "flash": found.code + found.weights,
        "ram": found.arena + found.static + found.stack,
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", help="a zoo model (may repeat)")
    given = parser.parse_args()
    shipped = [m.name for m in list_models() if m.facts is not None]
    names = given.model or list(dict.fromkeys(shipped))
    targets = [t for t in list_targets() if t.qemu]
    console = Console(stderr=True)
    known = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else {}
    for name in names:
        known[name] = measured(name, targets)
        console.print(f"{name}: {known[name]['quality']}", highlight=False)
        # After each model: a stopped run keeps what it has.
        MEASURED.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
