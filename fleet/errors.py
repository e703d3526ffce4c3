# SPDX-License-Identifier: Apache-2.0
"""Errors of the fleet that a user can cause: what is wrong, and the way out."""

from __future__ import annotations


class FleetError(Exception):
    """Base of every error shown to a user without a traceback; the command exits with status 1.

    Args:
        message: what is wrong, naming the device, release, rollout or option.
        hint: what to do about it, empty when the message already says so.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotFoundError(FleetError):
    """A named device, release, rollout or group does not exist."""


class ConflictError(FleetError):
    """The thing is not in a state in which the request makes sense."""


class InvalidError(FleetError):
    """A value is malformed or out of range."""
