# SPDX-License-Identifier: Apache-2.0
"""The presence example: its rooms, and the whole script with few rounds."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "presence"
RECORDED = Path(__file__).parents[3] / "shared" / "data" / "occupancy"


@pytest.fixture(scope="module")
def rooms() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rooms", FOLDER / "rooms.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rooms"] = module
    spec.loader.exec_module(module)
    return module


def test_simulated_rooms_differ_and_come_again(rooms: ModuleType):
    made = rooms.simulated(6)
    again = rooms.simulated(6)
    for room, same in zip(made, again, strict=True):
        assert np.array_equal(room.x, same.x) and room.x.dtype == np.float32
        assert np.all(np.isfinite(room.x)) and np.abs(room.x).max() < 30
        assert 0.05 < room.y[: room.first].mean() < 0.6 and 0.05 < room.later[1].mean() < 0.6
    assert len({room.x.tobytes() for room in made}) == 6


def test_more_people_more_co2(rooms: ModuleType):
    for room in rooms.simulated(6):
        there = room.y == 1
        assert room.x[there, 0].mean() > room.x[~there, 0].mean()


def test_labels_are_balanced_and_of_the_first_days(rooms: ModuleType):
    room = rooms.simulated(1)[0]
    x, y = room.labelled(32, np.random.default_rng(0))
    assert len(x) == 32 and y.sum() == 16
    first = {row.tobytes() for row in room.x[: room.first]}
    assert {row.tobytes() for row in x} <= first


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no recorded data")
def test_recorded_rooms(rooms: ModuleType):
    made = rooms.recorded(RECORDED)
    assert len(made) >= 4
    for room in made:
        assert room.x.shape == (len(room.y), 4) and 0 < room.first < len(room.y)
        assert set(np.unique(room.y)) == {0, 1}


@pytest.mark.long
@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="no mosquitto")
def test_the_script(tmp_path: Path):
    command = [sys.executable, FOLDER / "run.py", "--rounds", "5", "--rooms", "6"]
    done = subprocess.run(
        [*command, "--folder", tmp_path], capture_output=True, text=True, check=False, timeout=550
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^\| (\w+), (\w+) \| ([\d.]+)", done.stdout, re.MULTILINE)
    assert [row[:2] for row in found] == [
        (name, kind) for name in ("fedavg", "tinyreptile") for kind in ("common", "personal")
    ]
    assert all(float(value) > 0.6 for *_, value in found)
    assert "<svg" in (tmp_path / "presence.svg").read_text()
