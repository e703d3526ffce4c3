# SPDX-License-Identifier: Apache-2.0
"""What an export with ``--learn`` says of its learner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fleet.errors import InvalidError
from fleet.federated.layout import Layout
from tinyml import read_report


@dataclass(frozen=True)
class Network:
    """A learner.

    Args:
        abi: devices of another one do not take part.
        layout: of its weights.
        initial: the exported ones.
        classifies: devices tell their accuracy.
    """

    name: str
    abi: int
    layout: Layout
    initial: NDArray[np.float32]
    classifies: bool = False


def read_network(folder: Path) -> Network:
    """Opens an export.

    Raises:
        TinymlError: it is none.
        InvalidError: it was made without --learn, or its weights are damaged.
    """
    report = read_report(folder)
    learn = report.get("learn")
    if learn is None:
        raise InvalidError(
            f"{folder} does not learn", "Make it with tinyml export --learn all (or head)."
        )
    entries: list[tuple[str, tuple[int, ...]]] = []
    for layer in learn["layers"]:
        rows = layer["rows"][1] - layer["rows"][0]
        biases = layer["biases"][1] - layer["biases"][0]
        if rows:
            length = (layer["trained"] - biases) // rows
            entries.append((f"{layer['name']}.weight", (rows, length)))
        if biases:
            entries.append((f"{layer['name']}.bias", (biases,)))
    columns = (f"{x['name']}.weight" for x in learn["layers"] if x["kind"] == "depthwise")
    layout = Layout(tuple(entries), frozenset(columns))
    path = folder / "learn" / f"{learn['name']}_learn.f32"
    try:
        initial = np.frombuffer(path.read_bytes(), "<f4").astype(np.float32)
    except (OSError, ValueError) as error:
        raise InvalidError(f"{path} cannot be read: {error}", "Export again.") from None
    if initial.shape != (layout.size,) or layout.size != learn["weight_count"]:
        raise InvalidError(f"{path} does not hold the weights of its report", "Export again.")
    classifies = learn["loss"] != "mse"
    return Network(learn["name"], int(learn["abi"], 16), layout, initial, classifies)
