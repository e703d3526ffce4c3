# SPDX-License-Identifier: Apache-2.0
"""The vocabulary in which operators spell themselves as C kernel calls."""

from __future__ import annotations

import struct
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from tinyml.ir.tensor import Array, DType, Tensor
from tinyml.plan import MemoryPlan, copy_name, scratch_name

RECORD_ALIGNMENT = 16  # the widest vector load of any supported core


class CEmitter:
    """Collects the statements of a model and its weights blob.

    Args:
        plan: where each activation lives in the arena.
        isa: instruction set that kernels are chosen for, see `Target.isa`.
        memories: the C arrays of the plan's regions, the caller's arena first.
    """

    def __init__(self, plan: MemoryPlan, isa: str, memories: Sequence[str] = ("arena",)) -> None:
        self._plan = plan
        self._memories = memories
        self.isa = isa
        self.shapes: list[str] = []
        self.statements: list[str] = []
        self.kernels: set[str] = set()
        self.blob = bytearray()
        self._shared: dict[bytes, int] = {}
        self._node = 0
        self._shape_names: dict[str, str] = {}
        self._pointers: Mapping[str, str] = {}
        self._stored: dict[tuple[Hashable, ...], tuple[int, bytes]] = {}
        self._key: tuple[Hashable, ...] = (0,)
        self._parts = 0
        self._copied = {i: size for g in plan.groups for i, size in g.copies.items()}
        self._copies: list[str] = []

    @property
    def core(self) -> str:
        """The instruction set without what is said of pruned layers, one of `kernels.ISAS`."""
        return self.isa.partition("/")[0]

    def begin(
        self,
        node: int,
        pointers: Mapping[str, str] | None = None,
        constants: Sequence[str] = (),
    ) -> None:
        """Names the node whose statements follow.

        Args:
            node: its index. A node may begin again, for other rows: what it stores in the blob
                is stored once.
            pointers: expressions that stand for activations whose place changes by row.
            constants: names of the constants it reads; nodes that read the same store them once.
        """
        self._node = node
        self._key = (tuple(constants) or node,)
        self._pointers = pointers or {}
        self._parts = 0

    def shape(self, struct_type: str, values: Mapping[str, int | Sequence[int]]) -> str:
        """Declares a shape constant and returns the expression that points to it."""
        fields = ", ".join(f".{k} = {_literal(v)}" for k, v in values.items())
        constant = f"{struct_type} {{{fields}}}"
        if constant not in self._shape_names:
            name = f"node{self._node}_shape{len(self.shapes)}"
            self.shapes.append(f"static const {struct_type} {name} = {{{fields}}};")
            self._shape_names[constant] = name
        return f"&{self._shape_names[constant]}"

    def record(self, header: Sequence[int], *parts: Array) -> str:
        """Appends a record to the blob and returns the expression that points to it.

        Args:
            header: int32 values.
            parts: integer arrays, each padded with zeros to 4 bytes.
        """
        data = bytearray(struct.pack(f"<{len(header)}i", *header))
        for array in parts:
            values = np.ascontiguousarray(array)
            data += values.astype(values.dtype.newbyteorder("<")).tobytes()
            data += bytes(-len(data) % 4)
        offset = self._store(bytes(data))
        if self._parts == 1 and len(data) <= self._copied.get(self._node, 0):
            return self._copy(offset, len(data))
        return f"weights + {offset}"

    def _copy(self, offset: int, size: int) -> str:
        """The expression for a record's copy in RAM, which is made before the kernel runs."""
        name = copy_name(self._node)
        copy = f"{self.memory(name)} + {self._plan.offsets[name]}"
        source = f"(const int8_t *)(weights + {offset})"
        self.kernels.add("tml_move_rows")
        self._copies.append(f"tml_move_rows((int8_t *)({copy}), {source}, {size}u);")
        return copy

    def take_copies(self) -> list[str]:
        """The statements that copy what was recorded since the last call, each once."""
        made = list(dict.fromkeys(self._copies))
        self._copies.clear()
        return made

    def _store(self, data: bytes) -> int:
        """The offset of bytes in the blob: new ones, or those of this node's other rows."""
        key = (*self._key, self._parts)
        self._parts += 1
        offset, known = self._stored.get(key, (0, None))
        if known != data:
            offset = self._align()
            self.blob += data
            self._stored[key] = (offset, data)
        return offset

    def _align(self) -> int:
        self.blob += bytes(-len(self.blob) % RECORD_ALIGNMENT)
        return len(self.blob)

    def shared(self, values: Array) -> str:
        """The expression that points to a constant of the compiler, stored once in the blob
        however many operators name it."""
        stored = np.ascontiguousarray(values)
        data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
        if data not in self._shared:
            self._shared[data] = self._align()
            self.blob += data
        return f"weights + {self._shared[data]}"

    @staticmethod
    def suffix(tensor: Tensor) -> str:
        """How kernels for a tensor's type end: s8, u8, s16 or s32."""
        sign = "u" if tensor.dtype is DType.UINT8 else "s"
        return f"{sign}{8 * tensor.dtype.bytes}"

    def read(self, tensor: Tensor, element: int = 0, dtype: DType | None = None) -> str:
        """The expression for a tensor's integers; constants go to the blob.

        Args:
            element: index of the first element pointed to.
            dtype: of the pointer, by default the tensor's.
        """
        if tensor.data is not None:
            little = tensor.data.astype(tensor.dtype.numpy.newbyteorder("<"))
            base = f"weights + {self._store(np.ascontiguousarray(little).tobytes())}"
        else:
            base = self.place(tensor)
        ahead = f" + {element * tensor.dtype.bytes}" if element else ""
        return f"(const {_c_type(dtype or tensor.dtype)} *)({base}{ahead})"

    def write(self, tensor: Tensor, dtype: DType | None = None) -> str:
        """The expression for the buffer an operator fills."""
        return f"({_c_type(dtype or tensor.dtype)} *)({self.place(tensor)})"

    def place(self, tensor: Tensor) -> str:
        """The expression for an activation's first byte."""
        pointer = self._pointers.get(tensor.name)
        return pointer or f"{self.memory(tensor.name)} + {self._plan.offsets[tensor.name]}"

    def memory(self, name: str) -> str:
        """The array that an activation, or a node's scratch memory, lies in."""
        return self._memories[self._plan.regions.get(name, 0)]

    def scratch(self) -> str:
        """The expression for the node's scratch memory; a null pointer when it has none."""
        offset = self._plan.offsets.get(scratch_name(self._node))
        memory = self.memory(scratch_name(self._node))
        return "0" if offset is None else f"{memory} + {offset}"

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


def _c_type(dtype: DType) -> str:
    return "int8_t" if dtype is DType.BOOL else f"{dtype.value}_t"


def _literal(value: int | Sequence[int]) -> str:
    if isinstance(value, int | np.integer):
        return str(int(value))
    return "{" + ", ".join(str(int(v)) for v in value) + "}"
