# SPDX-License-Identifier: Apache-2.0
"""What `verify` demands of onnxruntime's outputs: no farther from the integers than two roundings
of one network may lie apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tinyml.errors import VerificationError  # noqa: E402
from tinyml.export import Compiled, compile_model  # noqa: E402
from tinyml.importers.pytorch import module_to_onnx  # noqa: E402
from tinyml.ir.execute import run  # noqa: E402
from tinyml.ir.real import run_real  # noqa: E402
from tinyml.report.terminal import bound_text, difference_text  # noqa: E402
from tinyml.samples import Samples, quantised_feeds  # noqa: E402
from tinyml.source import Source  # noqa: E402
from tinyml.targets import load_target  # noqa: E402
from tinyml.verify import reference_outputs, two_roundings, verify_interpreters  # noqa: E402
from tinyml.writers.onnx import write_onnx  # noqa: E402
from tinyml.writers.tflite import write_tflite  # noqa: E402

WIDTH = 16


@pytest.fixture(scope="module")
def samples() -> Samples:
    values = np.random.default_rng(0).standard_normal((64, WIDTH)).astype(np.float32)
    return Samples("normal", {"": values})


@pytest.fixture(scope="module")
def made(samples: Samples) -> Compiled:
    """Three layers and a table of GELU."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(WIDTH, WIDTH), torch.nn.GELU(), torch.nn.Linear(WIDTH, WIDTH)]
    module = torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Linear(WIDTH, 4)).eval()
    source = Source("net", "net", module_to_onnx(module, [(1, WIDTH)]), {})
    return compile_model(source, load_target("host"), samples)


def test_real_numbers_are_the_float_networks_but_for_rounding_of_weights(made, samples):
    """And all integers lie a rounding away from them, layer by layer."""
    assert made.float_graph is not None
    for feed in samples.take(8).fit(made.float_graph):
        integers = quantised_feeds(made.graph, [feed])[0]
        real, exact, coarse = (
            run_real(made.graph, integers),
            run(made.float_graph, feed),
            run(made.graph, integers),
        )
        for name, values in exact.items():
            q = made.graph.tensors[name].q
            assert np.abs(real[name] - values).max() <= 4 * q.s
            assert np.abs(coarse[name] - (real[name] / q.s + q.z)).max() <= 4


def test_real_numbers_end_where_the_grid_does(made):
    """A network whose output grid is four times too fine saturates most of its outputs."""
    graph = made.graph.copy()
    name = graph.outputs[0]
    q = graph.tensors[name].q
    graph.tensors[name] = replace(graph.tensors[name], quant=replace(q, scale=(q.s / 4,)))
    feed = {graph.inputs[0]: np.full((1, WIDTH), 127, np.int8)}
    low, high = graph.tensors[name].q.dequantise(np.array([-128, 127]))
    seen = run_real(graph, feed)[name]
    assert np.all((seen >= low) & (seen <= high)) and np.any((seen == low) | (seen == high))


def test_outputs_of_onnxruntime_have_a_bound(made, samples):
    feeds = quantised_feeds(made.graph, samples.fit(made.graph))
    expected = reference_outputs(made.graph, feeds)
    files = write_tflite(made.graph), write_onnx(made.graph)
    checks = verify_interpreters(made.graph, *files, feeds, expected)
    ends = [c for c in checks if c.runtime.startswith("onnx") and c.scope == "outputs"]
    assert len(ends) == 2 and all(c.rms_lsb is not None for c in ends)
    # More than the last rounding's own LSB, less than what would hide a wrong layer.
    assert all(c.rms_lsb < c.allowed_rms_lsb and 1 < c.allowed_rms_lsb < 4 for c in ends)
    assert bound_text(ends[0].to_json()) == f"RMS {ends[0].allowed_rms_lsb:.1f} LSB"
    assert difference_text(replace(ends[0], max_lsb=2, rms_lsb=0.26).to_json()) == "2 LSB, RMS 0.3"


def test_an_onnx_file_of_another_network_is_refused(made, samples):
    """One whose bias is off by a few steps of the output: every layer of ours is right, the file's
    outputs are not."""
    feeds = quantised_feeds(made.graph, samples.take(12).fit(made.graph))
    expected = reference_outputs(made.graph, feeds)
    other = made.graph.copy()
    bias = other.nodes[-1].inputs[2]
    tensor = other.tensors[bias]
    steps = 5 * other.tensors[other.outputs[0]].q.s / np.array(tensor.q.scale)
    moved = (tensor.values + np.rint(steps)).astype(tensor.dtype.numpy)
    other.tensors[bias] = replace(tensor, data=moved)
    with pytest.raises(VerificationError, match=r"root mean square.* from the integer reference"):
        verify_interpreters(
            made.graph, write_tflite(made.graph), write_onnx(other), feeds, expected
        )


def test_a_reference_without_rounding_leaves_the_last_lsb(made, samples):
    """The bound is made of what rounds: exact outputs would leave one LSB."""
    feeds = quantised_feeds(made.graph, samples.take(4).fit(made.graph))
    q = made.graph.tensors[made.graph.outputs[0]].q
    name = made.graph.outputs[0]
    exact = [[run_real(made.graph, f)[name] / q.s + q.z] for f in feeds]
    assert two_roundings(made.graph, feeds, exact) == pytest.approx(1, abs=1e-4)
