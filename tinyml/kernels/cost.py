# SPDX-License-Identifier: Apache-2.0
"""What a kernel costs on a layer: a linear model whose coefficients `make tune` measures."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyml.kernels.layer import DEPTHWISE, FULLY_CONNECTED, Layer
from tinyml.kernels.variants import Variant

FOLDER = Path(__file__).parent / "costs"
FEATURES = ("macs", "outputs", "gathered", "channel_rows")


def features(layer: Layer) -> NDArray[np.float64]:
    """What the instructions of a layer are made of, in the order of FEATURES: products, outputs,
    inputs under all windows, and output rows times channels. What a call costs once is not part of
    it: a layer may be called row by row."""
    rows = 1 if layer.kind == FULLY_CONNECTED else layer.shape["output_h"]
    taps = layer.weights.size // layer.outputs
    channels = layer.shape["input_c"] if layer.kind == DEPTHWISE else 1
    return np.array(
        [
            layer.macs,
            layer.pixels * layer.outputs,
            layer.pixels * taps * channels,
            rows * layer.outputs,
        ],
        np.float64,
    )


def cost_key(variant: Variant) -> str:
    """The name of a kernel's coefficients: one kernel may serve several kinds of layers."""
    return f"{variant.kind}/{variant.kernel}"


def predicted(variant: Variant, layer: Layer, isa: str) -> float:
    """Instructions of a kernel for an output row of a layer; infinite where `make tune` has not
    measured it. A row, so that a layer and its parts are given to the same kernel."""
    coefficients = _table(isa).get(cost_key(variant))
    if coefficients is None:
        return float("inf")
    weights = np.array([coefficients.get(name, 0.0) for name in FEATURES])
    rows = 1 if layer.kind == FULLY_CONNECTED else layer.shape["output_h"]
    return float(weights @ features(layer)) / rows


@cache
def _table(isa: str) -> Mapping[str, Mapping[str, float]]:
    path = FOLDER / f"{isa}.toml"
    if not path.is_file():
        return {}
    table: Mapping[str, Mapping[str, float]] = tomllib.loads(path.read_text(encoding="utf-8"))
    return table
