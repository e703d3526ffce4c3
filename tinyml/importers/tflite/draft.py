# SPDX-License-Identifier: Apache-2.0
"""A stored model being rewritten before its operators are read one by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from tinyml.importers.tflite.file import StoredModel, StoredOperator, StoredTensor
from tinyml.ir.tensor import Array

_NUMPY = {"INT32": "<i4", "INT64": "<i8", "FLOAT32": "<f4", "INT8": "<i1", "INT16": "<i2"}


class Draft:
    """The model's tensors, buffers and operators as lists that grow.

    Args:
        model: left as it is.
    """

    def __init__(self, model: StoredModel) -> None:
        self._model = model
        self.tensors = list(model.tensors)
        self._buffers = list(model.buffers)
        self.operators = list(model.operators)

    def finish(self) -> StoredModel:
        """The model as rewritten."""
        return replace(
            self._model,
            tensors=tuple(self.tensors),
            buffers=tuple(self._buffers),
            operators=tuple(self.operators),
        )

    def writers(self) -> dict[int, StoredOperator]:
        """The operator that writes each tensor."""
        return {index: o for o in self.operators for index in o.outputs}

    def reads(self) -> dict[int, int]:
        """How often each tensor is read; a model's output counts as one more reading."""
        found = dict.fromkeys(self._model.outputs, 1)
        for operator in self.operators:
            for index in operator.inputs:
                found[index] = found.get(index, 0) + 1
        return found

    def add(self, tensor: StoredTensor) -> int:
        """The index of a new tensor."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def store(self, data: Array, type_name: str) -> int:
        """The index of a new buffer."""
        raw = np.ascontiguousarray(data).astype(_NUMPY[type_name])
        self._buffers.append(np.frombuffer(raw.tobytes(), np.uint8))
        return len(self._buffers) - 1

    def constant(self, index: int, most: int) -> Array | None:
        """The values of a constant of at most ``most`` elements, None for anything else."""
        if index < 0:
            return None
        stored = self.tensors[index]
        dtype = np.dtype(_NUMPY.get(stored.type, "V1"))
        if stored.buffer >= len(self._buffers) or stored.type not in _NUMPY or stored.variable:
            return None
        raw = self._buffers[stored.buffer]
        count = raw.size // dtype.itemsize
        if not 0 < count <= most or raw.size % dtype.itemsize or stored.external or stored.sparse:
            return None
        # Sizes of a damaged file may multiply to anything.
        if min(stored.shape, default=1) < 1 or int(np.prod(stored.shape, dtype=object)) != count:
            return None
        return np.frombuffer(raw.tobytes(), dtype).reshape(stored.shape)

    def replace_operators(
        self, gone: Iterable[StoredOperator], instead: dict[int, list[StoredOperator]]
    ) -> None:
        """Takes operators out.

        Args:
            instead: by the identity of an operator, what stands in its place.
        """
        dropped = {id(o) for o in gone}
        kept: list[StoredOperator] = []
        for operator in self.operators:
            kept += instead.get(id(operator), [] if id(operator) in dropped else [operator])
        self.operators = kept

    def sweep(self, kinds: Iterable[StoredOperator]) -> None:
        """Drops those of some operators whose results nothing reads any more."""
        loose = {id(o) for o in kinds}
        reads = self.reads()
        kept = []
        for operator in reversed(self.operators):
            if id(operator) in loose and not any(reads.get(i) for i in operator.outputs):
                for index in operator.inputs:
                    reads[index] -= 1
            else:
                kept.append(operator)
        self.operators = kept[::-1]
