# SPDX-License-Identifier: Apache-2.0
"""PyTorch models, through PyTorch's own ONNX exporter."""

from tinyml.importers.pytorch.importer import load_module, module_to_onnx

__all__ = ["load_module", "module_to_onnx"]
