# SPDX-License-Identifier: Apache-2.0
"""The fuzzers build and find nothing in a few seconds; `make fuzz` gives them minutes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.devices.build import firmware_root


@pytest.mark.long
def test_fuzzers_find_nothing(crypto: Path, tmp_path: Path):
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    script = firmware_root().parent / "scripts" / "fuzz"
    done = subprocess.run(
        [script, crypto, tmp_path, "10"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("number_of_executed_units") == 3
