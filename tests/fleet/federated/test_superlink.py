# SPDX-License-Identifier: Apache-2.0
"""C agents over a broker and PyTorch on SuperNodes of a SuperLink, in the same rounds; by TLS."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fleet.conftest import free_port
from tests.fleet.federated.test_devices import Fleet

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("mosquitto") is None, reason="no mosquitto"),
]
# What kind of node it is, flower-supernode is told: one that knows only Flower and PyTorch, the
# ClientApp of this project, one that answers another model's weights.
CLIENT = """
import numpy as np
import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from fleet.federated.edge import learn
from fleet.federated.local import Samples

app = ClientApp()
loss = nn.functional.mse_loss


def net():
    return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))


@app.train()
def train(message, context):
    x = torch.rand(512, 1) * 2 - 1
    kind = context.node_config["kind"]
    if kind == "fleet":
        return learn(message, context, net(), loss, Samples(x, 2 * x), False)
    model = nn.Linear(3, 3) if kind == "wrong" else net()
    if kind == "plain":
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        optimizer = torch.optim.SGD(model.parameters(), message.content["config"]["lr"])
        for at in range(0, 512, 32):
            optimizer.zero_grad()
            loss(model(x[at : at + 32]), 2 * x[at : at + 32]).backward()
            optimizer.step()
    metrics = MetricRecord({"num-examples": 16, "loss": float(loss(net()(x), 2 * x))})
    arrays = ArrayRecord(model.state_dict())
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)
"""
SUPERLINK = """
[superlink]
address = "localhost:{port}"
client = "client.py:app"
nodes = {nodes}
root_certificate = "home/keys/ca.pem"
"""


class Federation:
    """A SuperLink with SuperNodes beside a fleet's devices."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet(folder)
        self.folder = folder
        self.port = free_port()
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "client.py").write_text(CLIENT)
        home = self.fleet.home
        self.superlink = self._start(
            "flower-superlink", "--host", "127.0.0.1", "--port", str(self.port),
            "--ssl-certfile", str(home / "broker" / "server.pem"),
            "--ssl-keyfile", str(home / "broker" / "server.key"),
            "--ssl-ca-certfile", str(home / "keys" / "ca.pem"),
            "--disable-runtime-dependency-installation",
        )  # fmt: skip
        self.until(lambda: "startup complete" in self.log("flower-superlink"), "the SuperLink")

    def _start(self, program: str, *words: str, log: str = "") -> subprocess.Popen[bytes]:
        programs = Path(sys.executable).parent
        environment = {
            **self.fleet.environment,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "FLWR_HOME": str(self.folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "OMP_NUM_THREADS": "1",
        }
        with (self.folder / f"{log or program}.log").open("wb") as file:
            return subprocess.Popen(
                [programs / program, *words], env=environment, stdout=file,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def node(self, kind: str) -> None:
        self.nodes[kind] = self._start(
            "flower-supernode", "--superlink", f"localhost:{self.port}",
            "--root-certificates", str(self.fleet.home / "keys" / "ca.pem"),
            "--port", str(free_port()), "--node-config", f'kind="{kind}"', log=kind,
        )  # fmt: skip
        self.until(lambda: "SuperNode ID" in self.log(kind), f"the SuperNode '{kind}'")

    def id_of(self, kind: str) -> str:
        return self.log(kind).split("SuperNode ID: ")[1].split()[0].removesuffix("\x1b[0m")

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")

    def until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + 180
        while not condition():
            assert time.monotonic() < end, f"{what}: {self.log('flower-superlink')[-3000:]}"
            time.sleep(0.3)

    def plan(self, name: str, rounds: int, deadline_s: int, nodes: int, strategy: str) -> str:
        table = SUPERLINK.format(port=self.port, nodes=nodes)
        plan = self.fleet.plan(name, strategy, rounds, table)
        text = (self.folder / plan).read_text()
        text = text.replace("deadline_s = 20", f"deadline_s = {deadline_s}")
        (self.folder / plan).write_text(text)
        return plan

    def rounds(self, name: str) -> list[tuple[list[str], dict[str, str]]]:
        rows = self.fleet.rows(
            "select r.devices, r.refused from federated_round r join federated_run f "
            f"on f.id = r.run_id where f.name = '{name}' order by r.number"
        )
        return [(json.loads(devices), dict(json.loads(refused))) for devices, refused in rows]

    def serverapps(self) -> list[int]:
        """Process ids of the ServerApps that this SuperLink started."""
        table = subprocess.run(
            ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split(None, 2) for line in table.splitlines()]
        ours, found = {self.superlink.pid}, []
        for _ in range(4):
            ours |= {int(pid) for pid, parent, _ in rows if int(parent) in ours}
        for pid, _, words in rows:
            if int(pid) in ours and "flwr-serverapp" in words:
                found.append(int(pid))
        return found

    def end(self) -> None:
        for process in (*self.nodes.values(), self.superlink):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
        self.fleet.end()


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    made = None
    try:
        made = Federation(tmp_path_factory.mktemp("superlink"))
        for kind in ("plain", "fleet", "wrong"):
            made.node(kind)
        yield made
    finally:
        if made is not None:
            made.end()


def test_devices_and_supernodes_learn_in_the_same_rounds(federation: Federation):
    plan = federation.plan("both", 3, 120, 3, "fedavg")
    told = json.loads(federation.fleet.fleet("train", plan, "--json"))
    assert told["rounds"] == 3 and told["refused"] == 3
    nodes = {f"supernode-{federation.id_of(kind)}" for kind in ("plain", "fleet")}
    wrong = f"supernode-{federation.id_of('wrong')}"
    for contributed, refused in federation.rounds("both"):
        assert {d for d in contributed if d.startswith("supernode")} == nodes
        assert sum(d.startswith("sim-") for d in contributed) == 6
        assert set(refused) == {wrong} and "are not those of the model" in refused[wrong]
    # Eight replies of 25 float32, and the nine values and three of the node that was refused.
    assert told["bytes_up"] == 3 * 4 * (8 * 25 + 12)
    federation.fleet.fleet("audit", "verify")


def test_our_own_strategies_have_both(federation: Federation):
    """Changes, the largest of them only: the node that knows only Flower answers weights."""
    plan = federation.plan("largest", 2, 120, 3, "tinymetafed")
    text = (federation.folder / plan).read_text().replace("quorum = 6", "quorum = 6\ndevices = 9")
    (federation.folder / plan).write_text(text)
    federation.fleet.fleet("train", plan, "--json")
    for contributed, refused in federation.rounds("largest"):
        assert f"supernode-{federation.id_of('fleet')}" in contributed and len(contributed) == 7
        plain = refused[f"supernode-{federation.id_of('plain')}"]
        assert "'delta' with positions and values is missing" in plain


def test_a_killed_serverapp_goes_on_where_it_was(federation: Federation):
    plan = federation.plan("killed", 4, 120, 3, "fedavg")
    first = federation.fleet.start("train", plan, "--json")
    federation.until(lambda: len(federation.rounds("killed")) >= 1, "a round is whole")
    for pid in federation.serverapps():
        os.kill(pid, signal.SIGKILL)
    first.wait(240)
    federation.fleet.running.remove(first)
    assert first.returncode == 1
    kept = len(federation.rounds("killed"))
    told = json.loads(federation.fleet.fleet("train", plan, "--json"))
    assert told["rounds"] == 4
    assert 1 <= kept < 4 and len(federation.rounds("killed")) == 4


def test_a_supernode_that_vanishes_does_not_stop_rounds(federation: Federation):
    plan = federation.plan("vanished", 3, 45, 3, "fedavg")
    running = federation.fleet.start("train", plan, "--json")
    federation.until(lambda: len(federation.rounds("vanished")) >= 1, "a round is whole")
    federation.nodes["fleet"].kill()
    running.wait(300)
    federation.fleet.running.remove(running)
    assert running.returncode == 0
    rounds = federation.rounds("vanished")
    gone = f"supernode-{federation.id_of('fleet')}"
    assert len(rounds) == 3
    assert gone in rounds[0][0] and gone in rounds[1][1], rounds
    assert all(sum(d.startswith("sim-") for d in contributed) == 6 for contributed, _ in rounds)


def test_a_superlink_that_is_not_there_is_named(federation: Federation):
    plan = federation.plan("nowhere", 1, 10, 1, "fedavg")
    text = (federation.folder / plan).read_text()
    (federation.folder / plan).write_text(text.replace(str(federation.port), str(free_port())))
    done = federation.fleet.run("fleet", "train", plan, check=False)
    assert done.returncode == 1 and "SuperLink at localhost:" in done.stderr, done.stderr
    plan = federation.plan("stranger", 1, 10, 1, "fedavg")
    text = (federation.folder / plan).read_text()
    (federation.folder / plan).write_text(text.replace("home/keys/ca.pem", "home/keys/root.pub"))
    done = federation.fleet.run("fleet", "train", plan, check=False)
    assert done.returncode == 1 and "SuperLink at localhost:" in done.stderr, done.stderr
    assert federation.fleet.rows("select name from federated_run where name = 'nowhere'") == []


def test_too_few_supernodes_are_named(federation: Federation):
    """Its error comes from the ServerApp."""
    plan = federation.plan("many", 1, 10, 5, "fedavg")
    text = (federation.folder / plan).read_text().replace("wait_s = 60", "wait_s = 5")
    (federation.folder / plan).write_text(text)
    done = federation.fleet.run("fleet", "train", plan, check=False)
    assert done.returncode == 1 and "of 5 SuperNodes are connected" in done.stderr, done.stderr


def test_client_side_clipping_is_refused(federation: Federation):
    plan = federation.plan("private", 1, 30, 1, "fedavg")
    text = (federation.folder / plan).read_text()
    (federation.folder / plan).write_text(
        text.replace(
            'strategy = "fedavg"', 'strategy = "fedavg"\noptions = { clipping_norm = 1.0 }'
        )
    )
    done = federation.fleet.run("fleet", "train", plan, check=False)
    assert done.returncode == 1 and "do not say whether they clip" in done.stderr, done.stderr
