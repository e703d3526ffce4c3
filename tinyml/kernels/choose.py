# SPDX-License-Identifier: Apache-2.0
"""The choice of a kernel for each layer."""

from __future__ import annotations

from tinyml.kernels.layer import Layer
from tinyml.kernels.variants import VARIANTS, Variant

# What a core can run beside portable C, by `Target.isa`.
ISAS = ("portable", "dsp", "mve", "rv32")
# Cores with vectors have the dual multiplications too.
_INCLUDED = {"mve": ("mve", "dsp", "portable")}


def choose(layer: Layer, isa: str) -> Variant:
    """The first kernel for this instruction set that applies."""
    isas = _INCLUDED.get(isa, (isa, "portable"))
    return next(v for v in VARIANTS if v.kind == layer.kind and v.isa in isas and v.applies(layer))
