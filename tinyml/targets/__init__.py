# SPDX-License-Identifier: Apache-2.0
"""Boards a model can be compiled for: one TOML file each."""

from tinyml.targets.target import (
    Qemu,
    Target,
    list_targets,
    load_target,
    target_from_json,
)

__all__ = ["Qemu", "Target", "list_targets", "load_target", "target_from_json"]
