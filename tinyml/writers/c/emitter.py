# SPDX-License-Identifier: Apache-2.0
"""The vocabulary in which operators spell themselves as C kernel calls."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from tinyml.ir.tensor import Array, Tensor
from tinyml.plan import MemoryPlan, scratch_name

RECORD_ALIGNMENT = 16  # the widest vector load of any supported core


class CEmitter:
    """Collects the statements of a model and its weights blob.

    Args:
        plan: where each activation lives in the arena.
        isa: instruction set that kernels are chosen for, see `Target.isa`.
    """

    def __init__(self, plan: MemoryPlan, isa: str) -> None:
        self._plan = plan
        self.isa = isa
        self.shapes: list[str] = []
        self.statements: list[str] = []
        self.kernels: set[str] = set()
        self.blob = bytearray()
        self._node = 0

    def begin(self, node: int) -> None:
        """Names the node whose statements follow."""
        self._node = node

    def shape(self, struct_type: str, values: Mapping[str, int | Sequence[int]]) -> str:
        """Declares a shape constant and returns the expression that points to it."""
        fields = ", ".join(f".{k} = {_literal(v)}" for k, v in values.items())
        name = f"node{self._node}_shape{len(self.shapes)}"
        self.shapes.append(f"static const {struct_type} {name} = {{{fields}}};")
        return f"&{name}"

    def record(self, header: Sequence[int], *parts: Array) -> str:
        """Appends a record to the blob and returns the expression that points to it.

        Args:
            header: int32 values.
            parts: integer arrays, each padded with zeros to 4 bytes.
        """
        offset = self._align()
        self.blob += struct.pack(f"<{len(header)}i", *header)
        for array in parts:
            values = np.ascontiguousarray(array)
            self.blob += values.astype(values.dtype.newbyteorder("<")).tobytes()
            self.blob += bytes(-len(self.blob) % 4)
        return f"weights + {offset}"

    def _align(self) -> int:
        self.blob += bytes(-len(self.blob) % RECORD_ALIGNMENT)
        return len(self.blob)

    def read(self, tensor: Tensor) -> str:
        """The expression for a tensor's integers; constants go to the blob."""
        if tensor.data is not None:
            offset = self._align()
            self.blob += np.ascontiguousarray(tensor.data).tobytes()
            return f"(const int8_t *)(weights + {offset})"
        return f"(const int8_t *)(arena + {self._plan.offsets[tensor.name]})"

    def write(self, tensor: Tensor) -> str:
        """The expression for the buffer an operator fills."""
        return f"(int8_t *)(arena + {self._plan.offsets[tensor.name]})"

    def scratch(self) -> str:
        """The expression for the node's scratch memory; a null pointer when it has none."""
        offset = self._plan.offsets.get(scratch_name(self._node))
        return "0" if offset is None else f"arena + {offset}"

    def alias(self, source: Tensor, target: Tensor) -> None:
        """States that the target is the source's memory: no code."""
        if self._plan.offsets[source.name] != self._plan.offsets[target.name]:
            raise ValueError(f"'{target.name}' is planned apart from '{source.name}'")

    def call(self, kernel: str, *arguments: str) -> None:
        """Appends a kernel call."""
        self.kernels.add(kernel)
        self.statements.append(f"{kernel}({', '.join(arguments)});")

    def finished_blob(self) -> bytes:
        """The blob, padded so that it can be stored back to back."""
        self._align()
        return bytes(self.blob) or bytes(RECORD_ALIGNMENT)


def _literal(value: int | Sequence[int]) -> str:
    if isinstance(value, int | np.integer):
        return str(int(value))
    return "{" + ", ".join(str(int(v)) for v in value) + "}"
