# SPDX-License-Identifier: Apache-2.0
"""The grid a model file states for an activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tinyml.ir.tensor import Quantisation
from tinyml.ops.unary import Requantise


@dataclass(frozen=True)
class StatedGrid(Requantise):
    """A QuantizeLinear and DequantizeLinear of a float graph. The reals pass unrounded, so that
    passes can be checked; `quantize.stated` makes the grid that of the tensor.

    Args:
        quant: of the int8 activation, per tensor.
    """

    kind: ClassVar[str] = "stated grid"

    quant: Quantisation
