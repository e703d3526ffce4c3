# SPDX-License-Identifier: Apache-2.0
"""Standalone C: a model, its weights blob, and the kernels it calls."""

from tinyml.writers.c.copies import worth_copying
from tinyml.writers.c.writer import CModel, write_c

__all__ = ["CModel", "worth_copying", "write_c"]
