# SPDX-License-Identifier: Apache-2.0
"""Networks as PyTorch users write them: equal to PyTorch in float, equal on every runtime in
integers, and near each other."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
