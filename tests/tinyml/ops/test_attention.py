# SPDX-License-Identifier: Apache-2.0
"""Masked softmax against the reals, TFLite-Micro and LiteRT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinyml.single_op import ids, seeds, zero_points
from tinyml.ir import DType, Graph, Node, Quantisation, Tensor
from tinyml.ir.execute import outputs
from tinyml.ops import MaskedSoftmax
from tinyml.quantize import calibrate, quantise
from tinyml.quantize.observers import MinMax
from tinyml.runtimes.interpreters import LiteRt, TfliteMicro
from tinyml.writers.tflite import write_tflite


def masked(rows: int, keys: int, scale: float, zero: int, padding: int = 0) -> Graph:
    op = MaskedSoftmax(padding)
    scores = Tensor("x", (1, rows, keys), DType.INT8, Quantisation.per_tensor(scale, zero))
    out = Tensor("out", scores.shape, DType.INT16, op.fixed_quantisation(DType.INT16))
    tensors = {"x": scores, "ids": ids("ids", (1, keys)), "out": out}
    graph = Graph("single", tensors, [Node(op, ("x", "ids"), "out", "l")], ["x", "ids"], ["out"])
    graph.check()
    return graph


def feed(rows: int, keys: int, real: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 9, (1, keys)).astype(np.int32)
    tokens[:, real:] = 0
    return {"x": rng.integers(-128, 128, (1, rows, keys)).astype(np.int8), "ids": tokens}


def reference(graph: Graph, values: dict[str, np.ndarray]) -> np.ndarray:
    node = graph.nodes[0]
    return node.op.run_int([values["x"], values["ids"]], graph.ins(node), graph.out(node))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 4),
    keys=st.integers(1, 300),
    part=st.floats(0, 1),
    scale=st.floats(0.002, 2),
    zero=zero_points,
    seed=seeds,
)
def test_integers(rows, keys, part, scale, zero, seed):
    graph = masked(rows, keys, scale, zero)
    data = write_tflite(graph)
    micro, lite = TfliteMicro(data, graph), LiteRt(data)
    for real in (round(part * keys), keys, 0):
        values = feed(rows, keys, real, seed)
        wanted = reference(graph, values)
        np.testing.assert_array_equal(micro.run(values)[0], wanted, "TFLite-Micro")
        np.testing.assert_array_equal(lite.run(values)["out"], wanted, "LiteRT")


@settings(max_examples=40, deadline=None)
@given(keys=st.integers(1, 257), scale=st.floats(0.06, 0.3), seed=seeds)
def test_reals(keys, scale, seed):
    """Weights are the softmax of the real keys, where the grid reaches far below the largest."""
    graph = masked(3, keys, scale, 0)
    values = feed(3, keys, max(1, keys // 2), seed)
    values["x"][:, :, 0] = 127  # 255 * 0.06 = 15.3 above the lowest
    real = MaskedSoftmax().run_float([graph.tensors["x"].q.dequantise(values["x"]), values["ids"]])
    found = reference(graph, values) / 32768
    assert np.abs(found - real).max() < 9 / 32768
    assert np.allclose(real.sum(-1), 1, atol=1e-5)
    assert not reference(graph, values)[..., max(1, keys // 2) :].any()


@settings(max_examples=20, deadline=None)
@given(keys=st.integers(2, 257), real=st.integers(1, 40), level=st.floats(-3, 3), seed=seeds)
def test_padding_takes_next_to_nothing_on_the_calibrated_grid(keys, real, level, seed):
    """Scores in a narrow band, as a short text has them: without `must_reach` the grid would end
    just below it, and what the padding counts would be most of the sum."""
    real = min(real, keys)
    scores = np.random.default_rng(seed).normal(level, 0.5, (1, 3, keys)).astype(np.float32)
    tokens = np.where(np.arange(keys) < real, 1, 0).astype(np.int32)[None]
    chain = masked(3, keys, 0.1, 0)
    chain.tensors = {
        k: replace(t, dtype=DType.FLOAT32, quant=None) for k, t in chain.tensors.items()
    }
    chain.tensors["ids"] = ids("ids", (1, keys))
    values = {"x": scores, "ids": tokens}
    made = quantise(chain, calibrate(chain, [values], MinMax()))
    weights = outputs(made, {"x": made.tensors["x"].q.quantise(scores), "ids": tokens})[0]
    assert np.abs(weights.sum(-1) / 32768 - 1).max() < 1 / 256 + keys / 32768
    assert calibrate(chain, [values], MinMax()).ranges["x"][0] < scores[..., :real].max() - 6


def test_no_key_at_all():
    assert not MaskedSoftmax().run_float([np.ones((1, 2, 3), np.float32), np.zeros((1, 3))]).any()


def test_ids_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit the scores"):
        MaskedSoftmax().infer([(1, 4, 5), (1, 4)])
