# SPDX-License-Identifier: Apache-2.0
"""The choice of a kernel for each layer."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from tinyml.kernels.cost import predicted
from tinyml.kernels.layer import Layer
from tinyml.kernels.sparse import SPARSE, Sparse
from tinyml.kernels.variants import VARIANTS, Variant

# What a core can run beside portable C, by `Target.isa`.
ISAS = ("portable", "dsp", "mve", "rv32")
# Cores with vectors have the dual multiplications too.
_INCLUDED = {"mve": ("mve", "dsp", "portable")}
# Layers with fewer zeros gain nothing from leaving them out.
_LARGEST_DENSITY = 0.5
# Without measurements of a dense kernel, sparse ones are taken below this.
_SURE_DENSITY = 0.05
# Instructions by kernel and core, measured by bench/sparse.py on the emulated boards.
_COSTS = Path(__file__).parent / "costs.json"


def choose(layer: Layer, isa: str) -> Variant:
    """The kernel for a layer.

    Dense kernels compete by the tables of `make tune` (tinyml/kernels/cost.py). Dense or sparse is
    decided by the instructions of one output pixel, or by the bytes of the record; never by the
    number of pixels, so that parts of a layer take the same kernel.

    Args:
        isa: of the target; with "/flash" behind it the smallest record is taken, with "/off" no
            sparse kernel.
    """
    core, _, policy = isa.partition("/")
    isas = included(core)
    dense = min(applicable(layer, core), key=lambda v: predicted(v, layer, core))
    if policy == "off" or density(layer) > _LARGEST_DENSITY:
        return dense
    sparse = [v for v in SPARSE if v.kind == layer.kind and v.isa in isas and v.applies(layer)]
    if not sparse:
        return dense
    if policy == "flash":
        return min([*sparse, dense], key=lambda v: record_bytes(v, layer))
    best = min(sparse, key=lambda v: instructions(v, layer, core) or 0.0)
    cost, usual = instructions(best, layer, core), instructions(dense, layer, core)
    if cost is None or usual is None:
        return best if density(layer) < _SURE_DENSITY else dense
    return best if cost < usual else dense


def applicable(layer: Layer, core: str) -> list[Variant]:
    """The dense kernels of a core that compute a layer, the best guess first."""
    isas = included(core)
    return [v for v in VARIANTS if v.kind == layer.kind and v.isa in isas and v.applies(layer)]


def included(core: str) -> tuple[str, ...]:
    """Instruction sets whose kernels a core runs, the best first."""
    return _INCLUDED.get(core, (core, "portable"))


def density(layer: Layer) -> float:
    """The part of the weights that is not zero."""
    return float((layer.weights != 0).mean())


def record_bytes(variant: Variant, layer: Layer) -> int:
    """Bytes that the kernel's record takes behind its header."""
    return sum(-(-part.nbytes // 4) * 4 for part in variant.parts(layer))


def instructions(variant: Variant, layer: Layer, core: str) -> float | None:
    """Instructions of one output pixel, None where they were not measured."""
    costs = measured_costs().get(core, {}).get(variant.kernel)
    if costs is None:
        return None
    return sum(costs.get(unit, 0.0) * amount for unit, amount in units(variant, layer).items())


def units(variant: Variant, layer: Layer) -> dict[str, float]:
    """What the instructions of one output pixel are proportional to, for each kernel."""
    if isinstance(variant, Sparse):
        return variant.units(layer)
    taps = float(layer.rows.shape[1])
    return {
        "pixels": 1.0,
        "outputs": float(layer.outputs),
        "entries": taps * layer.outputs,
        "gathered": 0.0 if layer.is_pointwise else taps,
    }


@cache
def measured_costs() -> dict[str, dict[str, dict[str, float]]]:
    """By core and kernel: instructions for each unit of `units`."""
    if not _COSTS.is_file():
        return {}
    table: dict[str, dict[str, dict[str, float]]] = json.loads(_COSTS.read_text())["costs"]
    return table
