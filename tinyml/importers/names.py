# SPDX-License-Identifier: Apache-2.0
"""Names of layers and tensors as C identifiers."""

from __future__ import annotations

import re


def identifier(text: str) -> str:
    """The text in lower case with everything but letters, digits and _ replaced."""
    cleaned = re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_").lower()
    if not cleaned:
        return "unnamed"
    return cleaned if not cleaned[0].isdigit() else f"m_{cleaned}"
