# SPDX-License-Identifier: Apache-2.0
"""TFLite flatbuffers that TFLite-Micro runs."""

from tinyml.writers.tflite.writer import write_tflite

__all__ = ["write_tflite"]
