# SPDX-License-Identifier: Apache-2.0
"""Errors a user can cause. Each says what is wrong, names the thing, and gives the way out."""

from __future__ import annotations


class TinymlError(Exception):
    """Base of every error shown to a user without a traceback; the command exits with code 1.

    Args:
        message: what is wrong, naming the file, layer or option.
        hint: what to do about it, empty when the message already says so.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ImportModelError(TinymlError):
    """The source model cannot be read or holds something the compiler does not support."""


class CalibrationError(TinymlError):
    """Calibration or test data do not fit the model."""


class QuantisationError(TinymlError):
    """The float model cannot be represented in int8 (NaN weights, dead ranges)."""


class TargetError(TinymlError):
    """The target is unknown, incomplete, or the model does not fit it."""


class ToolMissingError(TinymlError):
    """A compiler, emulator or Python package that the command needs is not installed."""


class VerificationError(TinymlError):
    """Two runtimes disagree on the same model."""


class DatasetError(TinymlError):
    """A data set or trained weights cannot be had or read."""


class LearnError(TinymlError):
    """A learner cannot be made as asked, or was given something it cannot learn from."""
