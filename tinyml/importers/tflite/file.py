# SPDX-License-Identifier: Apache-2.0
"""A .tflite file as plain values: the only place that touches the flatbuffer.

A flatbuffer may point at one table or string many times, so a small file can describe a huge
model. Reading therefore spends a budget in proportion to the file's size, and reads through the
schema's accessors: its object interface copies everything the file claims to hold.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tinyml.errors import ImportModelError
from tinyml.ir.tensor import Array

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
DAMAGED_HINT = "Export or download the file again."
# Every value of an honest file takes at least a byte of it; tables may share vectors.
_VALUES_PER_BYTE = 4
_MAX_RANK = 8

_TYPES = {v: k for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
_CODES = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
_OPTIONS = {v: k for k, v in vars(schema.BuiltinOptions).items() if isinstance(v, int)}

T = TypeVar("T")


def damaged(what: str) -> ImportModelError:
    """The error for a file that contradicts itself or its format."""
    return ImportModelError(f"the TFLite file is damaged: {what}", DAMAGED_HINT)


def decoded(read: Callable[[], T]) -> T:
    """The result of ``read``, which follows offsets of the file wherever they point.

    Raises:
        ImportModelError: an offset or a length leads out of the file.
    """
    try:
        return read()
    except (struct.error, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise damaged(f"an offset or length is wrong ({error})") from None


class Budget:
    """The number of values that may still be read.

    Args:
        size: of the file, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._left = _VALUES_PER_BYTE * size

    def spend(self, count: int) -> int:
        """Takes ``count`` values off and returns ``count``."""
        self._left -= count
        if self._left < 0:
            raise damaged("it describes more than it can hold")
        return count


@dataclass(frozen=True)
class StoredQuantisation:
    """Quantisation as stored; ``scale`` is empty where the file gives none."""

    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    axis: int = 0
    custom: bool = False


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as stored.

    Args:
        name: with characters that C strings and one-line messages cannot hold replaced.
        type: its name in the schema.
        shape: sizes.
        signature: sizes with -1 where unknown, None where the file gives none.
        buffer: index of its data.
        external: index of its data in another file, 0 for none.
        variable: whether it keeps its value between runs.
        sparse: whether its data are compressed.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    signature: tuple[int, ...] | None
    buffer: int
    external: int
    variable: bool
    sparse: bool
    quant: StoredQuantisation


class Options:
    """The options table of an operator.

    Args:
        name: of the table in the schema, NONE where there is none.
        table: the schema's accessor object.
    """

    def __init__(self, name: str, table: Any) -> None:
        self.name, self._table = name, table

    def integer(self, field: str) -> int:
        """A scalar field, or an enumeration's number."""
        return int(decoded(getattr(self._table, field)))

    def real(self, field: str) -> float:
        """A float field."""
        return float(decoded(getattr(self._table, field)))

    def text(self, field: str) -> str:
        """A string field, empty where it is absent."""
        return bytes(decoded(getattr(self._table, field)) or b"").decode(errors="replace")

    def boolean(self, field: str) -> bool:
        """A flag."""
        return bool(decoded(getattr(self._table, field)))

    def integers(self, field: str) -> tuple[int, ...] | None:
        """A vector of at most 8 integers, None where it is absent."""
        if decoded(getattr(self._table, f"{field}IsNone")):
            return None
        values = decoded(getattr(self._table, f"{field}AsNumpy"))
        if len(values) > _MAX_RANK:
            raise damaged(f"{field} has {len(values)} entries")
        return tuple(int(v) for v in values)


@dataclass(frozen=True)
class Dilation:
    """What a convolution gets from the operators around it.

    Args:
        factors: dilation along height and width.
        padding: top, bottom, left, right.
    """

    factors: tuple[int, int]
    padding: tuple[int, int, int, int]


