# SPDX-License-Identifier: Apache-2.0
"""The trained weights of a device, one vector of float32, as Flower's named arrays."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """Args:
    entries: names and shapes in the vector's order; layer after layer, weights row after row, then
        biases.
    by_column: weights of which a channel is a column, as of depthwise layers; else it is a row.
    """

    entries: tuple[tuple[str, tuple[int, ...]], ...]
    by_column: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """Values in all."""
        return sum(int(np.prod(shape)) for _, shape in self.entries)

    def record(self, vector: NDArray[np.floating]) -> ArrayRecord:
        """Named arrays. Raises ValueError when the vector has another size."""
        if vector.shape != (self.size,):
            raise ValueError(f"{vector.shape} are not the {self.size} weights of the model")
        made, at = {}, 0
        for name, shape in self.entries:
            count = int(np.prod(shape))
            part = np.asarray(vector[at : at + count], np.float32).reshape(shape)
            made[name] = Array(part)
            at += count
        return ArrayRecord(made)

    def vector(self, record: ArrayRecord) -> Vector:
        """The inverse. Raises ValueError when names or shapes differ."""
        if list(record.keys()) != [name for name, _ in self.entries]:
            raise ValueError(f"arrays {list(record.keys())} are not those of the model")
        parts = []
        for name, shape in self.entries:
            array = record[name].numpy()
            if array.shape != shape:
                raise ValueError(f"array '{name}' has shape {array.shape}, the model's is {shape}")
            parts.append(np.asarray(array, np.float32).ravel())
        return np.concatenate(parts)

    def slices(self) -> dict[str, slice]:
        """Where each array is in the vector."""
        found, at = {}, 0
        for name, shape in self.entries:
            count = int(np.prod(shape))
            found[name] = slice(at, at + count)
            at += count
        return found


def flat(size: int) -> Layout:
    """One array of all weights."""
    return Layout((("weights", (size,)),))


def dense(sizes: Sequence[int]) -> Layout:
    """Fully connected layers of these widths, named as in torch.nn.Sequential of Linear layers."""
    entries: list[tuple[str, tuple[int, ...]]] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        entries += [(f"{index}.weight", (outputs, inputs)), (f"{index}.bias", (outputs,))]
    return Layout(tuple(entries))
