# SPDX-License-Identifier: Apache-2.0
"""Whether a device can take a release, asked before anything is sent; the device asks again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.domain.registry import DeviceState


def why_not(requirements: Mapping[str, Any], vendor: str, device: Mapping[str, Any]) -> str:
    """Why a device must be left out, empty when it can take the release.

    Args:
        requirements: of the release: abi, arena_bytes, slot_bytes, classes.
        vendor: that signs.
        device: its row.
    """
    if device["state"] == DeviceState.REVOKED:
        return "is revoked"
    if device["hardware"] is None:
        return "has never said hello, so its hardware is unknown"
    if device["vendor"] != vendor:
        return f"is made by {device['vendor']}, the release is for {vendor}"
    if device["hardware"] not in requirements["classes"]:
        return f"has class {device['hardware']}, the release is for " + ", ".join(
            requirements["classes"]
        )
    if device["abi"] != requirements["abi"]:
        return f"runs a network of ABI {device['abi']}, the weights are for {requirements['abi']}"
    if device["arena_bytes"] < requirements["arena_bytes"]:
        lacking = requirements["arena_bytes"] - device["arena_bytes"]
        return f"lacks {lacking:,} B of RAM for activations"
    if device["slot_bytes"] < requirements["slot_bytes"]:
        lacking = requirements["slot_bytes"] - device["slot_bytes"]
        return f"lacks {lacking:,} B in its slot"
    return ""
