# SPDX-License-Identifier: Apache-2.0
"""Layer normalisation: expanded, its integers near the reals on every runtime; fused, the same
integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.firmware.hand_model import need
from tinyml.export import write_c_folder
from tinyml.ir import DType, Graph, Node, Tensor
from tinyml.ir.execute import outputs
from tinyml.ir.execute import run as run_graph
from tinyml.ops import Add, FullyConnected, LayerNorm, Mean, Mul, Norm, Rsqrt
from tinyml.passes import C_PASSES, attach_scaling, run_passes
from tinyml.passes.expand_layer_norm import ExpandLayerNorm
from tinyml.passes.fuse_norms import FuseNorms
from tinyml.plan import plan_memory
from tinyml.quantize import QuantiseOptions, choose
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.runtimes.interpreters import TfliteMicro
from tinyml.samples import quantised_feeds
from tinyml.targets import load_target
from tinyml.writers.c import write_c
from tinyml.writers.tflite import write_tflite

ROWS, WIDTH = 6, 20


def constant(graph: Graph, name: str, values: np.ndarray) -> str:
    return graph.add(Tensor(name, values.shape, data=np.asarray(values, np.float32)))


def layer_norm(*, gain: bool, offset: bool, reader: str = "add") -> Graph:
    """A normalisation of a sum, read by another sum or by a fully connected layer."""
    rng = np.random.default_rng(0)
    graph = Graph("norm", {}, [], ["x"], ["out"])
    shape = (1, ROWS, WIDTH)
    for name in ("x", "stream", "normal", "out"):
        graph.tensors[name] = Tensor(name, shape)
    gains = rng.uniform(0.5, 2, WIDTH) if gain else np.ones(WIDTH)
    offsets = rng.standard_normal(WIDTH) if offset else np.zeros(WIDTH)
    graph.nodes = [
        Node(Add(), ("x", "x"), "stream", "stream"),
        Node(
            LayerNorm(),
            ("stream", constant(graph, "g", gains), constant(graph, "o", offsets)),
            "normal",
            "norm",
        ),
    ]
    if reader == "add":
        graph.nodes.append(Node(Add(), ("normal", "stream"), "out", "sum"))
    else:
        weights = rng.standard_normal((WIDTH, WIDTH)) / 4
        names = (constant(graph, "w", weights), constant(graph, "b", np.ones(WIDTH)))
        graph.nodes.append(Node(FullyConnected(), ("normal", *names), "out", "dense"))
    graph.check()
    return graph


def samples(count: int) -> list[dict[str, np.ndarray]]:
    """Rows whose sizes differ by a hundred, on offsets."""
    rng = np.random.default_rng(1)
    sizes = 10.0 ** rng.uniform(-1, 1, (count, 1, ROWS, 1))
    values = rng.standard_normal((count, 1, ROWS, WIDTH)) * sizes + rng.uniform(-5, 5)
    return [{"x": v.astype(np.float32)} for v in values]


def quantised(graph: Graph) -> tuple[Graph, Graph]:
    """After expansion: the float graph and its integers."""
    expanded = run_passes(graph, [ExpandLayerNorm()])
    return expanded, choose(expanded, samples(16), QuantiseOptions()).graph


@pytest.mark.parametrize("reader", ["add", "dense"])
@pytest.mark.parametrize(("gain", "offset"), [(False, False), (True, False), (True, True)])
def test_integers(tmp_path, gain, offset, reader):
    """Expanded is equal to the layer in reals, TFLite-Micro to the integers, and so is the fused
    kernel under sanitizers; the signal is kept."""
    expanded, graph = quantised(layer_norm(gain=gain, offset=offset, reader=reader))
    folded = reader == "dense"
    assert sum(isinstance(n.op, Mul) for n in expanded.nodes) == 2 + (gain and not folded)
    c_graph = run_passes(graph, [FuseNorms()])
    norms = [n for n in c_graph.nodes if isinstance(n.op, Norm)]
    assert len(norms) == 1 and not any(isinstance(n.op, Rsqrt | Mean) for n in c_graph.nodes)
    signal = noise = 0.0
    micro = TfliteMicro(write_tflite(graph), graph)
    feeds = [quantised_feeds(graph, [s])[0] for s in samples(6)]
    rng = np.random.default_rng(2)
    extreme = rng.choice([-32768, 32767, 0], (1, ROWS, WIDTH))
    limits = graph.tensors["x"].dtype.limits
    feeds.append({"x": np.clip(extreme, *limits).astype(graph.tensors["x"].dtype.numpy)})
    feeds.append({"x": np.zeros_like(feeds[0]["x"])})
    for index, feed in enumerate(feeds):
        integers = outputs(graph, feed)[0]
        np.testing.assert_array_equal(outputs(c_graph, feed)[0], integers)
        np.testing.assert_array_equal(micro.run(feed)[0], integers)
        if index < 6:
            # The input's own rounding is not the layer's.
            given = {"x": graph.tensors["x"].q.dequantise(feed["x"])}
            real = run_graph(expanded, given)["out"].astype(float)
            signal += np.sum(np.square(real))
            noise += np.sum(np.square(real - graph.tensors["out"].q.dequantise(integers)))
    # int8 weights and output follow where a fully connected layer reads.
    assert 10 * np.log10(signal / noise) > (28 if folded else 35)
    write_c_folder(write_c(c_graph, plan_memory(c_graph)), c_graph.name, tmp_path / "c")
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    host = replace(load_target("host"), flags=flags)
    program = build_program(tmp_path / "c", c_graph.name, host, tmp_path / "b")
    seen = run_program(program, host, c_graph, feeds).outputs
    for feed, found in zip(feeds, seen, strict=True):
        np.testing.assert_array_equal(found[0], outputs(c_graph, feed)[0])


@pytest.mark.parametrize("name", ["cortex-m0", "cortex-m4", "cortex-m55", "riscv32"])
def test_boards(tmp_path, name):
    target = load_target(name)
    need(target)
    graph = quantised(layer_norm(gain=True, offset=True))[1]
    c_graph = run_passes(graph, C_PASSES)
    plan = plan_memory(c_graph, target.isa)
    write_c_folder(write_c(c_graph, plan, target.isa), c_graph.name, tmp_path / "c")
    feeds = [quantised_feeds(graph, [s])[0] for s in samples(2)]
    program = build_program(tmp_path / "c", c_graph.name, target, tmp_path / "b")
    seen = run_program(program, target, c_graph, feeds).outputs
    for feed, found in zip(feeds, seen, strict=True):
        np.testing.assert_array_equal(found[0], outputs(graph, feed)[0])


def test_a_chain_whose_middle_is_read_stays():
    graph = quantised(layer_norm(gain=False, offset=False))[1]
    middle = next(n.output for n in graph.nodes if isinstance(n.op, Rsqrt))
    graph.outputs = [*graph.outputs, middle]
    made = run_passes(graph, [FuseNorms()])
    assert not any(isinstance(n.op, Norm) for n in made.nodes)


def test_float_is_pytorchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((1, 5, 16)) * 3 + 2).astype(np.float32)
    gain, offset = (rng.standard_normal(16).astype(np.float32) for _ in range(2))
    ours = LayerNorm(1e-5).run_float([x, gain, offset])
    theirs = torch.nn.functional.layer_norm(*map(torch.from_numpy, (x,)), (16,),
        torch.from_numpy(gain), torch.from_numpy(offset), 1e-5)  # fmt: skip
    np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-6)


def test_statistics_and_stream_are_wide():
    graph = quantised(layer_norm(gain=False, offset=False))[1]
    kinds = {n.op.kind: graph.out(n).dtype for n in graph.nodes if n.name != "sum"}
    assert kinds["rsqrt"] is kinds["mean"] is kinds["sub"] is DType.INT16
    assert graph.tensors["stream"].dtype is DType.INT16
    assert attach_scaling(graph) is graph