@dataclass(frozen=True)
class StoredOperator:
    """An operator as stored.

    Args:
        kind: its name in the schema.
        inputs, outputs: tensor indices; -1 marks an optional input that is left out.
        options: its attributes.
        dilation: of a convolution that operators around it dilate, None in every file.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options
    dilation: Dilation | None = None


@dataclass(frozen=True)
class StoredModel:
    """A subgraph of a file. Every tensor index in it is in range.

    Args:
        description: free text.
        tensors, operators: of the subgraph, in the file's order.
        inputs, outputs: tensor indices.
        buffers: the bytes of each buffer as a view of the file, empty for none.
        others: the further subgraphs, which operators name by number from 1.
    """

    description: str
    tensors: tuple[StoredTensor, ...]
    operators: tuple[StoredOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    buffers: tuple[Array, ...]
    others: tuple[StoredModel, ...] = ()


def parse(data: bytes) -> StoredModel:
    """Decodes a .tflite file in time and memory proportional to its size.

    Args:
        data: the whole file, buffers stored behind the flatbuffer included.

    Raises:
        ImportModelError: it is no TFLite file, is truncated or damaged, or has subgraphs that do
            more than set first values of variables.
    """
    if data[4:8] != IDENTIFIER:
        raise ImportModelError(
            "this is no TFLite file: " + ("it is empty" if not data else "it lacks the mark TFL3"),
            "Give a .tflite file; an interrupted download can also look like this.",
        )
    model = decoded(lambda: schema.Model.GetRootAs(data, 0))
    version = decoded(model.Version)
    if version != SCHEMA_VERSION:
        raise ImportModelError(
            f"the TFLite file has schema version {version}; {SCHEMA_VERSION} is supported",
            "Convert the model again with a converter of 2018 or later.",
        )
    budget = Budget(len(data))
    codes = _table(budget, model.OperatorCodesLength, model.OperatorCodes, _code_reader(budget))
    read_operator = _operator_reader(budget, codes)
    description = _text(budget, model.Description)
    buffers = _table(budget, model.BuffersLength, model.Buffers, _buffer_reader(data))

    def read(subgraph: Any) -> StoredModel:
        stored = StoredModel(
            description,
            _table(budget, subgraph.TensorsLength, subgraph.Tensors, _tensor_reader(budget)),
            _table(budget, subgraph.OperatorsLength, subgraph.Operators, read_operator),
            _integers(budget, subgraph, "Inputs"),
            _integers(budget, subgraph, "Outputs"),
            buffers,
        )
        _check_indices(stored)
        return stored

    graphs = _table(budget, model.SubgraphsLength, model.Subgraphs, read)
    if not graphs:
        raise damaged("it has no subgraphs")
    if len(graphs) > 1 and all(o.kind != "CALL_ONCE" for o in graphs[0].operators):
        raise ImportModelError(
            f"the TFLite file has {len(graphs)} subgraphs; 1 is supported, and one more that sets "
            "first values of variables",
            "Control flow (IF, WHILE) makes more: export the model without it.",
        )
    return replace(graphs[0], others=graphs[1:])


def _table(
    budget: Budget, length: Callable[[], int], item: Callable[[int], Any], read: Callable[[Any], T]
) -> tuple[T, ...]:
    """Every element of a vector of tables."""
    count = budget.spend(int(decoded(length)))
    return decoded(lambda: tuple(read(item(i)) for i in range(count)))


def _text(budget: Budget, read: Callable[[], bytes | None]) -> str:
    raw = decoded(read) or b""
    budget.spend(len(raw))
    text = raw.decode(errors="replace")
    return "".join(c if c.isascii() and c.isprintable() and c not in '"\\?' else "_" for c in text)


def _integers(budget: Budget, table: Any, field: str) -> tuple[int, ...]:
    """A vector of integers, empty where it is absent."""
    budget.spend(int(decoded(getattr(table, f"{field}Length"))))
    values = decoded(getattr(table, f"{field}AsNumpy"))
    # The accessors give the number 0 for an absent vector.
    return tuple(int(v) for v in values) if isinstance(values, np.ndarray) else ()


def _code_reader(budget: Budget) -> Callable[[Any], str]:
    def read(code: Any) -> str:
        # Numbers below 127 may stand in the older byte field only.
        number = max(int(code.BuiltinCode()), int(code.DeprecatedBuiltinCode()))
        kind = str(_CODES.get(number, f"operator {number}"))
        if kind == "CUSTOM":
            return f"custom operator '{_text(budget, code.CustomCode)}'"
        return kind

    return read


def _operator_reader(budget: Budget, codes: tuple[str, ...]) -> Callable[[Any], StoredOperator]:
    def read(operator: Any) -> StoredOperator:
        code = int(operator.OpcodeIndex())
        if code >= len(codes):
            raise damaged(f"operator code {code} of {len(codes)}")
        options = _OPTIONS.get(int(operator.BuiltinOptionsType()), "unknown options")
        union = operator.BuiltinOptions()
        table = None
        if union is not None and hasattr(schema, options):
            table = getattr(schema, options)()
            table.Init(union.Bytes, union.Pos)
        return StoredOperator(
            codes[code],
            _integers(budget, operator, "Inputs"),
            _integers(budget, operator, "Outputs"),
            Options(options if table is not None else "NONE", table),
        )

    return read


def _tensor_reader(budget: Budget) -> Callable[[Any], StoredTensor]:
    def read(tensor: Any) -> StoredTensor:
        name = _text(budget, tensor.Name)
        shape = _integers(budget, tensor, "Shape")
        if len(shape) > _MAX_RANK:
            raise ImportModelError(
                f"tensor '{name}' has {len(shape)} axes; at most {_MAX_RANK} are supported",
                "Reshape it to fewer axes.",
            )
        given = not tensor.ShapeSignatureIsNone()
        return StoredTensor(
            name,
            _TYPES.get(int(tensor.Type()), f"type {tensor.Type()}"),
            shape,
            _integers(budget, tensor, "ShapeSignature") if given else None,
            int(tensor.Buffer()),
            int(tensor.ExternalBuffer()),
            bool(tensor.IsVariable()),
            tensor.Sparsity() is not None,
            _quantisation(budget, tensor.Quantization()),
        )

    return read


def _quantisation(budget: Budget, given: Any) -> StoredQuantisation:
    if given is None:
        return StoredQuantisation()
    budget.spend(int(given.ScaleLength()))
    scale = given.ScaleAsNumpy()
    return StoredQuantisation(
        tuple(float(s) for s in scale) if isinstance(scale, np.ndarray) else (),
        _integers(budget, given, "ZeroPoint"),
        int(given.QuantizedDimension()),
        int(given.DetailsType()) != 0,
    )


def _buffer_reader(data: bytes) -> Callable[[Any], Array]:
    whole = np.frombuffer(data, np.uint8)

    def read(buffer: Any) -> Array:
        # The schema counts an offset as given only above 1.
        offset, size = int(buffer.Offset()), int(buffer.Size())
        if offset > 1:
            if offset + size > len(data):
                raise damaged(f"a buffer lies at bytes {offset} to {offset + size} of {len(data)}")
            return whole[offset : offset + size]
        inline = buffer.DataAsNumpy()
        return inline if isinstance(inline, np.ndarray) else whole[:0]

    return read


def _check_indices(model: StoredModel) -> None:
    count = len(model.tensors)
    for tensor in model.tensors:
        if tensor.buffer >= max(len(model.buffers), 1):
            raise damaged(f"tensor '{tensor.name}' names buffer {tensor.buffer}, which is missing")
    named = [*model.inputs, *model.outputs]
    for operator in model.operators:
        named += [i for i in operator.inputs if i != -1]
        named += operator.outputs
    wrong = next((i for i in named if not 0 <= i < count), None)
    if wrong is not None:
        raise damaged(f"tensor index {wrong} is out of range, there are {count} tensors")
