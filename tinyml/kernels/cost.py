# SPDX-License-Identifier: Apache-2.0
"""What a kernel costs: instructions by a linear model whose coefficients `make tune` measures, and
bytes of code as linked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tinyml.kernels.layer import Layer
from tinyml.kernels.variants import Variant

FOLDER = Path(__file__).parent / "costs"


def cost_key(variant: Variant) -> str:
    """The name of a kernel's coefficients: one kernel may serve several kinds of layers."""
    return f"{variant.kind}/{variant.kernel}"


def predicted(variant: Variant, layer: Layer, core: str) -> float:
    """Instructions of a kernel for an output row of a layer; infinite where `make tune` has not
    measured it. A row, so that a layer and its parts are given to the same kernel."""
    coefficients = _table(core).get(cost_key(variant))
    if coefficients is None:
        return float("inf")
    units = variant.units(layer)
    return sum(coefficients.get(name, 0.0) * n for name, n in units.items()) / layer.output_rows


def code_bytes(kernel: str, core: str) -> float:
    """Bytes of code of a kernel with its helpers; 0 where `make tune` has not measured it."""
    return _table(core).get("code", {}).get(kernel, 0)


@cache
def _table(core: str) -> Mapping[str, Mapping[str, float]]:
    path = FOLDER / f"{core}.toml"
    if not path.is_file():
        return {}
    table: Mapping[str, Mapping[str, float]] = tomllib.loads(path.read_text(encoding="utf-8"))
    return table
