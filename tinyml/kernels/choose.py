# SPDX-License-Identifier: Apache-2.0
"""The choice of a kernel for each layer."""

from __future__ import annotations

from tinyml.kernels.layer import Layer
from tinyml.kernels.variants import VARIANTS, Variant

# What a core can run beside portable C, by `Target.isa`.
ISAS = ("portable", "dsp", "mve", "rv32")


def choose(layer: Layer, isa: str) -> Variant:
    """The first kernel for this instruction set that applies."""
    return next(
        v
        for v in VARIANTS
        if v.kind == layer.kind and v.isa in (isa, "portable") and v.applies(layer)
    )
