# SPDX-License-Identifier: Apache-2.0
"""Networks as PyTorch users write them: equal to PyTorch in float, equal on every runtime in
integers, and near each other."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tests.tinyml.single_op import assert_equal_everywhere  # noqa: E402
from tinyml.importers.onnx import import_onnx  # noqa: E402
from tinyml.importers.pytorch import module_to_onnx  # noqa: E402
from tinyml.ir.execute import outputs, run_int_outputs  # noqa: E402
