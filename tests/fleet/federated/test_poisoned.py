# SPDX-License-Identifier: Apache-2.0
"""One of eight agents in C has poisoned samples; measured as in bench/poisoned.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.poisoned import measure


@pytest.mark.long
@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="no mosquitto")
def test_robust_strategies_hold_their_accuracy(tmp_path: Path):
    found = measure(tmp_path, 30)
    assert found["none", "fedavg"] > 0.9
    # The bar is two points; on 360 samples, and streams that go on from run to run, the test
    # leaves two more to chance.
    for attack in ("labels", "scaled"):
        for strategy in ("krum", "multikrum", "trimmedmean"):
            assert found[attack, strategy] >= found["none", strategy] - 0.04, found
        assert found[attack, "trimmedmean"] >= found["none", "fedavg"] - 0.04, found
    assert found["scaled", "fedavg"] < found["none", "fedavg"] - 0.2, found
