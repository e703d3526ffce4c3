# SPDX-License-Identifier: Apache-2.0
"""`fleet train` as a user runs it: real broker, real server, C agents that learn."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.fleet.conftest import free_port

pytestmark = pytest.mark.skipif(shutil.which("mosquitto") is None, reason="no mosquitto")
MODEL = """
import torch
from torch import nn
def line():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
"""
PLAN = """
name = "{name}"
export = "export"
strategy = "{strategy}"
[who]
quorum = {quorum}
[training]
steps = 16
lr = 0.05
[rounds]
count = {rounds}
deadline_s = 20
wait_s = 60
[compile]
model = "model.py:line"
target = "host"
calibration = "x.npz"
arguments = ["--learn", "all", "--loss", "mse"]
"""


class Fleet:
    """A home with a server and six devices that learn y = 2 x."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.running: list[subprocess.Popen[str]] = []
        (folder / "model.py").write_text(MODEL)
        rng = np.random.default_rng(0)
        np.savez(folder / "x.npz", x=rng.uniform(-1, 1, (64, 1)).astype(np.float32))
        self.tinyml("export", "model.py:line", "--target", "host", "--calibration", "x.npz",
                    "--learn", "all", "--loss", "mse", "--out", "export")  # fmt: skip
        rows = rng.uniform(-1, 1, (6 * 512, 1)).astype("<f4")
        np.concatenate([rows, 2 * rows], axis=1).astype("<f4").tofile(folder / "rows.f32")
        ports = [t for n in ("port", "certificate-port", "bridge-port", "worker-port", "api-port")
                 for t in (f"--{n}", str(free_port()))]  # fmt: skip
        self.fleet("init", *ports)
        self.start("serve")
        end = time.monotonic() + 120
        while "Serving" not in (folder / "serve-0.log").read_text():
            assert time.monotonic() < end, (folder / "serve-0.log").read_text()
            time.sleep(0.2)
        self.start(
            "device", "simulate", "export", "--count", "6", "--learn-samples", "rows.f32",
            "--learn-rows", "512", "--inference-interval", "0", "--report-interval", "0",
            "--hardware", "host",
        )  # fmt: skip

    def command(self, program: str, *words: str) -> list[str]:
        return [sys.executable, "-m", f"{program}.cli", *words]

    @property
    def environment(self) -> dict[str, str]:
        root = str(Path(__file__).parents[3])
        return {**os.environ, "PYTHONPATH": root, "FLEET_HOME": str(self.home)}

    def run(
        self, program: str, *words: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(program, *words), cwd=self.folder, env=self.environment, text=True,
            capture_output=True, check=False, timeout=400,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def fleet(self, *words: str) -> str:
        return self.run("fleet", *words).stdout

    def tinyml(self, *words: str) -> str:
        return self.run("tinyml", *words).stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        log = (self.folder / f"{words[0]}-{len(self.running)}.log").open("w")
        process = subprocess.Popen(
            self.command("fleet", *words), cwd=self.folder, env=self.environment, text=True,
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.running.append(process)
        return process

    def plan(self, name: str, strategy: str, rounds: int, extra: str = "", quorum: int = 6) -> str:
        text = PLAN.format(name=name, strategy=strategy, rounds=rounds, quorum=quorum) + extra
        (self.folder / f"{name}.toml").write_text(text)
        return f"{name}.toml"

    def rows(self, query: str) -> list[tuple]:
        with sqlite3.connect(self.home / "fleet.db") as connection:
            return connection.execute(query).fetchall()

    def end(self) -> None:
        for process in reversed(self.running):
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = None
    try:
        made = Fleet(tmp_path_factory.mktemp("federated"))
        yield made
    finally:
        if made is not None:
            made.end()


def test_devices_learn_and_every_round_is_told(fleet: Fleet):
    told = json.loads(fleet.fleet("train", fleet.plan("avg", "fedavg", 8), "--json"))
    assert (told["rounds"], told["refused"]) == (8, 0)
    assert told["metrics"]["loss"] < 0.05
    assert (fleet.folder / "avg-result" / "curves.svg").stat().st_size > 1000
    rounds = fleet.rows(
        "select r.number, r.devices, r.bytes_up, r.digest_in, r.digest_out from federated_round r "
        "join federated_run f on f.id = r.run_id where f.name = 'avg' order by r.number"
    )
    assert [len(json.loads(r[1])) for r in rounds] == [6] * 8
    assert all(r[2] == 6 * 25 * 4 for r in rounds)
    assert [r[3] for r in rounds[1:]] == [r[4] for r in rounds[:-1]]
    # By the broker's own counters: each byte goes in and out, with what MQTT and CBOR add.
    payload = told["bytes_down"] + told["bytes_up"]
    assert payload == 8 * 6 * 2 * 25 * 4
    assert payload < told["broker_received"] and payload < told["broker_sent"] < 100 * payload
    weights = (fleet.folder / "avg-result" / "weights.f32").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == rounds[-1][4]
    audited = fleet.fleet("audit", "export", "--subject", "federated/1")
    assert sum('"federated.round"' in line for line in audited.splitlines()) == 8
    fleet.fleet("audit", "verify")


def test_a_killed_server_goes_on_where_it_was(fleet: Fleet):
    plan = fleet.plan("killed", "tinyreptile", 60)
    kills = 0
    for _ in range(20):
        process = fleet.start("train", plan, "--json")
        end = time.monotonic() + 60
        before = fleet.rows("select round from federated_run where name = 'killed'")
        while process.poll() is None and time.monotonic() < end:
            now = fleet.rows("select round from federated_run where name = 'killed'")
            if now and now[0][0] >= (before[0][0] if before else 0) + 12:
                process.kill()
                kills += 1
                break
            time.sleep(0.01)
        process.wait(60)
        fleet.running.remove(process)
        state = fleet.rows("select state from federated_run where name = 'killed'")
        if state == [("finished",)]:
            break
    assert kills >= 2 and state == [("finished",)]
    rounds = fleet.rows(
        "select r.number, r.digest_in, r.digest_out, r.devices from federated_round r "
        "join federated_run f on f.id = r.run_id where f.name = 'killed' order by r.number"
    )
    assert [r[0] for r in rounds] == list(range(1, 61))
    # No update is lost or counted twice: each round starts from what the last one made.
    assert [r[1] for r in rounds[1:]] == [r[2] for r in rounds[:-1]]
    again = fleet.run("fleet", "train", plan, check=False)
    assert again.returncode == 1 and "finished" in again.stderr


def test_devices_choose_the_mask_and_move_it(fleet: Fleet):
    options = (
        "candidates = 3\nselection_steps = 32\ndensity = 0.5\nfloor = 0.6\nevery = 1\nstop = 4"
    )
    plan = fleet.plan("pruned", "fedtiny", 5, f"[options]\n{options}\n")
    told = json.loads(fleet.fleet("train", plan, "--json"))
    assert (told["rounds"], told["refused"]) == (5, 0)
    rows = fleet.rows(
        "select r.number, r.devices, r.metrics, r.bytes_down, r.bytes_up, r.digest_in, "
        "r.digest_out from federated_round r join federated_run f on f.id = r.run_id "
        "where f.name = 'pruned' order by r.number"
    )
    assert [r[0] for r in rows] == [0, 1, 2, 3, 4, 5]
    assert all(len(json.loads(r[1])) == 6 for r in rows)
    chosen = json.loads(rows[0][2])
    losses = [chosen[f"candidate-{i}"] for i in range(3)]
    assert chosen["loss"] == min(losses) == losses[int(chosen["selected"])]
    # Statistics of the hidden layer, dense and of each candidate; then each candidate's loss.
    assert rows[0][3] == 7 * 6 * 100 and rows[0][4] == 4 * 6 * (1 + 2 * 8) * 4
    assert [r[5] for r in rows[1:]] == [r[6] for r in rows[:-1]]
    assert all(json.loads(r[2])["density"] == pytest.approx(0.5, abs=0.07) for r in rows[1:])
    bits = np.frombuffer((fleet.folder / "pruned-result" / "mask.bin").read_bytes(), np.uint8)
    mask = np.unpackbits(bits, count=25, bitorder="little").astype(bool)
    weights = np.frombuffer((fleet.folder / "pruned-result" / "weights.f32").read_bytes(), "<f4")
    assert not np.any(weights[~mask]) and np.count_nonzero(weights) > 12
    bad = fleet.plan("unpruned", "fedtiny", 5, "[options]\ncandidates = 0\n")
    done = fleet.run("fleet", "train", bad, check=False)
    assert done.returncode == 1 and "candidates are at least 1" in done.stderr


def test_the_result_is_rolled_out(fleet: Fleet):
    told = json.loads(
        fleet.fleet("train", fleet.plan("ship", "tinymetafed", 6), "--json", "--then-rollout")
    )
    number = told["rollout"]
    status = fleet.fleet("rollout", "status", str(number), "--wait", "--timeout", "120", "--json")
    assert json.loads(status)["states"] == {"confirmed": 6}


@pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="needs qemu-system-arm")
def test_an_emulated_board_learns_beside_the_processes(fleet: Fleet):
    board = fleet.start(
        "device", "simulate", "export", "--board", "--count", "1", "--prefix", "board-",
        "--learn-samples", "rows.f32", "--learn-rows", "512",
    )  # fmt: skip
    try:
        plan = fleet.plan("board", "fedavg", 4, quorum=7)
        told = json.loads(fleet.fleet("train", plan, "--json"))
    finally:
        board.terminate()
        board.wait(40)
        fleet.running.remove(board)
    assert (told["rounds"], told["refused"]) == (4, 0)
    rounds = fleet.rows(
        "select r.devices from federated_round r join federated_run f on f.id = r.run_id "
        "where f.name = 'board'"
    )
    assert all("board-00001" in json.loads(r[0]) for r in rounds)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("[who]\nquorum = 0\n", "quorum must be above 0"),
        ('[who]\nwhere = ["class=none"]\nquorum = 2\n[rounds]\nwait_s = 1\n', "0 of 2 devices"),
        ("[options]\nalhpa = 1.0\n", "alhpa"),
    ],
)
def test_bad_plans_are_named(fleet: Fleet, extra: str, message: str):
    head = 'name = "bad"\nexport = "export"\nstrategy = "tinyreptile"\n'
    (fleet.folder / "bad.toml").write_text(head + extra)
    done = fleet.run("fleet", "train", "bad.toml", check=False)
    assert done.returncode == 1
    assert message in done.stderr


def test_other_bad_input(fleet: Fleet):
    (fleet.folder / "bad.toml").write_text('name = "bad"\nexport = "export"\nstrategy = "magic"\n')
    assert "tinyreptile" in fleet.run("fleet", "train", "bad.toml", check=False).stderr
    missing = fleet.run("fleet", "train", "nowhere.toml", check=False)
    assert missing.returncode == 1 and "cannot be read" in missing.stderr
    dry = fleet.fleet("train", fleet.plan("dry", "fedavg", 3), "--dry-run", "--json")
    assert len(json.loads(dry)["devices"]) >= 6


def test_devices_that_die_do_not_stop_rounds(fleet: Fleet):
    """Last: two devices are killed in the middle of a run."""
    fleet.running.pop().kill()
    fleet.start(
        "device", "simulate", "export", "--count", "4", "--learn-samples", "rows.f32",
        "--learn-rows", "512", "--inference-interval", "0", "--report-interval", "0",
        "--hardware", "host",
    )  # fmt: skip
    plan = fleet.plan("four", "fedmedian", 3, quorum=4)
    told = json.loads(fleet.fleet("train", plan, "--json"))
    assert told["rounds"] == 3
