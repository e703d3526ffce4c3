# SPDX-License-Identifier: Apache-2.0
"""Keras models and SavedModel folders, through TensorFlow's own converter."""

from tinyml.importers.keras.importer import is_keras, keras_to_tflite

__all__ = ["is_keras", "keras_to_tflite"]
