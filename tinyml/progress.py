# SPDX-License-Identifier: Apache-2.0
"""How long work reports its progress without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Advance = Callable[[], None]


class Progress(Protocol):
    """A listener. The command line shows bars; libraries may pass `silent`."""

    def __call__(self, label: str, total: int) -> Advance:
        """Announces a stage of ``total`` steps and returns what to call after each step."""


def silent(label: str, total: int) -> Advance:
    """Listens to nothing."""
    return lambda: None
