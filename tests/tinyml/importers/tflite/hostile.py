# SPDX-License-Identifier: Apache-2.0
"""Small files of everything that a .tflite may hold beside plain layers: state, other subgraphs,
control flow, floats beside integers, sparse and custom parts, open shapes, batches. Some are
accepted, some refused; damaged ones of either kind must be refused or read."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.tinyml.importers.tflite.files import bias, chain, edited, file, int8, ints, weights
from tests.tinyml.importers.tflite.test_operators import BATCHES, FILES
from tests.tinyml.importers.tflite.test_state import lstm, stream, svdf
from tests.tinyml.single_op import flags
from tinyml.ir import DType, Tensor
from tinyml.writers.tflite import write_tflite

X = int8("x", (1, 24))
DENSE = file(
    "FULLY_CONNECTED", [X, weights((3, 24)), bias(1, 2, 3)], int8("y", (1, 3), 0.08, 11),
    "FullyConnectedOptions",
)  # fmt: skip
_RNG = np.random.default_rng(0)


def _second_subgraph(model) -> None:
    """The subgraph that branches, bodies and calls name."""
    packed = schema.ModelT.InitFromObj(schema.Model.GetRootAs(DENSE, 0)).subgraphs[0]
    for operator in packed.operators:
        operator.opcodeIndex = 0
    for tensor in packed.tensors:
        tensor.buffer = 0
    model.subgraphs.append(packed)


def _control(kind: str, options: str, **fields: int) -> bytes:
    condition = flags("c", (1,))
    ins = [condition, X] if kind == "IF" else [X]
    made = file(kind, ins, int8("y", (1, 24)), options, **fields)
    return edited(made, _second_subgraph)


def _sparse(model) -> None:
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.blockMap = [0, 1], []
    made = schema.DimensionMetadataT()
    made.format, made.denseSize = schema.DimensionType.DENSE, 3
    sparsity.dimMetadata = [made, made]
    model.subgraphs[0].tensors[1].sparsity = sparsity


def _custom(model) -> None:
    model.operatorCodes[0].customCode = b"Mine"
    model.subgraphs[0].operators[0].customOptions = list(range(40))


def _open(model) -> None:
    for tensor in model.subgraphs[0].tensors:
        tensor.shapeSignature = [-1, *tensor.shape[1:]] if len(tensor.shape) else []


HOSTILE = {
    "resource variables": write_tflite(stream()),
    "svdf": write_tflite(svdf(_RNG, 3, 2, 4, 5, DType.INT8, (1, 2, 3), 1.0)),
    "svdf, long state": write_tflite(svdf(_RNG, 3, 1, 4, 5, DType.INT16, (1, 2, 3), 1.0)),
    "lstm": write_tflite(lstm(_RNG, 3, 4, 5, 0.0, (1, 2))),
    "if": _control("IF", "IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=1),
    "while": _control("WHILE", "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=1),
    "call": _control("CALL", "CallOptions", subgraph=1),
    "call once": _control("CALL_ONCE", "CallOnceOptions", initSubgraphIndex=1),
    "hybrid": edited(DENSE, lambda m: setattr(m.subgraphs[0].tensors[0], "type", 0)),
    "sparse": edited(DENSE, _sparse),
    "custom": edited(file("CUSTOM", [X], int8("y", (1, 24))), _custom),
    "open batch": edited(DENSE, _open),
    "open batch, transposed": edited(FILES["transposed conv same"], _open),
    "float island": chain([
        ("DEQUANTIZE", [X], Tensor("real", (1, 24)), None, {}),
        ("ELU", [Tensor("real", (1, 24))], Tensor("more", (1, 24)), None, {}),
        ("QUANTIZE", [Tensor("more", (1, 24))], int8("y", (1, 24)), None, {}),
    ]),
    "shape": chain([
        ("SHAPE", [X], Tensor("s", (2,), DType.INT32), "ShapeOptions", {"outType": 2}),
        ("GATHER", [Tensor("s", (2,), DType.INT32), ints("i", 1, 0)],
         Tensor("t", (2,), DType.INT32), "GatherOptions", {}),
        ("RESHAPE", [X, Tensor("t", (2,), DType.INT32)], int8("y", (24, 1)), None, {}),
    ]),
    **{f"batch, {name}": data for name, data in BATCHES.items()},
    **{name: FILES[name] for name in ("less", "select", "log softmax", "l2 normalization",
                                      "arg max of rows", "padding by a value", "broadcast to")},
}  # fmt: skip
