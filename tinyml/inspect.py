# SPDX-License-Identifier: Apache-2.0
"""What is in a model file: operators, shapes, types, MACs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from tinyml.errors import ImportModelError
from tinyml.importers.tflite import import_tflite


@dataclass(frozen=True)
class Row:
    """One operator.

    Args:
        name: the layer.
        op: the operator's name in the file's own format or in tinyml.
        shape: of the output; empty where the file does not say.
        dtype: of the output.
        macs: multiply-accumulates.
        weights: bytes of constants read by it.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    dtype: str
    macs: int
    weights: int


def inspect_file(path: Path) -> list[Row]:
    """The operators of a .tflite or .onnx file, or of an export folder.

    Raises:
        ImportModelError: the file is missing, damaged or of another kind.
    """
    if path.is_dir():
        path = path / "model.tflite"
    readers: dict[str, Callable[[Path], list[Row]]] = {".tflite": _tflite, ".onnx": _onnx}
    if path.suffix not in readers:
        raise ImportModelError(f"{path} is neither .tflite nor .onnx nor an export folder")
    if not path.is_file():
        raise ImportModelError(f"{path} does not exist")
    return readers[path.suffix](path)


def _tflite(path: Path) -> list[Row]:
    graph = import_tflite(path)
    return [
        Row(
            n.name,
            n.op.kind,
            graph.out(n).shape,
            graph.out(n).dtype.value,
            graph.macs(n),
            sum(t.bytes for t in graph.ins(n) if t.is_constant),
        )
        for n in graph.nodes
    ]


def _onnx(path: Path) -> list[Row]:
    try:
        model = shape_inference.infer_shapes(onnx.load(path))
    except Exception as error:
        raise ImportModelError(
            f"{path} is no readable ONNX file: {str(error).splitlines()[0]}",
            "It may be truncated; export or download it again.",
        ) from None
    known: dict[str, tuple[tuple[int, ...], str]] = {}
    values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(d.dim_value for d in tensor.shape.dim)
        known[value.name] = (shape, TensorProto.DataType.Name(tensor.elem_type).lower())
    constants = {}
    for stored in model.graph.initializer:
        array = numpy_helper.to_array(stored)
        constants[stored.name] = array.nbytes
        known[stored.name] = (tuple(array.shape), str(array.dtype))
    rows = []
    for node in model.graph.node:
        shape, dtype = known.get(node.output[0], ((), "?"))
        weights = sum(constants.get(i, 0) for i in node.input)
        rows.append(
            Row(
                node.name or node.output[0], node.op_type, shape, dtype, _macs(node, known), weights
            )
        )
    return rows


def _macs(node: onnx.NodeProto, known: dict[str, tuple[tuple[int, ...], str]]) -> int:
    """Output elements times the length of each sum, for the operators that multiply and sum."""
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return 0
    weights, out = known.get(node.input[1], ((), ""))[0], known.get(node.output[0], ((), ""))[0]
    if not weights or not out:
        return 0
    if node.op_type == "Conv":
        return math.prod(out) * math.prod(weights[1:])
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return math.prod(out) * (weights[-1] if transposed else weights[-2])
