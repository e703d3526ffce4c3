# SPDX-License-Identifier: Apache-2.0
"""Bad plans are named before anything happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.errors import InvalidError
from fleet.federated.plan import read_plan


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('address = "there"\nclient = "c.py:app"', "address is HOST:PORT"),
        ('address = "10.0.0.1:8000"\nclient = "c.py:app"\ninsecure = true', "is for loopback"),
        ('address = "localhost:8000"\nclient = "no.py:app"', "there is no file"),
        ('address = "localhost:8000"\nclient = "c.py"', "FILE.py:NAME"),
        ('address = "localhost:8000"\nclient = "c.py:app"\nnodes = 0', "nodes must be above 0"),
    ],
)
def test_bad_superlink_tables_are_named(tmp_path: Path, table: str, why: str):
    (tmp_path / "c.py").write_text("app = None\n")
    plan = tmp_path / "plan.toml"
    plan.write_text(f'name = "a"\nexport = "e"\nstrategy = "fedavg"\n[superlink]\n{table}\n')
    with pytest.raises(InvalidError, match=why):
        read_plan(plan)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('strategy = "fedavgg"', "there is no strategy 'fedavgg'"),
        ('strategy = "fedavg"\n[rounds]\ncount = -3', "rounds.count must be above 0, it is -3"),
        ('strategy = "fedavg"\n[rounds]\nwait_s = -1', "rounds.wait_s must not be below 0"),
        ('strategy = "fedavg"\n[who]\ndevices = -1', "who.devices must not be below 0"),
        ('strategy = "fedavg"\n[training]\nbatch = 0', "training.batch must be above 0"),
        ('strategy = "krum"\n[options]\nnum_malicious_nodes = -1', "must not be below 0, it is -1"),
        ('strategy = "fedavg"\nrunds = 3', "runds"),
    ],
)
def test_bad_plans_are_named(tmp_path: Path, text: str, why: str):
    plan = tmp_path / "plan.toml"
    plan.write_text(f'name = "a"\nexport = "e"\n{text}\n')
    with pytest.raises(InvalidError, match=why):
        read_plan(plan)


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-x"])
def test_a_run_has_a_name_that_can_be_a_folder(tmp_path: Path, name: str):
    plan = tmp_path / "plan.toml"
    plan.write_text(f'name = "{name}"\nexport = "e"\nstrategy = "fedavg"\n')
    with pytest.raises(InvalidError, match="is no name of a run"):
        read_plan(plan)
