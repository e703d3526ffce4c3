# SPDX-License-Identifier: Apache-2.0
"""Keras files and SavedModel folders, quantised by TensorFlow, equal TFLite-Micro."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tests.tinyml.importers.tflite.files import assert_equal_to_micro
from tinyml.errors import ImportModelError
from tinyml.importers.keras import is_keras, keras_to_tflite
from tinyml.importers.tflite import import_tflite

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)


@pytest.fixture(scope="module")
def samples() -> dict:
    return {"": np.random.default_rng(0).normal(0, 1, (20, 12, 12, 3)).astype(np.float32)}


def network():
    import tensorflow as tf

    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(0)
    return tf.keras.Sequential(
        [
            layers.Input((12, 12, 3)),
            layers.Conv2D(8, 3, activation="relu", padding="same"),
            layers.DepthwiseConv2D(3, strides=2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, activation="softmax"),
        ]
    )


@needs_tensorflow
@pytest.mark.parametrize("kind", ["keras", "h5", "saved"])
def test_a_model_is_converted(tmp_path, samples, kind):
    model, path = network(), tmp_path / f"net.{kind}"
    if kind == "saved":
        model.export(path)
    else:
        model.save(path)
    assert is_keras(path)
    data = keras_to_tflite(path, samples)
    graph = assert_equal_to_micro(data)
    assert [n.op.kind for n in graph.nodes][:2] == ["conv2d", "depthwise_conv2d"]
    assert import_tflite(data, "net").name == "net"


@needs_tensorflow
def test_a_damaged_file_and_wrong_samples_are_named(tmp_path, samples):
    (tmp_path / "net.keras").write_bytes(b"nothing")
    with pytest.raises(ImportModelError, match=r"cannot convert .*net\.keras"):
        keras_to_tflite(tmp_path / "net.keras", samples)
    with pytest.raises(ImportModelError, match="does not exist"):
        keras_to_tflite(tmp_path / "gone.keras", samples)


def test_other_paths_are_no_keras_models(tmp_path):
    assert not is_keras(tmp_path)
    assert not is_keras(Path("model.onnx"))
