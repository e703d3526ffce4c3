# SPDX-License-Identifier: Apache-2.0
"""Bytes that devices download, by their digest, and how an export becomes a signed release."""

from fleet.artifacts.blobs import Blobs

__all__ = ["Blobs"]
