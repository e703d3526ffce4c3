# SPDX-License-Identifier: Apache-2.0
"""Where the other runtimes stop being comparable, so that generators stay inside and
test_limits.py shows what happens outside.

The quantiser takes a scale from an observed range over 255, so a scale below 2**-26 means an
activation whose whole range is under 4e-6, and one above 8 a range over 2000.
"""

from __future__ import annotations

from tinyml.ops import Activation

# TFLite-Micro refuses a fused RELU6 whose 6.0 does not fit int32, and gets a lone one wrong.
RELU6_SCALE_MIN = 6.0 / 2**31 * (1 + 1e-6)

# LiteRT and TFLite-Micro end the process unless the softmax input multiplier exceeds 1.
SOFTMAX_SCALE_ABORTS = 2.0**-26

# They end it too unless 2 * largest input scale / (2**20 * output scale) is below 1.
ADD_OUTPUT_RATIO_ABORTS = 2.0**-19

# TFLite-Micro's logistic and tanh overflow their input radius below the first, and take real
# zero for saturated from the second on.
FIXED_FUNCTION_SCALE_MIN, FIXED_FUNCTION_SCALE_MAX = 2.0**-28, 8.0

# LiteRT's logistic is a table of the C library's exp. Fixed point saturates at the last integer
# below 16 / scale: by less than 1 where that lies beyond 6, by up to 5 from scale 4 on.
LITERT_LOGISTIC_LSB, LITERT_LOGISTIC_COARSE_LSB, LOGISTIC_COARSE_SCALE = 1, 5, 4.0

# Both refuse a hard_swish whose output scale is 1/128 of its input scale or less.
HARD_SWISH_RATIO_REFUSED = 1 / 128


def reachable(scale: float, fused: Activation) -> float:
    """The scale, raised to the least that a fused activation takes."""
    return max(scale, RELU6_SCALE_MIN) if fused is Activation.RELU6 else scale
