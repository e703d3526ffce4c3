# SPDX-License-Identifier: Apache-2.0
"""A small EmbBERT-Q from PyTorch to the integers of every runtime, and the published one's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tinyml.errors import CalibrationError, ImportModelError
from tinyml.export import compile_model, write_c_folder
from tinyml.importers.onnx import import_onnx
from tinyml.importers.pytorch import module_to_onnx
from tinyml.importers.tflite import import_tflite
from tinyml.ir import DType
from tinyml.measure import float_accuracy
from tinyml.ops import Attention, Norm, SequenceConv
from tinyml.passes import c_passes, run_passes
from tinyml.samples import Samples, quantised_feeds, random_samples
from tinyml.source import Source
from tinyml.targets import load_target
from tinyml.verify import reference_outputs, verify_c, verify_interpreters
from tinyml.writers.onnx import write_onnx
from tinyml.writers.tflite import write_tflite
from tinyml.zoo import get_model
from tinyml.zoo.embbert.deploy import deployable
from tinyml.zoo.embbert.model import Classifier, EmbBertConfig

LENGTH = 24
SMALL = EmbBertConfig(vocabulary=90, length=32, width=32, reduced=8, layers=3, kernel=8)


def texts(count: int, length: int, vocabulary: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    ids = rng.integers(5, vocabulary, (count, length)).astype(np.int32)
    ids[:, 0] = 2
    for row, used in zip(ids, rng.integers(1, length + 1, count), strict=True):
        row[used:] = 0
    return ids


@pytest.fixture(scope="module")
def source() -> Source:
    torch.manual_seed(0)
    module = deployable(Classifier(SMALL, 3), LENGTH)
    onnx = module_to_onnx(module, [(1, LENGTH)], ids=True)
    return Source("small", "small", onnx, {})


def test_integers_are_equal_everywhere(source: Source, tmp_path: Path):
    samples = Samples("random texts", {"": texts(24, LENGTH, SMALL.vocabulary)})
    host = load_target("host")
    made = compile_model(source, host, samples)
    kinds = [type(n.op) for n in made.c_graph.nodes]
    assert kinds.count(Attention) == kinds.count(Norm) == kinds.count(SequenceConv) == 3
    feeds = quantised_feeds(made.graph, samples.take(6).fit(made.graph))
    expected = reference_outputs(made.graph, feeds)
    files = write_tflite(made.graph), write_onnx(made.graph)
    checks = verify_interpreters(made.graph, *files, feeds, expected)
    assert {c.runtime for c in checks} >= {"TFLite-Micro interpreter", "LiteRT reference kernels"}
    write_c_folder(made.c_model, made.graph.name, tmp_path / "c")
    verify_c(made.c_graph, tmp_path / "c", host, feeds, expected, tmp_path / "b")
    # Rows of the padding are not made: a short text costs less, and says the same.
    assert made.c_model.files["small.c"].count("tml_used_rows") >= 3
    # No tensor of the C is n x n, nor wider than one row between the layers.
    assert made.plan.arena_bytes < 2 * LENGTH * 32 + 4 * LENGTH + 2200


def test_the_written_model_reads_back(source: Source):
    """`tinyml run` and `verify` have nothing but the files."""
    samples = Samples("random texts", {"": texts(24, LENGTH, SMALL.vocabulary)})
    made = compile_model(source, load_target("host"), samples)
    read = import_tflite(write_tflite(made.graph), made.graph.name)
    feeds = quantised_feeds(made.graph, samples.take(6).fit(made.graph))
    assert read.inputs == made.graph.inputs
    for a, b in zip(
        reference_outputs(read, feeds), reference_outputs(made.graph, feeds), strict=True
    ):
        np.testing.assert_array_equal(a[0], b[0])
    kinds = [n.op.kind for n in run_passes(read, c_passes()).nodes]
    assert kinds == [n.op.kind for n in made.c_graph.nodes]


def test_padding_changes_no_integer(source: Source):
    samples = Samples("random texts", {"": texts(24, LENGTH, SMALL.vocabulary)})
    made = compile_model(source, load_target("host"), samples)
    ids = texts(24, LENGTH, SMALL.vocabulary)[:1]
    ids[:, 9:] = 0
    graph = made.graph
    wanted = reference_outputs(graph, [{graph.inputs[0]: ids}])[0][0]
    # What the table holds for [PAD] is never read.
    table = next(n.inputs[0] for n in graph.nodes if n.op.kind == "gather")
    data = graph.tensors[table].values.copy()
    data[0] = -data[0]
    changed = graph.copy()
    changed.tensors[table] = graph.tensors[table].with_data(data, graph.tensors[table].quant)
    found = reference_outputs(changed, [{graph.inputs[0]: ids}])[0][0]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("wrong", [SMALL.vocabulary, -1, 7.5])
def test_ids_outside_the_table_are_refused(source: Source, wrong: float):
    ids = texts(3, LENGTH, SMALL.vocabulary).astype(np.float32)
    ids[1, 0] = wrong
    with pytest.raises(CalibrationError, match=f"sample 1 .* holds {wrong:g}; ids are integers"):
        compile_model(source, load_target("host"), Samples("mine", {"": ids}))


def test_the_float_model_takes_ids_from_a_users_file(source: Source):
    ids = texts(6, LENGTH, SMALL.vocabulary).astype(np.float32)
    labels = np.zeros(6, np.int64)
    assert 0 <= float_accuracy(source.onnx, Samples("mine.npz", {"": ids}, labels)) <= 1


def test_random_ids_are_in_the_table(source: Source):
    """What an int8 model without samples is verified on."""
    made = compile_model(
        source, load_target("host"), Samples("", {"": texts(2, LENGTH, SMALL.vocabulary)})
    )
    random_samples(made.graph, 4).columns(made.graph)


def test_other_masks_are_refused():
    class Odd(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = ids.float().unsqueeze(1)
            return torch.where((ids == 0).unsqueeze(1), 5.0, x).softmax(-1)

    onnx = module_to_onnx(Odd(), [(1, 6)], ids=True)
    with pytest.raises(ImportModelError, match="unsupported"):
        import_onnx(onnx, "odd")


def test_ids_are_int32():
    torch.manual_seed(0)
    graph = import_onnx(
        module_to_onnx(deployable(Classifier(SMALL, 3), LENGTH), [(1, LENGTH)], ids=True), "small"
    )
    assert graph.tensors[graph.inputs[0]].dtype is DType.INT32


@pytest.mark.parametrize(
    ("name", "arena"), [("embbert-q-spam", 72 * 1024), ("embbert-q-spam-64", 24 * 1024)]
)
def test_the_published_configuration_fits_its_budget(name: str, arena: int):
    """Weights of 360 kB; RAM of 72 KiB at 256 tokens, 24 KiB at 64. Ranges come from random ids:
    sizes do not depend on them."""
    model = get_model(name)
    source = Source(name, "embbert", model.to_onnx(), {})
    samples = Samples("random texts", {"": texts(2, model.length, 8192)})  # type: ignore[attr-defined]
    made = compile_model(source, load_target("cortex-m4"), samples)
    assert made.plan.arena_bytes <= arena - 1024  # the stack needs less
    assert len(made.c_model.weights) <= 360_000
    assert made.plan.arena_bytes + len(made.c_model.weights) <= 440_000
