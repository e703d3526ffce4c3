# SPDX-License-Identifier: Apache-2.0
"""int8 TFLite models: the integers of a file as an int8 Graph."""

from tinyml.importers.tflite.importer import import_tflite
from tinyml.importers.tflite.judge import why_not_micro

__all__ = ["import_tflite", "why_not_micro"]
