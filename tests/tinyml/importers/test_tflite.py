# SPDX-License-Identifier: Apache-2.0
"""Reading TFLite: our own files back, other people's, and damaged ones."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tinyml.runtimes.test_kernels import bouquet
from tests.tinyml.single_op import random_feeds
from tests.tinyml.specimens import graph_of, specimens
from tinyml.errors import ImportModelError
from tinyml.importers.tflite import import_tflite
from tinyml.ir.execute import outputs
from tinyml.runtimes.interpreters import TfliteMicro
from tinyml.writers.tflite import write_tflite


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["convolutional", "other"])
def test_what_the_writer_writes_reads_back_to_the_same_integers(seed, kind):
    rng = np.random.default_rng(seed)
    graph = bouquet(seed, 32, 8) if kind == "convolutional" else graph_of(rng, 1, specimens)
    again = import_tflite(write_tflite(graph))
    for feed in random_feeds(graph, np.random.default_rng(seed), 2):
        renamed = dict(zip(again.inputs, (feed[n] for n in graph.inputs), strict=True))
        for a, b in zip(outputs(graph, feed), outputs(again, renamed), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["person_detect", "micro_speech_quantized", "hello_world_int8"])
def test_models_made_elsewhere_equal_tflite_micro(shared_data, name):
    data = (shared_data / "models" / f"{name}.tflite").read_bytes()
    graph = import_tflite(data)
    runtime = TfliteMicro(data, graph)
    for feed in random_feeds(graph, np.random.default_rng(0), 2):
        for a, b in zip(outputs(graph, feed), runtime.run(feed), strict=True):
            np.testing.assert_array_equal(a, b)


def test_person_detect_gives_the_recorded_output(shared_data):
    graph = import_tflite(shared_data / "models" / "person_detect.tflite")
    state, values = 12345, []
    for _ in range(graph.tensors[graph.inputs[0]].elements):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(state >> 24)
    x = np.array(values, np.uint8).view(np.int8).reshape(graph.tensors[graph.inputs[0]].shape)
    digest = 0x811C9DC5
    for byte in outputs(graph, {graph.inputs[0]: x})[0].tobytes():
        digest = (digest ^ byte) * 0x01000193 % 2**32
    assert f"{digest:08x}" == "3b40bff1"


def test_damaged_files_are_refused_without_a_crash():
    """Only ImportModelError may escape; a byte that changes a weight is no damage."""
    data = write_tflite(bouquet(5, 16, 4))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(int(rng.integers(1, 6))):
            damaged[int(rng.integers(0, len(damaged)))] = int(rng.integers(0, 256))
        try:
            import_tflite(bytes(damaged))
        except ImportModelError:
            refused += 1
    assert refused > 50
    for length in range(0, len(data), 37):
        with pytest.raises(ImportModelError):
            import_tflite(data[:length])
