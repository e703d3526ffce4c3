# SPDX-License-Identifier: Apache-2.0
"""Which kernel runs a layer, and how its weights are laid out for it."""

from tinyml.kernels.choose import ISAS, OPTIMISE, applicable, choose, included, narrowed
from tinyml.kernels.elementwise import (
    DUAL_MULTIPLY,
    add_record,
    holds_lowest_product,
    mul_record,
    requantise_record,
)
from tinyml.kernels.layer import CONV, DEPTHWISE, FULLY_CONNECTED, WIDE, WIDE_SHORT_BIAS, Layer
from tinyml.kernels.variants import Variant

__all__ = [
    "CONV",
    "DEPTHWISE",
    "DUAL_MULTIPLY",
    "FULLY_CONNECTED",
    "ISAS",
    "OPTIMISE",
    "WIDE",
    "WIDE_SHORT_BIAS",
    "Layer",
    "Variant",
    "add_record",
    "applicable",
    "choose",
    "holds_lowest_product",
    "included",
    "mul_record",
    "narrowed",
    "requantise_record",
]
