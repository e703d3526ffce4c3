# SPDX-License-Identifier: Apache-2.0
"""A compiler from trained models to int8 TFLite-Micro, ONNX and C firmware that are equal.

What is named here is the public API; the fleet manager uses nothing else.
"""

from tinyml.errors import TinymlError
from tinyml.opened import open_export, read_report
from tinyml.targets import Target, list_targets, load_target
from tinyml.verify import reference_outputs

__all__ = [
    "Target",
    "TinymlError",
    "list_targets",
    "load_target",
    "open_export",
    "read_report",
    "reference_outputs",
]
