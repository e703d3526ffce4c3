# SPDX-License-Identifier: Apache-2.0
"""What options of the quantiser do to a trained image model: signal-to-noise ratio of the logits
and accuracy of the generated C on the test split, and what the choice costs on a target.

python bench/quantisation.py                       # zoo:tinynet-e-photos for cortex-m7
python bench/quantisation.py --only snr            # the rows whose name holds a word
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from models import Prepared, measure
from rich.console import Console
from rich.progress import track

from tinyml.export import CALIBRATION_SAMPLES, compile_model, write_c_folder
from tinyml.quantize import QuantiseOptions
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.runtimes.interpreters import OnnxRuntime
from tinyml.samples import Samples, integer_feeds
from tinyml.series import c_integers
from tinyml.source import Source, open_samples, open_source
from tinyml.targets import Target, load_target

ROWS = {
    "--observer minmax": QuantiseOptions(),
    "--observer percentile:99.99": QuantiseOptions("percentile:99.99"),
    "--observer mse": QuantiseOptions("mse"),
    "--observer entropy": QuantiseOptions("entropy"),
    "--observer minmax --equalise": QuantiseOptions(equalise=True),
    "--observer minmax --bias-correction": QuantiseOptions(bias_correction=True),
    "--observer mse --bias-correction": QuantiseOptions("mse", bias_correction=True),
    "--observer mse --snr 28": QuantiseOptions("mse", snr_db=28.0),
}


def floats(source: Source, test: Samples) -> np.ndarray:
    """The float network's logits, (count, classes)."""
    runtime = OnnxRuntime(source.onnx)
    (images,) = test.inputs.values()
    return np.concatenate([runtime.run_samples([i[None]])[0] for i in images])


def row(
    source: Source,
    options: QuantiseOptions,
    few: Samples,
    test: Samples,
    exact: np.ndarray,
    target: Target | None,
) -> list[str]:
    """SNR in dB, accuracy, activations that are int16; and flash, RAM and instructions on a
    target."""
    host = load_target("host")
    made = compile_model(source, host, few, options)
    with tempfile.TemporaryDirectory() as folder:
        c_dir = Path(folder) / "c"
        write_c_folder(made.c_model, made.graph.name, c_dir)
        program = build_program(c_dir, made.graph.name, host, Path(folder) / "build")
        outputs = run_program(
            program, host, made.c_graph, integer_feeds(made.c_graph, test)
        ).outputs
    grid = made.c_graph.tensors[made.c_graph.outputs[0]].q
    found = np.concatenate([grid.dequantise(o[0]).reshape(1, -1) for o in outputs])
    ratio = 10 * np.log10(np.sum(np.square(exact)) / np.sum(np.square(found - exact)))
    right = np.mean(found.argmax(1) == test.labels)
    assert made.quantised is not None
    cells = [f"{ratio:.1f} dB", f"{100 * right:.1f} %", str(len(made.quantised.wide))]
    if target is None:
        return [*cells, "", "", ""]
    feed = c_integers(made.graph, test.take(1))[0]
    cost = measure(Prepared(source, made.graph, made.c_graph, feed), target, layers=False)
    return [
        *cells,
        f"{cost.code + cost.weights:,}",
        f"{cost.arena + cost.static + cost.stack:,}",
        f"{cost.instructions:,}",
    ]


def main() -> None:
    """Prints the table, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="zoo:tinynet-e-photos", help="an image model of the zoo")
    parser.add_argument("--target", default="cortex-m7")
    parser.add_argument("--only", default="", help="rows whose name holds this word")
    given = parser.parse_args()
    samples = open_samples(None, given.model, "calibration")
    test = open_samples(None, given.model, "test")
    assert samples is not None and test is not None and test.labels is not None
    few, target = samples.take(CALIBRATION_SAMPLES), load_target(given.target)
    source = open_source(given.model, few.shapes)
    exact = floats(source, test)
    right = np.mean(exact.argmax(1) == test.labels)
    print(f"{given.model} for {given.target}, {test.count:,} samples of {test.source}\n")
    print("| options | SNR | accuracy | int16 | flash | RAM | instructions |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    print(f"| float | | {100 * right:.1f} % | | | | |", flush=True)
    chosen = {name: options for name, options in ROWS.items() if given.only in name}
    for name, options in track(chosen.items(), "Options", console=Console(stderr=True)):
        # Int8 costs the same whatever its ranges are.
        priced = target if name == "--observer mse" or options.snr_db is not None else None
        cells = [f"`{name}`", *row(source, options, few, test, exact, priced)]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
