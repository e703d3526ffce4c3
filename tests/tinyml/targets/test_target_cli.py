# SPDX-License-Identifier: Apache-2.0
"""A user's own board from the command line: it is compiled for, or one error names what is wrong
and nothing is left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.tinyml.runtimes.test_kernels import bouquet
from tests.tinyml.targets.test_targets import GOOD, REGIONS
from tests.tinyml.test_cli import tinyml
from tinyml.writers.tflite import write_tflite

BOARD = GOOD.replace('flags = ["-mcpu=cortex-m4"]', 'flags = ["-mcpu=cortex-m4", "-mthumb", "-O2"]')
SLOW = "[slow_weights]\ncopy_bytes = 8192\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.tflite"
    path.write_bytes(write_tflite(bouquet(4, 6, 5)))
    return path


def export(model: Path, folder: Path, board: str, *more: str):
    path = folder / "board.toml"
    path.write_text(board)
    out = folder / "out"
    return out, tinyml("export", model, "--target", path, "--out", out, *more)


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no Arm compiler")
def test_a_board_that_is_not_emulated(model, tmp_path):
    """Built for it, verified on this machine; no instructions are claimed."""
    out, done = export(model, tmp_path, BOARD, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["target"]["name"] == "mine"
    assert report["instructions"] is None
    assert "C on the host" in {c["runtime"] for c in report["checks"]}
    assert (out / "c").is_dir()


@pytest.mark.parametrize(
    ("board", "named"),
    [
        (BOARD.replace("65536", "-65536"), "ram_bytes = -65536 is not between 1 and"),
        (BOARD.replace("65536", "0"), "ram_bytes = 0 is not between 1 and"),
        (BOARD.replace("524288", "0"), "flash_bytes = 0 is not between 1 and"),
        (BOARD.replace("524288", "99999999999999999999"), "flash_bytes = 99999999999999999999"),
        (BOARD.replace("65536", "nan"), "'ram_bytes' must be a whole number, not nan"),
        (BOARD.replace("65536", "40"), "RAM"),
        (BOARD.replace("524288", "40"), "flash"),
        (BOARD + REGIONS.replace("32768", "65536"), "the regions hold 81,920 B"),
        (BOARD + REGIONS.replace("16384", "8").replace("32768", "8"),
         "do not fit the target's regions"),
        (BOARD + REGIONS.replace("bytes = 32768", "bytes = 32768\nalignment = 3"),
         "unknown key regions.alignment"),
        (BOARD + REGIONS.replace("bytes = 32768", "bytes = 32768\naddress = 0"),
         "unknown key regions.address"),
        (BOARD + "stack = 1\n", "unknown key stack"),
        (BOARD + SLOW.replace("8192", "65537"), "slow_weights.copy_bytes = 65537"),
        (BOARD.replace('"mine"', '""'), "'name' and 'compiler' must not be empty"),
        (BOARD.replace('"dsp"', '"warp"'), "unknown features warp"),
        (BOARD.replace("mps2_an386", "moonboard"), "there is no port 'moonboard'"),
        (BOARD.replace("mps2_an386", "../../tests"), "there is no port '../../tests'"),
        (BOARD.replace("arm-none-eabi-gcc", "arm-nothing-gcc"), "'arm-nothing-gcc' is not"),
        (BOARD.replace("cortex-m4", "cortex-m99"), "cortex-m99"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_error(model, tmp_path, board, named):
    if "cortex-m99" in board and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("no Arm compiler")
    out, done = export(model, tmp_path, board)
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert named in errors[0]
    assert "Traceback" not in done.stderr
    assert not out.exists()
