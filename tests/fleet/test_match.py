# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fleet.domain.match import Capacity, Requirements, match

sizes = st.integers(0, 2**24)


@given(flash=sizes, ram=sizes, has_flash=sizes, has_ram=sizes)
def test_a_model_fits_exactly_when_nothing_is_missing(flash, ram, has_flash, has_ram):
    fit = match(Requirements("m", flash, ram), Capacity("d", has_flash, has_ram))
    assert fit.fits == (flash <= has_flash and ram <= has_ram)
    assert fit.missing_flash == max(0, flash - has_flash)
    assert fit.missing_ram == max(0, ram - has_ram)


def fleet(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = "import sys; from fleet.cli import main; sys.argv[0] = 'fleet'; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_reads_reports(tmp_path: Path):
    report = {"files": {}, "target": {}, "model": {"name": "big"},
              "memory": {"flash": 300_000, "ram": 20_000}}  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(report))
    done = fleet("match", tmp_path, "--json")
    fits = {f["device"]: f for f in json.loads(done.stdout)}
    assert fits["cortex-m4"]["fits"]
    assert not fits["cortex-m0"]["fits"]
    assert fits["cortex-m0"]["missing_ram"] == 20_000 - 16_384


def test_a_folder_that_is_no_export(tmp_path: Path):
    done = fleet("match", tmp_path)
    assert done.returncode == 1
    assert "is no export" in done.stderr
