# SPDX-License-Identifier: Apache-2.0
"""Where kernels of dual multiplications and of vectors run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.firmware.hand_model import need
from tests.tinyml.passes.test_attention import SANITIZED
from tinyml.targets import Target, load_target


@pytest.fixture(params=["host dsp", "host mve", "cortex-m4", "cortex-m55"])
def board(request: pytest.FixtureRequest) -> Target:
    """An emulated core, or this machine with the plain C of a core's kernels under sanitizers."""
    name, _, feature = request.param.partition(" ")
    target = load_target(name)
    if feature:
        return replace(target, flags=SANITIZED, features=(feature,))
    need(target)
    return target
