# SPDX-License-Identifier: Apache-2.0
"""From a float Graph and samples to an integer Graph."""

from tinyml.quantize.calibrate import Calibration, calibrate
from tinyml.quantize.choose import Quantised, QuantiseOptions, choose
from tinyml.quantize.observers import OBSERVERS, observer_named
from tinyml.quantize.overrides import load_overrides
from tinyml.quantize.quantizer import quantise

__all__ = [
    "OBSERVERS",
    "Calibration",
    "QuantiseOptions",
    "Quantised",
    "calibrate",
    "choose",
    "load_overrides",
    "observer_named",
    "quantise",
]
