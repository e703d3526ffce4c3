# SPDX-License-Identifier: Apache-2.0
"""Models with their data and training recipes. PyTorch is imported only when one is used."""

from tinyml.zoo.registry import ZooModel, get_model, list_models

__all__ = ["ZooModel", "get_model", "list_models"]
