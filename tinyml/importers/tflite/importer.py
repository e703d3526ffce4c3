# SPDX-License-Identifier: Apache-2.0
"""Reads an int8 .tflite file into an int8 Graph."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tinyml.errors import ImportModelError
from tinyml.importers.names import identifier
from tinyml.importers.tflite.operators import SUPPORTED, TRANSLATORS, Unsupported
from tinyml.ir.graph import Graph, Node
from tinyml.ir.operator import Operator
from tinyml.ir.tensor import Array, DType, Quantisation, Tensor

_DTYPES = {
    schema.TensorType.INT8: DType.INT8,
    schema.TensorType.INT32: DType.INT32,
}
_TYPE_NAMES = {v: k for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
_CODE_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
# No microcontroller holds a tensor of more elements; a larger one is a damaged file.
_MAX_ELEMENTS = 1 << 28


def import_tflite(source: Path | bytes, name: str | None = None) -> Graph:
    """An int8 Graph whose integer references reproduce the file under TFLite-Micro.

    Args:
        source: a .tflite file, or its bytes.
        name: the graph's name; by default the file's description or stem, as a C identifier.

    Raises:
        ImportModelError: the file is corrupt or truncated, or uses an operator, a type or a
            feature the compiler does not support; the message names it.
    """
    label = str(source) if isinstance(source, Path) else "the model"
    data = _read(source) if isinstance(source, Path) else source
    model = _parse(data, label)
    stem = source.stem if isinstance(source, Path) else "model"
    description = model.description.decode(errors="replace") if model.description else ""
    reader = Reader(identifier(name or description or stem), model, data, label)
    try:
        reader.read()
    except ImportModelError:
        raise
    # A damaged flatbuffer surfaces as any of these, from any field.
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise ImportModelError(
            f"{label} is damaged or inconsistent: {error}", "Export or download it again."
        ) from None
    return reader.graph


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImportModelError(f"{path} cannot be read: {error.strerror}") from None


def _parse(data: bytes, label: str) -> Any:
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise ImportModelError(
            f"{label} is no TFLite file", "It lacks the identifier TFL3; is it truncated?"
        )
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    except Exception as error:
        raise ImportModelError(
            f"{label} is damaged: {type(error).__name__} while reading the flatbuffer",
            "Export or download it again.",
        ) from None
    if model.version != 3:
        raise ImportModelError(f"{label} has schema version {model.version}, 3 is supported")
    if not model.subgraphs or len(model.subgraphs) != 1:
        count = len(model.subgraphs or ())
        raise ImportModelError(f"{label} has {count} subgraphs, 1 is supported")
    if not model.subgraphs[0].operators:
        raise ImportModelError(f"{label} holds no operators")
    return model


class Reader:
    """The state of one import: what the translators of `operators.py` work on.

    Args:
        name: the graph's name.
        model: the parsed flatbuffer.
        data: the whole file, for buffers stored behind the flatbuffer.
        label: the file in messages.
    """

    def __init__(self, name: str, model: Any, data: bytes, label: str) -> None:
        self.graph = Graph(name, {}, [], [], [])
        self._model, self._data, self._label = model, data, label
        self._subgraph = model.subgraphs[0]
        self._names: dict[int, str] = {}
        self._layer = ""
        # Padding by the lowest value that the next maximum takes into its window, by tensor.
        self.lowest_padding: dict[str, tuple[str, tuple[int, int, int, int]]] = {}

    def read(self) -> None:
        """Fills the graph."""
        for index in self._subgraph.inputs:
            self.graph.inputs.append(self.tensor(int(index)))
        unsupported: list[str] = []
        for index, operator in enumerate(self._subgraph.operators):
            kind = self.kind(operator)
            self._layer = self._operator_name(operator, index)
            translator = TRANSLATORS.get(kind)
            if translator is None:
                unsupported.append(f"{kind} (layer '{self._layer}')")
                continue
            if unsupported:
                continue  # only collecting names from here on
            try:
                translator(self, operator)
            except (Unsupported, ValueError) as error:
                unsupported.append(f"{kind} (layer '{self._layer}'): {error}")
        if unsupported:
            raise ImportModelError(
                f"{self._label}: unsupported: {'; '.join(unsupported)}",
                f"Supported TFLite operators: {', '.join(SUPPORTED)}.",
            )
        self.graph.outputs = [self.tensor(int(i)) for i in self._subgraph.outputs]
        self.graph.sweep()
        self.graph.check()

    def _operator_name(self, operator: Any, index: int) -> str:
        try:
            return str(self._subgraph.tensors[operator.outputs[0]].name.decode(errors="replace"))
        except (IndexError, TypeError, AttributeError):
            return f"operator {index}"

    # What translators use.

    def kind(self, operator: Any) -> str:
        """The operator's name in the schema."""
        code = self._model.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        kind = str(_CODE_NAMES.get(number, f"operator {number}"))
        if kind == "CUSTOM" and code.customCode:
            return f"custom operator '{code.customCode.decode(errors='replace')}'"
        return kind

    def tensor(self, index: int) -> str:
        """The graph tensor of a TFLite tensor, added on first use."""
        if index not in self._names:
            if not 0 <= index < len(self._subgraph.tensors):
                raise ValueError(f"tensor index {index} is out of range")
            stored = self._subgraph.tensors[index]
            name = identifier(stored.name.decode(errors="replace") if stored.name else "tensor")
            self._names[index] = self.graph.add(self._convert(name, stored))
        return self._names[index]

    def _convert(self, name: str, stored: Any) -> Tensor:
        if stored.type not in _DTYPES:
            kind = _TYPE_NAMES.get(stored.type, stored.type)
            raise ImportModelError(
                f"{self._label}: tensor '{name}' is {kind}; int8 models are supported",
                "Convert the model with full-integer int8 quantisation, inputs and outputs too.",
            )
        if stored.sparsity is not None:
            raise ImportModelError(f"{self._label}: tensor '{name}' is sparse")
        if stored.shapeSignature is not None and any(d < 0 for d in stored.shapeSignature):
            dynamic = [d for d in stored.shapeSignature[1:] if d < 0]
            if dynamic:
                raise ImportModelError(f"{self._label}: tensor '{name}' has a dynamic shape")
        shape = tuple(int(d) for d in (stored.shape if stored.shape is not None else ()))
        if any(d <= 0 for d in shape) or math.prod(shape) > _MAX_ELEMENTS:
            raise ImportModelError(f"{self._label}: tensor '{name}' has the shape {shape}")
        dtype = _DTYPES[stored.type]
        data = self._buffer(name, stored.buffer, shape, dtype)
        return Tensor(name, shape, dtype, self._quantisation(name, stored, shape), data)

    def _buffer(self, name: str, index: int, shape: tuple[int, ...], dtype: DType) -> Array | None:
        buffer = self._model.buffers[index]
        if index == 0:
            return None
        if buffer.offset > 1:
            # Large buffers may lie behind the flatbuffer.
            raw = self._data[buffer.offset : buffer.offset + buffer.size]
        elif buffer.data is None or len(buffer.data) == 0:
            return None
        else:
            raw = np.asarray(buffer.data, np.uint8).tobytes()
        if len(raw) != math.prod(shape) * dtype.bytes:
            raise ImportModelError(
                f"{self._label}: the data of '{name}' are {len(raw)} bytes, its shape "
                f"{shape} needs {math.prod(shape) * dtype.bytes}",
                "The file is damaged; export or download it again.",
            )
        return np.frombuffer(raw, dtype.numpy.newbyteorder("<")).astype(dtype.numpy).reshape(shape)

    def _quantisation(self, name: str, stored: Any, shape: tuple[int, ...]) -> Quantisation | None:
        given = stored.quantization
        if given is None or given.scale is None or len(given.scale) == 0:
            return None
        scales = tuple(float(s) for s in given.scale)
        zeros = tuple(int(z) for z in (given.zeroPoint if given.zeroPoint is not None else ()))
        zeros = zeros or (0,) * len(scales)
        if len(zeros) == 1 and len(scales) > 1:
            zeros = zeros * len(scales)
        if not all(math.isfinite(s) and s > 0 for s in scales):
            raise ImportModelError(f"{self._label}: tensor '{name}' has a scale that is not > 0")
        if len(scales) == 1:
            return Quantisation(scales, zeros)
        if stored.type == schema.TensorType.INT32:
            # A bias: kernels derive its scales, and converters write any axis here.
            return Quantisation(scales, zeros, 0) if shape == (len(scales),) else None
        axis = int(given.quantizedDimension)
        if not 0 <= axis < len(shape) or shape[axis] != len(scales):
            raise ImportModelError(f"{self._label}: '{name}' has scales that fit no axis")
        return Quantisation(scales, zeros, axis)

    def inputs(self, operator: Any) -> list[str]:
        """The tensors an operator reads; left-out optional inputs are dropped from the end."""
        return [self.tensor(int(i)) for i in operator.inputs if i >= 0]

    def has_input(self, operator: Any, index: int) -> bool:
        """Whether an optional input is given."""
        return index < len(operator.inputs) and operator.inputs[index] >= 0

    def integers(self, operator: Any, index: int) -> list[int]:
        """A constant input as a list of integers."""
        data = self.graph.tensors[self.tensor(int(operator.inputs[index]))].data
        if data is None:
            raise Unsupported(f"input {index} must be a constant")
        return [int(v) for v in np.ravel(data)]

    def held(self, name: str) -> Tensor:
        """A tensor of the graph."""
        return self.graph.tensors[name]

    def constant(self, tensor: Tensor) -> str:
        """Adds a constant."""
        return self.graph.add(tensor)

    def apply(self, op: Operator, inputs: list[str], operator: Any) -> None:
        """Appends a node that writes the operator's output tensor."""
        output = self.tensor(int(operator.outputs[0]))
        self._check_integers([*inputs, output])
        self.graph.nodes.append(Node(op, tuple(inputs), output, self._layer))

    def apply_between(self, op: Operator, inputs: list[str], like: Tensor) -> str:
        """Appends a node whose output the file does not have; quantised as ``like``."""
        shape = op.infer([self.held(i).shape for i in inputs])
        output = self.graph.add(Tensor(f"{like.name}_inner", shape, like.dtype, like.quant))
        self._check_integers([*inputs, output])
        self.graph.nodes.append(Node(op, tuple(inputs), output, self._layer))
        return output

    def _check_integers(self, names: list[str]) -> None:
        for name in names:
            tensor = self.held(name)
            if tensor.dtype is DType.INT8 and tensor.quant is None:
                raise Unsupported(f"tensor '{name}' is int8 without a scale")
            if tensor.data is None and tensor.dtype is not DType.INT8:
                raise Unsupported(f"tensor '{name}' is {tensor.dtype.value}; int8 is supported")
            if tensor.data is None and tensor.quant is not None and tensor.quant.axis is not None:
                raise Unsupported(f"activation '{name}' is quantised per channel")
