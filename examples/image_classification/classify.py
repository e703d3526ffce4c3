# SPDX-License-Identifier: Apache-2.0
"""Reads handwritten digits two ways, with the float network and with the firmware's integers:
a table of accuracies, and a picture of the digits that one of them misreads.

    tinyml export zoo:tinynet-mnist --test zoo:mnist --target cortex-m4 --out build/digits
    python examples/image_classification/classify.py build/digits
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
from tinyml.samples import Samples, integer_feeds
from tinyml.targets import load_target
from tinyml.zoo import get_model

MODEL = "tinynet-mnist"
IMAGES = 2000


def firmware_scores(folder: Path, images: np.ndarray) -> np.ndarray:
    """What the generated C makes of images, (count, classes), as real values.

    The C is compiled for this machine; `tinyml verify` has shown that the board's integers are
    the same.
    """
    export = open_export(folder)
    host = load_target("host")
    # The device takes rows of pixels, channels last.
    feeds = integer_feeds(export.c_graph, Samples("digits", {"": images.transpose(0, 2, 3, 1)}))
    with tempfile.TemporaryDirectory() as build:
        program = build_program(folder / "c", export.graph.name, host, Path(build))
        outputs = run_program(program, host, export.c_graph, feeds).outputs
    quant = export.c_graph.tensors[export.c_graph.outputs[0]].q
    return np.concatenate([quant.dequantise(o[0]).reshape(1, -1) for o in outputs])


def plot(images: np.ndarray, labels: np.ndarray, read: dict[str, np.ndarray], path: Path) -> None:
    """The digits that float or firmware misreads, at most 18."""
    wrong = np.flatnonzero(np.any([r != labels for r in read.values()], axis=0))[:18]
    figure = Figure(figsize=(9, 5), layout="constrained")
    for axes, index in zip(figure.subplots(3, 6).ravel(), wrong, strict=False):
        axes.imshow(images[index, 0], cmap="gray_r")
        said = ", ".join(f"{name} {r[index]}" for name, r in read.items())
        axes.set_title(f"is {labels[index]}: {said}", fontsize=8)
    for axes in figure.axes:
        axes.set_axis_off()
    figure.savefig(path)


def main() -> None:
    """Prints accuracies, writes misread.svg beside the export."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/digits")
    samples = get_model(MODEL).samples("test").take(IMAGES)
    (images,), labels = samples.inputs.values(), samples.labels
    assert labels is not None
    with torch.no_grad():
        real = get_model(MODEL).load()(torch.from_numpy(images)).numpy()
    scores = {"float": real, "firmware": firmware_scores(folder, images)}
    read = {name: s.argmax(1) for name, s in scores.items()}
    print(f"{len(images):,} digits of the test split")
    for name, found in read.items():
        by_digit = [np.mean(found[labels == d] == d) for d in range(10)]
        worst = int(np.argmin(by_digit))
        print(
            f"{name:9} right {100 * np.mean(found == labels):.2f} %, "
            f"worst digit {worst} at {100 * by_digit[worst]:.1f} %"
        )
    agree = np.mean(read["float"] == read["firmware"])
    noise = np.sum(np.square(scores["firmware"] - real))
    ratio = 10 * np.log10(np.sum(np.square(real)) / noise)
    print(f"both read the same in {100 * agree:.2f} %; scores differ by {-ratio:.1f} dB")
    plot(images, labels, read, folder.parent / "misread.svg")
    print(f"{folder.parent / 'misread.svg'}")


if __name__ == "__main__":
    main()
