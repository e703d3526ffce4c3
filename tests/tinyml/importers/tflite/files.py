# SPDX-License-Identifier: Apache-2.0
"""TFLite files made by hand: one operator as any converter might write it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.tinyml.single_op import activation, random_feeds
from tinyml.importers.tflite import import_tflite
from tinyml.ir import DType, Graph, Quantisation, Tensor
from tinyml.ir.execute import initial_state, outputs
from tinyml.runtimes.interpreters import TfliteMicro
from tinyml.writers.tflite.builder import TfliteBuilder

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
RELU, RELU6 = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6


def int8(name: str, shape: Sequence[int], scale: float = 0.05, zero: int = 3) -> Tensor:
    """An int8 activation."""
    return activation(name, shape, scale, zero)


def ints(name: str, *values: int) -> Tensor:
    """A constant vector of int32."""
    return Tensor(name, (len(values),), DType.INT32, None, np.array(values, np.int32))


def weights(shape: Sequence[int], scale: float = 0.01, zero: int = 0) -> Tensor:
    """A per-tensor int8 weights constant."""
    data = np.random.default_rng(1).integers(-127, 128, shape).astype(np.int8)
    return Tensor("w", tuple(shape), DType.INT8, Quantisation.per_tensor(scale, zero), data)


def bias(*values: int, scale: float = 0.0005) -> Tensor:
    """A per-tensor int32 bias."""
    data = np.array(values, np.int32)
    return Tensor("b", data.shape, DType.INT32, Quantisation.per_tensor(scale, 0), data)


def file(
    kind: str,
    ins: Sequence[Tensor],
    out: Tensor,
    options: str | None = None,
    **fields: Any,
) -> bytes:
    """A model of one operator."""
    return chain([(kind, ins, out, options, fields)])


def chain(
    steps: Sequence[tuple[str, Sequence[Tensor], Tensor, str | None, dict[str, Any]]],
) -> bytes:
    """A model of several operators; the inputs are the tensors without data that none writes."""
    b = TfliteBuilder("handmade")
    written = {out.name for _, _, out, _, _ in steps}
    inputs: list[str] = []
    for kind, ins, out, options, fields in steps:
        b.operator(kind, [b.tensor(t) for t in ins], [b.tensor(out)], options, **fields)
        for tensor in ins:
            if tensor.data is None and tensor.name not in (*written, *inputs):
                inputs.append(tensor.name)
    return b.finish(inputs, [steps[-1][2].name])


def spread(
    kind: str, ins: Sequence[Tensor], outs: Sequence[Tensor], options: str, **fields: Any
) -> bytes:
    """A model of one operator with several outputs."""
    b = TfliteBuilder("handmade")
    indices = [b.tensor(t) for t in ins]
    b.operator(kind, indices, [b.tensor(t) for t in outs], options, **fields)
    return b.finish([t.name for t in ins if t.data is None], [t.name for t in outs])


def edited(data: bytes, change: Callable[[Any], None]) -> bytes:
    """The file after ``change`` of its object-API model."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    change(model)
    packer = flatbuffers.Builder(1024)
    packer.Finish(model.Pack(packer), file_identifier=b"TFL3")
    return bytes(packer.Output())


def assert_equal_to_micro(data: bytes, seed: int = 0) -> Graph:
    """The imported graph's references and TFLite-Micro on the file give the same integers."""
    graph = import_tflite(data)
    micro = TfliteMicro(data, graph)
    state = initial_state(graph)
    for feed in random_feeds(graph, np.random.default_rng(seed), 6):
        for ours, theirs in zip(outputs(graph, feed, state), micro.run(feed), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    return graph
