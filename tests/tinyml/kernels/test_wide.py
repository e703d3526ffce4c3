# SPDX-License-Identifier: Apache-2.0
"""Fully connected int16 layers: every kernel equals the integer reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.firmware.hand_model import need
from tests.tinyml.passes.test_attention import SANITIZED, assert_c_equals
from tests.tinyml.single_op import wide
from tinyml.ir import DType, Graph, Node, Quantisation, Tensor
from tinyml.kernels import wide_fully_connected
from tinyml.ops import FullyConnected
from tinyml.targets import Target, load_target

SIZES = [(1, 8, 4), (3, 16, 5), (2, 256, 18), (1, 520, 3), (2, 12, 4)]


def layer(rows: int, inputs: int, outputs: int, largest: int = 127) -> Graph:
    rng = np.random.default_rng(inputs)
    scale = Quantisation.per_channel(rng.uniform(0.001, 0.01, outputs), 0)
    values = rng.integers(-largest, largest + 1, (outputs, inputs)).astype(np.int8)
    values[0] = largest  # the largest sum that there can be
    bias = rng.integers(-(1 << 40), 1 << 40, outputs)
    weights = Tensor("weights", values.shape, DType.INT8, scale, values)
    made = [
        wide("x", (rows, inputs), 0.001),
        weights,
        Tensor("bias", (outputs,), DType.INT64, scale, bias.astype(np.int64)),
        wide("out", (rows, outputs), 0.05),
    ]
    node = Node(FullyConnected(), ("x", "weights", "bias"), "out", "dense")
    graph = Graph("dense", {t.name: t for t in made}, [node], ["x"], ["out"])
    graph.check()
    return graph


def kernel(graph: Graph, isa: str) -> str:
    node = graph.nodes[0]
    assert isinstance(node.op, FullyConnected)
    return wide_fully_connected(node.op.c_layer(graph.ins(node), graph.out(node)), isa)[0]


@pytest.mark.parametrize("feature", ["dsp", "mve"])
@pytest.mark.parametrize("sizes", SIZES)
def test_on_the_host(tmp_path: Path, feature: str, sizes: tuple[int, int, int]):
    host = replace(load_target("host"), flags=SANITIZED, features=(feature,))
    graph = layer(*sizes)
    fast = sizes[1] % 8 == 0 and sizes[1] * 127 < 1 << 16
    assert kernel(graph, host.isa).endswith(feature) == fast
    assert_c_equals(graph, host, tmp_path, (0, 0))


@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m55"])
def test_on_boards(tmp_path: Path, name: str):
    target: Target = load_target(name)
    need(target)
    for number, sizes in enumerate(SIZES[:3]):
        assert_c_equals(layer(*sizes), target, tmp_path / str(number), (0,))


def test_sums_that_need_64_bits_take_the_portable_kernel():
    assert kernel(layer(1, 520, 3), "dsp") == "tml_fully_connected_s16"
    assert kernel(layer(1, 520, 3, largest=100), "dsp") == "tml_fully_connected_s16_dsp"
