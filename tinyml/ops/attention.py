# SPDX-License-Identifier: Apache-2.0
"""Single-head attention whose keys are its values, as one operator. Made by
`passes.fuse_attention` for C only: one query row at a time, so that no matrix of scores exists. It
computes what the operators it replaces compute, bit for bit, because it is defined by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tinyml.ir.graph import Node
from tinyml.ir.operator import Operator, Shape
from tinyml.ir.tensor import Array, Tensor
from tinyml.kernels import included
from tinyml.ops.batch_matmul import BatchMatMul
from tinyml.ops.masked_softmax import MaskedSoftmax
from tinyml.ops.softmax import exponentials

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

# More keys could overflow 32 bits: 32767 * 255 * 257 < 2**31.
MOST_KEYS = 257
# By instruction set with a kernel of its own: what divides the depth of its keys.
_FAST = {"dsp": 8, "mve": 16}


@dataclass(frozen=True, eq=False)  # one is the same as itself only: it holds arrays
class Attention(Operator):
    """Inputs: queries (1, m, d) int8, keys (1, n, d) int8, ids (1, n) int32; output (1, m, d)
    int16.

    Args:
        parts: product of queries and keys, masked softmax, keys as int16, product of weights
            and keys.
        tensors: every tensor the parts name.
    """

    parts: tuple[Node, Node, Node, Node]
    tensors: tuple[Tensor, ...]
    kind: ClassVar[str] = "attention"
    has_int16: ClassVar[bool] = True

    def infer(self, inputs: Sequence[Shape]) -> Shape:
        queries, keys, ids = inputs
        if queries[0] != keys[0] or queries[-1] != keys[-1] or ids != (1, keys[1]):
            raise ValueError(f"attention: {queries}, {keys} and {ids} do not fit")
        return queries

    def macs(self, inputs: Sequence[Shape], output: Shape) -> int:
        return 2 * output[1] * output[2] * inputs[1][1]

    def run_float(self, inputs: Sequence[Array]) -> Array:
        raise NotImplementedError("attention is fused on integer graphs only")

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        known = {t.name: t for t in self.tensors}
        scores, _, _, context = self.parts
        names = (*scores.inputs, self.parts[1].inputs[1])
        values: dict[str, Array] = dict(zip(names, inputs, strict=True))
        for node in self.parts:
            read = [known[i] for i in node.inputs]
            values[node.output] = node.op.run_int(
                [values[i] for i in node.inputs], read, known[node.output]
            )
        return values[context.output]

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError("attention is fused after the TFLite model is written")

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError("attention is fused after the ONNX model is written")

    def c_scratch(self, ins: Sequence[Tensor], out: Tensor, isa: str) -> int:
        keys, depth = ins[1].shape[1:]
        # Weights and scores of a query row, and the widened query or sums of a context row.
        if _isa(depth, isa) == "dsp":
            return 2 * depth + 2 * (keys + 1) + keys
        if _isa(depth, isa) == "mve":
            return 2 * keys + keys
        return 4 * depth + 2 * keys + keys

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        queries, keys, ids = ins
        known = {t.name: t for t in self.tensors}
        first, softmax, _, second = self.parts
        assert isinstance(first.op, BatchMatMul)
        assert isinstance(second.op, BatchMatMul)
        assert isinstance(softmax.op, MaskedSoftmax)
        scores = known[first.output]
        shape = c.shape(
            "tml_attention_t",
            {
                "queries": out.shape[1],
                "keys": keys.shape[1],
                "depth": keys.shape[2],
                "padding": softmax.op.padding,
            },
        )
        header = [queries.q.z, keys.q.z, scores.q.z]
        header += first.op.multiplier([known[i] for i in first.inputs], scores)
        header += second.op.multiplier([known[i] for i in second.inputs], known[second.output])
        record = c.record(header, np.asarray(exponentials(scores), np.int32))
        arguments = (c.read(queries), c.read(keys), c.read(ids), c.write(out), c.scratch())
        fast = _isa(keys.shape[2], c.isa)
        c.call(f"tml_attention_s8_s16{fast and '_'}{fast}", shape, record, *arguments)
        if fast == "dsp":
            c.kernels.update(("tml_dsp_scores_4", "tml_dsp_columns_8"))


def _isa(depth: int, isa: str) -> str:
    """The instruction set whose own kernel computes keys of ``depth`` values, "" for none."""
    able = (i for i in included(isa.partition("/")[0]) if i in _FAST and depth % _FAST[i] == 0)
    return next(able, "")
