# SPDX-License-Identifier: Apache-2.0
"""Whole models: our own files back, and other people's against TFLite-Micro layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.tinyml.importers.tflite.files import edited
from tests.tinyml.runtimes.test_kernels import bouquet
from tests.tinyml.single_op import random_feeds
from tinyml.importers.tflite import import_tflite
from tinyml.ir.execute import outputs, run
from tinyml.runtimes.interpreters import LiteRt, TfliteMicro
from tinyml.writers.tflite import write_tflite


@pytest.mark.parametrize("seed", range(4))
def test_a_written_graph_reads_back_tensor_by_tensor(seed):
    graph = bouquet(seed, 32, 8)
    again = import_tflite(write_tflite(graph))
    assert again.name == graph.name
    assert (again.inputs, again.outputs) == (graph.inputs, graph.outputs)
    for feed in random_feeds(graph, np.random.default_rng(seed), 2):
        expected, seen = run(graph, feed), run(again, feed)
        assert set(expected) <= set(seen)
        for name, value in expected.items():
            np.testing.assert_array_equal(seen[name], value, name)


@pytest.mark.parametrize("model", ["person_detect", "micro_speech_quantized", "hello_world_int8"])
def test_a_foreign_model_equals_tflite_micro(shared_data, model):
    data = (shared_data / "models" / f"{model}.tflite").read_bytes()
    graph = import_tflite(data)
    runtime = TfliteMicro(data, graph)
    for feed in random_feeds(graph, np.random.default_rng(1), 8):
        for ours, theirs in zip(outputs(graph, feed), runtime.run(feed), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("model", ["person_detect", "micro_speech_quantized", "hello_world_int8"])
def test_every_layer_of_a_foreign_model_equals_litert(shared_data, model):
    """By name: tensors keep the names that the file gives them."""
    data = (shared_data / "models" / f"{model}.tflite").read_bytes()
    graph = import_tflite(data)
    runtime = LiteRt(edited(data, bias_axes_to_zero))
    own = {n.output for n in graph.nodes if n.output.endswith("_inner")}
    for feed in random_feeds(graph, np.random.default_rng(2), 1):
        ours, theirs = run(graph, feed), runtime.run(feed)
        assert len(ours) == len(graph.nodes) + len(graph.inputs)
        for name in set(ours) - own:
            np.testing.assert_array_equal(ours[name], theirs[name], name)


def bias_axes_to_zero(model) -> None:
    """Old converters gave a bias the axis of its weights, which LiteRT refuses to load."""
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == schema.TensorType.INT32 and tensor.quantization is not None:
            tensor.quantization.quantizedDimension = 0


def test_person_detect_gives_the_recorded_output(shared_data):
    graph = import_tflite(shared_data / "models" / "person_detect.tflite")
    assert graph.name == "person_detect"
    x = graph.tensors[graph.inputs[0]]
    state, values = 12345, []
    for _ in range(x.elements):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(state >> 24)
    feed = {x.name: np.array(values, np.uint8).view(np.int8).reshape(x.shape)}
    digest = 0x811C9DC5
    for byte in outputs(graph, feed)[0].tobytes():
        digest = (digest ^ byte) * 0x01000193 % 2**32
    assert f"{digest:08x}" == "3b40bff1"


def test_a_foreign_model_written_again_still_equals_itself(shared_data):
    graph = import_tflite(shared_data / "models" / "micro_speech_quantized.tflite")
    runtime = TfliteMicro(write_tflite(graph), graph)
    for feed in random_feeds(graph, np.random.default_rng(3), 4):
        np.testing.assert_array_equal(runtime.run(feed)[0], outputs(graph, feed)[0])


def test_repeated_and_awkward_tensor_names_are_made_unique_and_printable():
    graph = bouquet(0, 32, 8)

    def rename(model):
        for index, tensor in enumerate(model.subgraphs[0].tensors):
            tensor.name = [b"same", b'a "quoted\\ \n name', b"same_1", b"\xff\xfe", b""][index % 5]

    again = import_tflite(edited(write_tflite(graph), rename))
    names = list(again.tensors)
    assert len(set(names)) == len(names) > 5
    assert all(n.isprintable() and '"' not in n and "\\" not in n for n in names)
    assert len(again.nodes) == len(import_tflite(write_tflite(graph)).nodes)


def test_the_name_given_wins_and_becomes_an_identifier():
    data = write_tflite(bouquet(0, 16, 4))
    assert import_tflite(data, "My model 2.0").name == "my_model_2_0"
