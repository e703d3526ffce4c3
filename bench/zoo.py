# SPDX-License-Identifier: Apache-2.0
"""What `tinyml zoo list` shows: parameters of the float network, quality of float and int8 on the
test split where weights are shipped, and instructions, flash and RAM on every emulated target;
where a model does not fit, what it would need.

python bench/zoo.py                                # writes tinyml/zoo/measured.json
python bench/zoo.py --model ttm-demand             # this one anew, the rest as it was
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from models import Prepared, measure
from rich.console import Console

from tinyml.errors import TinymlError
from tinyml.export import CALIBRATION_SAMPLES, FORECAST_SAMPLES, compile_model, write_c_folder
from tinyml.measure import float_accuracy, forecast_quality, int8_accuracy
from tinyml.samples import Samples
from tinyml.series import c_integers
from tinyml.source import open_samples, open_source
from tinyml.targets import Target, list_targets, load_target
from tinyml.zoo import ZooModel, get_model, list_models
from tinyml.zoo.entry import MEASURED

TEST_SAMPLES = 2000
RANDOM_SAMPLES = 16


def measured(model: ZooModel, targets: list[Target]) -> dict[str, Any]:
    """One model's record. Without shipped weights there is no quality to measure, and ranges of
    random weights need few samples: they change no cost."""
    spec, trained = f"zoo:{model.name}", model.facts is not None
    samples = open_samples(None, spec, "calibration")
    test = open_samples(None, spec, "test")
    assert samples is not None and test is not None
    few = samples.take(CALIBRATION_SAMPLES if trained else RANDOM_SAMPLES)
    source = open_source(spec, few.shapes, None, few)
    made = compile_model(source, load_target("host"), few)
    quality = None
    if trained:
        with tempfile.TemporaryDirectory() as folder:
            c_dir, build = Path(folder) / "c", Path(folder) / "build"
            write_c_folder(made.c_model, made.graph.name, c_dir)
            quality = _quality(source.onnx, made, c_dir, test, build)
    feed = c_integers(made.graph, test.take(1))[0]
    prepared = Prepared(source, made.graph, made.c_graph, feed)
    return {
        "parameters": sum(p.numel() for p in model.build().parameters()),
        "quality": quality,
        "targets": {t.name: _cost(prepared, t) for t in targets},
    }


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
    found = measure(prepared, target, layers=False)
    if found.problem:
        return {"problem": found.problem, "weights": found.weights, "arena": found.arena}
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
    names = given.model or [m.name for m in list_models()]
    targets = [t for t in list_targets() if t.qemu]
    console = Console(stderr=True, highlight=False)
    for name in names:
        started = time.monotonic()
        try:
            record = measured(get_model(name), targets)
        except TinymlError as error:
            console.print(f"{name}: {error.message}", style="yellow")
            continue
        console.print(f"{name}, {time.monotonic() - started:.0f} s: {record['quality']}")
        # After each model, on what is there now: a stopped run keeps what it has.
        known = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else {}
        known[name] = record
        MEASURED.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
