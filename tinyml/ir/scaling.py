# SPDX-License-Identifier: Apache-2.0
"""Instance scaling: a forecaster's graph works on series of mean 0 and deviation 1, and each
forecast goes back to the units of its series.

Mean and deviation are those of the one context, so they belong to no grid that calibration could
choose. They are lifted off the graph (`passes.lift_scaling`): the graph then reads and writes
standard units, and the generated C computes the statistics in integers (`ops.series`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyml.ir.tensor import Array

# Raw integers reach 2**23 on calibration data; up to 2**25 is read, what is beyond saturates.
COUNT_BITS = 23


@dataclass(frozen=True)
class Scaling:
    """What was lifted. All arrays are (batch, time, channels).

    Args:
        past: the graph input whose statistics over time scale everything.
        epsilon: added to the variance, under the root.
        futures: further inputs, each with the first channel of ``past`` it continues.
        outputs: for each output of the graph, the first channel of ``past`` it continues.
        unit: real value of one raw integer on the device; 0 until calibration chose it.
    """

    past: str
    epsilon: float
    futures: tuple[tuple[str, int], ...] = ()
    outputs: tuple[int, ...] = ()
    unit: float = 0.0

    def statistics(self, past: Array) -> tuple[Array, Array]:
        """Mean and deviation of each channel, float64 (batch, 1, channels)."""
        wide = past.astype(np.float64)
        mean = wide.mean(axis=1, keepdims=True)
        variance = np.square(wide - mean).mean(axis=1, keepdims=True)
        return mean, np.sqrt(variance + self.epsilon)

    def standardise(self, columns: Mapping[str, Array]) -> dict[str, Array]:
        """The graph's inputs, in standard units, of inputs in the user's units."""
        mean, deviation = self.statistics(columns[self.past])
        made = dict(columns)
        for name, first in ((self.past, 0), *self.futures):
            stop = first + columns[name].shape[2]
            centred = columns[name] - mean[..., first:stop]
            made[name] = np.asarray(centred / deviation[..., first:stop], np.float32)
        return made

    def restore(self, index: int, standard: Array, past: Array) -> Array:
        """Output ``index`` in the user's units, float32, of one in standard units."""
        mean, deviation = self.statistics(past)
        first = self.outputs[index]
        stop = first + standard.shape[2]
        real = standard * deviation[..., first:stop] + mean[..., first:stop]
        return np.asarray(real, np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "past": self.past,
            "epsilon": self.epsilon,
            "futures": [list(f) for f in self.futures],
            "outputs": list(self.outputs),
            "unit": self.unit,
        }


def scaling_from_json(plain: Mapping[str, Any]) -> Scaling:
    """The inverse of `Scaling.to_json`."""
    futures = tuple((str(n), int(c)) for n, c in plain["futures"])
    outputs = tuple(int(c) for c in plain["outputs"])
    return Scaling(plain["past"], plain["epsilon"], futures, outputs, plain["unit"])
