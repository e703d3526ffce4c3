# SPDX-License-Identifier: Apache-2.0
"""Float ONNX models, as they come from PyTorch or any other exporter."""

from tinyml.importers.onnx.importer import import_onnx

__all__ = ["import_onnx"]
