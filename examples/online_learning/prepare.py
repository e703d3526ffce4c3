# SPDX-License-Identifier: Apache-2.0
"""Real sensor data for learning on the device: a trained classifier, and a stream that drifts.

    python examples/online_learning/prepare.py [--data activity | --occupancy FOLDER]

activity (default)
    Seven shoulder exercises by the accelerometer and gyroscope of a wrist watch (seglearn 1.2.5, 10
    people; fetched by pip, read as data). Trained on six people; the stream is the other four. From
    the middle on the watch is worn turned around: two axes change their sign.
occupancy
    Whether an office is occupied, by temperature, humidity, light and CO2 (the UCI occupancy
    detection data, in a folder of yours). Trained on the first days; the stream is a later week.
    From the middle on the light sensor is covered and reads a tenth.

Writes into this folder: model.onnx, calibration.npz, stream.npz. Prints the commands that follow.
"""

from __future__ import annotations

import argparse
import csv
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tinyml.importers.pytorch import module_to_onnx
from tinyml.zoo.data import fetch_wheel, pickled_arrays

HERE = Path(__file__).parent
Array = NDArray[np.float32]
WINDOW, STRIDE = 200, 100


@dataclass(frozen=True)
class Task:
    """Training data, and a stream that changes at ``drift``."""

    train_x: Array
    train_y: NDArray[np.int64]
    stream_x: Array
    stream_y: NDArray[np.int64]
    drift: int
    classes: int
    what: str


def features(recording: Array) -> Array:
    """Mean, deviation, minimum and maximum of each of 6 axes over windows: (windows, 24)."""
    rows = []
    for start in range(0, len(recording) - WINDOW + 1, STRIDE):
        part = recording[start : start + WINDOW]
        rows.append(np.concatenate([part.mean(0), part.std(0), part.min(0), part.max(0)]))
    return np.asarray(rows, np.float32).reshape(-1, 24)


def activity(seed: int) -> Task:
    """The exercises, by person."""
    wheel = fetch_wheel(
        "seglearn==1.2.5",
        "seglearn-1.2.5-py3-none-any.whl",
        "ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd",
    )
    with zipfile.ZipFile(wheel) as archive:
        stored = io.BytesIO(archive.read("seglearn/data/watch_dataset.npy"))
    version = np.lib.format.read_magic(stored)
    assert version == (1, 0)
    np.lib.format.read_array_header_1_0(stored)
    watch = pickled_arrays(stored).item()
    people = np.asarray(watch["subject"])
    labels = np.asarray(watch["y"])
    turned = np.array([-1, -1, 1, -1, -1, 1], np.float32)
    rng = np.random.default_rng(seed)
    train, before, after = [], [], []
    for recording, label, person in zip(watch["X"], labels, people, strict=True):
        signal = np.asarray(recording, np.float32)
        if person <= 6:
            train += [(row, int(label)) for row in features(signal)]
        elif person <= 8:
            before += [(row, int(label)) for row in features(signal)]
        else:
            after += [(row, int(label)) for row in features(signal * turned)]
    first, second = ([part[i] for i in rng.permutation(len(part))] for part in (before, after))
    train_x, train_y = unzip(train)
    stream_x, stream_y = unzip(first + second)
    what = "wrist watch, 7 exercises; turned around"
    return Task(train_x, train_y, stream_x, stream_y, len(first), 7, what)


def unzip(pairs: list[tuple[Array, int]]) -> tuple[Array, NDArray[np.int64]]:
    """Rows and labels apart."""
    return np.stack([p[0] for p in pairs]), np.array([p[1] for p in pairs], np.int64)


def occupancy(folder: Path) -> Task:
    """The office."""

    def read(name: str) -> tuple[Array, NDArray[np.int64]]:
        with (folder / name).open(newline="") as file:
            rows = list(csv.reader(file))[1:]
        values = np.array([[float(v) for v in row[2:]] for row in rows])
        # Temperature, humidity, light, CO2; the humidity ratio follows from the first two.
        return values[:, :4].astype(np.float32), values[:, -1].astype(np.int64)

    train_x, train_y = read("datatraining.txt")
    stream_x, stream_y = read("datatest2.txt")
    drift = len(stream_x) // 2
    stream_x[drift:, 2] *= 0.1
    return Task(train_x, train_y, stream_x, stream_y, drift, 2, "office; light sensor covered")


def train(task: Task, seed: int) -> nn.Sequential:
    """A small classifier of standardised values."""
    torch.manual_seed(seed)
    inputs = task.train_x.shape[1]
    model = nn.Sequential(
        nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, task.classes)
    )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3, weight_decay=1e-4)
    x, y = torch.tensor(task.train_x), torch.tensor(task.train_y)
    for _ in range(60):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval()


def main() -> None:
    """Prepares everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--occupancy", type=Path, help="folder of the UCI data")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    task = activity(given.seed) if given.occupancy is None else occupancy(given.occupancy)
    # The training people's scale is part of the model's input: devices send standardised values.
    mean, deviation = task.train_x.mean(0), task.train_x.std(0) + 1e-6
    scaled = Task(
        (task.train_x - mean) / deviation,
        task.train_y,
        (task.stream_x - mean) / deviation,
        task.stream_y,
        task.drift,
        task.classes,
        task.what,
    )
    model = train(scaled, given.seed)
    with torch.no_grad():
        for label, part in (("before", slice(task.drift)), ("after", slice(task.drift, None))):
            guess = model(torch.tensor(scaled.stream_x[part])).argmax(1).numpy()
            hits = np.mean(guess == task.stream_y[part])
            print(f"float model, never learning, {label} the drift: {100 * hits:.1f} %")
    onnx = module_to_onnx(model, [(1, scaled.train_x.shape[1])])
    (HERE / "model.onnx").write_bytes(onnx)
    rng = np.random.default_rng(given.seed)
    some = rng.permutation(len(scaled.train_x))[:256]
    np.savez(HERE / "calibration.npz", x=scaled.train_x[some], y=task.train_y[some])
    np.savez(HERE / "stream.npz", x=scaled.stream_x, y=task.stream_y)
    print(f"{task.what}: {len(task.train_y)} samples to train, {len(task.stream_y)} in the stream")
    print(
        "\ntinyml export examples/online_learning/model.onnx --learn all "
        "--calibration examples/online_learning/calibration.npz --out build/online\n"
        "tinyml learn build/online --data examples/online_learning/stream.npz --on qemu "
        f"--rate 0.02 --drift {task.drift} --plot build/online.svg"
    )


if __name__ == "__main__":
    main()
