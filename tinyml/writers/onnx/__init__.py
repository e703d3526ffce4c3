# SPDX-License-Identifier: Apache-2.0
"""ONNX with quantise/dequantise pairs (QDQ), for onnxruntime and other ONNX engines."""

from tinyml.writers.onnx.writer import write_onnx

__all__ = ["write_onnx"]
