# SPDX-License-Identifier: Apache-2.0
"""The vocabulary in which operators spell themselves as TFLite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tinyml.ir.tensor import Array, DType, Quantisation, Tensor
from tinyml.ops.activation import Activation
from tinyml.ops.window import Window

_TYPES = {
    DType.FLOAT32: schema.TensorType.FLOAT32,
    DType.INT8: schema.TensorType.INT8,
    DType.UINT8: schema.TensorType.UINT8,
    DType.INT16: schema.TensorType.INT16,
    DType.INT32: schema.TensorType.INT32,
    DType.INT64: schema.TensorType.INT64,
    DType.BOOL: schema.TensorType.BOOL,
}
SCHEMA_VERSION = 3

# The operator version for int8 where it is not 1 (TFLite's register.cc). LiteRT refuses a
# version above the newest it knows; TFLite-Micro does not look.
_VERSIONS = {
    "ADD": 2,
    "ARG_MAX": 2,
    "ARG_MIN": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "EQUAL": 2,
    "FULLY_CONNECTED": 5,
    "GREATER": 2,
    "GREATER_EQUAL": 2,
    "L2_NORMALIZATION": 2,
    "LEAKY_RELU": 2,
    "LESS": 2,
    "LESS_EQUAL": 2,
    "LOGISTIC": 2,
    "LOG_SOFTMAX": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MUL": 2,
    "NOT_EQUAL": 2,
    "PAD": 2,
    "PADV2": 2,
    "QUANTIZE": 2,
    "RELU": 2,
    "RELU6": 2,
    "SOFTMAX": 2,
    "SUB": 2,
    "TANH": 2,
    "TRANSPOSE": 2,
}


class TfliteBuilder:
    """Collects tensors, buffers and operators of one subgraph.

    Args:
        name: the model's name, stored as its description.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tensors: list[Any] = []
        self._index: dict[str, int] = {}
        self._buffers: list[Any] = [schema.BufferT()]  # buffer 0 means "no data"
        self._operators: list[Any] = []
        self._codes: list[Any] = []
        self._code_index: dict[int, int] = {}

    def tensor(self, tensor: Tensor) -> int:
        """The index of a graph tensor, added on first use with its data and quantisation."""
        if tensor.name not in self._index:
            self._index[tensor.name] = self._append(
                tensor.name, tensor.shape, tensor.dtype, tensor.quant, tensor.data
            )
        return self._index[tensor.name]

    def variable(self, tensor: Tensor) -> int:
        """The index of a tensor that keeps its value between runs."""
        index = self.tensor(tensor)
        self._tensors[index].isVariable = True
        return index

    def resource(self, key: str) -> int:
        """The handle of a variable that operators read and assign."""
        index = self._append(key, (), None, None, None)
        fields = {"container": b"", "sharedName": key.encode()}
        self.operator("VAR_HANDLE", [], [index], "VarHandleOptions", **fields)
        return index

    def temporary(self, name: str, like: Tensor, shape: tuple[int, ...]) -> int:
        """A tensor the graph does not have, with the type and quantisation of ``like``."""
        return self._append(name, shape, like.dtype, like.quant, None)

    @staticmethod
    def dtype(dtype: DType) -> int:
        """The schema's number of an element type."""
        return int(_TYPES[dtype])

    def flags(self, name: str, shape: tuple[int, ...]) -> int:
        """A tensor of truth values the graph does not have."""
        index = self._append(name, shape, DType.INT8, None, None)
        self._tensors[index].type = schema.TensorType.BOOL
        return index

    def constant(self, name: str, data: Array, quant: Quantisation | None = None) -> int:
        """A constant the graph does not have."""
        return self._append(name, tuple(data.shape), DType(data.dtype.name), quant, data)

    def integers(self, name: str, values: Sequence[int]) -> int:
        """A constant vector of int32."""
        return self.constant(name, np.array(values, np.int32))

    def _append(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: DType | None,
        quant: Quantisation | None,
        data: Array | None,
    ) -> int:
        made = schema.TensorT()
        made.name = name.encode()
        made.shape = list(shape)
        made.type = schema.TensorType.RESOURCE if dtype is None else _TYPES[dtype]
        made.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            made.buffer = len(self._buffers)
            self._buffers.append(buffer)
        if quant is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = list(quant.scale)
            made.quantization.zeroPoint = list(quant.zero_point)
            made.quantization.quantizedDimension = quant.axis or 0
        self._tensors.append(made)
        return len(self._tensors) - 1

    def padded(self, x: Tensor, window: Window, *, lowest: bool = False) -> tuple[int, str]:
        """The input of a windowed operator and its padding scheme.

        Padding that is neither SAME nor VALID becomes an operator of its own: PAD, which adds
        the zero point, or PADV2 with the lowest integer for a maximum.
        """
        scheme = window.scheme(x.shape[1], x.shape[2])
        if scheme is not None:
            return self.tensor(x), scheme
        top, bottom, left, right = window.used_padding(x.shape[1], x.shape[2])
        pads = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        shape = (x.shape[0], x.shape[1] + top + bottom, x.shape[2] + left + right, x.shape[3])
        output = self.temporary(f"{x.name}_padded", x, shape)
        inputs = [self.tensor(x), self.constant("pads", pads)]
        if lowest:
            lowest_of = np.array([x.dtype.limits[0]], x.dtype.numpy)
            inputs.append(self.constant("lowest", lowest_of, x.quant))
            self.operator("PADV2", inputs, [output], "PadV2Options")
        else:
            self.operator("PAD", inputs, [output], "PadOptions")
        return output, "VALID"

    def table(self, x: Tensor, values: Array, out: Tensor) -> None:
        """An elementwise function of an int8 tensor by its 256 results, values[i] for i - 128.

        TFLite-Micro has no such operator: the integers become indices by CAST and ADD, and GATHER
        picks the results.
        """
        wide, index = (
            self._append(f"{out.name}_{part}", x.shape, DType.INT32, None, None)
            for part in ("cast", "index")
        )
        types = {
            "inDataType": schema.TensorType.INT8,
            "outDataType": schema.TensorType.INT32,
        }
        self.operator("CAST", [self.tensor(x)], [wide], "CastOptions", **types)
        offset = self.integers("table_offset", [128])
        self.operator("ADD", [wide, offset], [index], "AddOptions")
        stored = self.constant(f"{out.name}_table", values, out.quant)
        inputs = [stored, index]
        self.operator("GATHER", inputs, [self.tensor(out)], "GatherOptions", axis=0, batchDims=0)

    int32 = int(schema.TensorType.INT32)
    tanh = int(schema.ActivationFunctionType.TANH)

    @staticmethod
    def padding(scheme: str) -> int:
        """The schema's number of a padding scheme."""
        return int(getattr(schema.Padding, scheme))

    @staticmethod
    def activation(activation: Activation) -> int:
        """The schema's number of a fused activation."""
        return int(getattr(schema.ActivationFunctionType, activation.value))

    def operator(
        self,
        code: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str | None = None,
        **fields: Any,
    ) -> None:
        """Appends an operator.

        Args:
            code: name in the schema's BuiltinOperator.
            inputs, outputs: tensor indices.
            options: name of the options table, None where the operator has none.
            fields: fields of that table.
        """
        made = schema.OperatorT()
        made.opcodeIndex = self._opcode(code)
        made.inputs = list(inputs)
        made.outputs = list(outputs)
        if options is not None:
            table = getattr(schema, f"{options}T")()
            for key, value in fields.items():
                if not hasattr(table, key):
                    raise ValueError(f"{options} has no field {key}")
                setattr(table, key, value)
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            made.builtinOptions = table
        self._operators.append(made)

    def _opcode(self, code: str) -> int:
        number = int(getattr(schema.BuiltinOperator, code))
        if number not in self._code_index:
            made = schema.OperatorCodeT()
            made.builtinCode = number
            # Readers older than 2020 look at the byte field only.
            made.deprecatedBuiltinCode = min(number, 127)
            made.version = _VERSIONS.get(code, 1)
            self._code_index[number] = len(self._codes)
            self._codes.append(made)
        return self._code_index[number]

    def finish(self, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """The flatbuffer with the named graph tensors as the model's inputs and outputs."""
        subgraph = schema.SubGraphT()
        subgraph.name = b"main"
        subgraph.tensors = self._tensors
        subgraph.inputs = [self._index[n] for n in inputs]
        subgraph.outputs = [self._index[n] for n in outputs]
        subgraph.operators = self._operators
        model = schema.ModelT()
        model.version = SCHEMA_VERSION
        model.description = self._name.encode()
        model.operatorCodes = self._codes
        model.subgraphs = [subgraph]
        model.buffers = self._buffers
        packer = flatbuffers.Builder(1024)
        packer.Finish(model.Pack(packer), file_identifier=b"TFL3")
        return bytes(packer.Output())
