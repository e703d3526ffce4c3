# SPDX-License-Identifier: Apache-2.0
"""From a float Graph and samples to an int8 Graph."""

from tinyml.quantize.calibrate import Calibration, calibrate
from tinyml.quantize.observers import OBSERVERS, observer_named
from tinyml.quantize.quantizer import quantise

__all__ = ["OBSERVERS", "Calibration", "calibrate", "observer_named", "quantise"]
