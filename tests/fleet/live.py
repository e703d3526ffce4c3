# SPDX-License-Identifier: Apache-2.0
"""A running fleet: `fleet serve` as a process, the real broker, real agents in C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fleet.artifacts.release import Draft, from_export
from fleet.devices import build_device, start_devices
from fleet.home import ApiConfig, BrokerConfig, Config, Home
from fleet.initialise import initialise
from fleet.service import devices, models, rollouts
from fleet.store import audit
from tests.fleet.conftest import free_port
from tinyml.export import export
from tinyml.samples import load_samples
from tinyml.source import open_source
from tinyml.targets import load_target

WAIT_S = 90.0
TENANT = "default"


def perceptron(folder: Path, seed: int, hidden: int = 8, inputs: int = 16) -> Path:
    """An export of a small network; equal sizes have equal ABI, the seed decides the weights."""
    rng = np.random.default_rng(seed)
    constants = {
        "w1": rng.standard_normal((hidden, inputs)).astype(np.float32),
        "b1": rng.standard_normal(hidden).astype(np.float32),
        "w2": rng.standard_normal((4, hidden)).astype(np.float32),
        "b2": rng.standard_normal(4).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["a"], transB=1),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Gemm", ["b", "w2", "b2"], ["y"], transB=1),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "perceptron.onnx")
    x = np.random.default_rng(0).standard_normal((40, inputs)).astype(np.float32)
    np.savez(folder / "samples.npz", x=x)
    samples = load_samples(folder / "samples.npz")
    source = open_source(str(folder / "perceptron.onnx"), None)
    export(source, load_target("host"), samples, None, folder / "export")
    return folder / "export"


class Live:
    """A home, its server and its devices; use it in a with block.

    Args:
        folder: new.
        database: URL.
        insecure: devices without TLS.
    """

    def __init__(
        self, folder: Path, database: str = "sqlite:///fleet.db", insecure: bool = False
    ) -> None:
        ports: set[int] = set()
        while len(ports) < 5:
            ports.add(free_port())
        self.home: Home = initialise(
            folder / "home",
            Config(
                database=database,
                broker=BrokerConfig(
                    port=ports.pop(),
                    certificate_port=0 if insecure else ports.pop(),
                    bridge_port=ports.pop(),
                    worker_port=ports.pop(),
                    insecure=insecure,
                ),
                api=ApiConfig(port=ports.pop()),
            ),
            ["localhost", "127.0.0.1"],
        )
        self.folder = folder
        self.servers: list[subprocess.Popen[bytes]] = []
        self.agents: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.agents, *self.servers):
            if process.poll() is None:
                process.terminate()
        for process in (*self.agents, *self.servers):
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        number = _broker_pid(self.home)
        if number:  # its server was killed
            os.kill(number, signal.SIGTERM)
        self.home.store.close()

    def serve(self, *options: str) -> subprocess.Popen[bytes]:
        """Starts `fleet serve` and waits until it serves."""
        log = self.folder / f"serve-{len(self.servers)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "fleet.cli", "serve", "--home", self.home.folder, *options],
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.servers.append(process)

        def serving() -> bool:
            assert process.poll() is None, log.read_text()
            return "Serving" in log.read_text()

        self.until(serving, "the server serves")
        return process

    def start(
        self, export_: Path, count: int, prefix: str = "sim-", options: Sequence[str] = ()
    ) -> list[str]:
        """Registers devices and runs them; returns their names once all are present."""
        names = self.enrol(count, prefix)
        self.run(export_, prefix, options)
        self.until(lambda: self.online() >= count, f"{count} devices are present")
        return names

    def enrol(self, count: int, prefix: str = "sim-") -> list[str]:
        """Registers devices; their credentials are in a file named after the prefix."""
        names = [f"{prefix}{n:05d}" for n in range(1, count + 1)]
        made = devices.add(self.home, TENANT, names, "test")
        lines = "".join(f"{c.tenant} {c.device} {c.password}\n" for c in made)
        (self.folder / f"{prefix}.txt").write_text(lines)
        return names

    def run(
        self, export_: Path, prefix: str = "sim-", options: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        """Runs registered devices."""
        config = self.home.config.broker
        with (self.folder / f"{prefix}.log").open("a") as log:
            process = start_devices(
                build_device(export_),
                broker=f"localhost:{config.port}",
                credentials=self.folder / f"{prefix}.txt",
                root_key=str(self.home.keys / "root.pub"),
                state=self.folder / f"state-{prefix}",
                ca=None if config.insecure else self.home.keys / "ca.pem",
                stats_s=1,
                options=["--vendor", "generic", "--hardware", "host", "--slot-bytes", "262144",
                         "--will-delay", "1", *options],
                stdout=log.fileno(),
            )  # fmt: skip
        self.agents.append(process)
        return process

    def stats(self, prefix: str = "sim-") -> dict[str, Any]:
        """The devices' own last word about themselves."""
        lines = (self.folder / f"{prefix}.log").read_text().splitlines()
        return json.loads(lines[-1]) if lines else {}

    def online(self) -> int:
        """Devices that are present."""
        return sum(bool(d["online"] and d["class"]) for d in devices.listed(self.home, TENANT))

    def publish(self, draft: Draft | Path, version: str = "") -> dict[str, Any]:
        """A release for these devices."""
        if isinstance(draft, Path):
            draft = from_export(draft, ["host"])
        return models.publish(self.home, TENANT, draft, version, "test")

    def rollout(self, release: str, plan: Any, conditions: Sequence[str] = ()) -> int:
        """Creates and starts one."""
        number = rollouts.create(self.home, TENANT, release, conditions, plan, "test")
        rollouts.command(self.home, TENANT, number, "start", "test")
        return number

    def ended(self, number: int, wait_s: float = WAIT_S) -> dict[str, Any]:
        """Waits until a rollout has ended."""
        final = ("finished", "stopped", "denied")
        self.until(lambda: self.status(number)["state"] in final, f"rollout {number} ends", wait_s)
        return self.status(number)

    def status(self, number: int) -> dict[str, Any]:
        """Where a rollout stands."""
        return rollouts.status(self.home, TENANT, number)

    def until(self, condition: Callable[[], Any], what: str, wait_s: float = WAIT_S) -> None:
        """Waits for something, generously: the machine may be busy."""
        end = time.monotonic() + wait_s
        while not condition():
            assert time.monotonic() < end, f"waited {wait_s:g} s until {what}"
            time.sleep(0.1)

    def trail(self, subject: str = "") -> list[dict[str, Any]]:
        """The audit trail, verified."""
        with self.home.store.read() as connection:
            audit.verify(connection)
            return list(audit.entries(connection, subject=subject))


def _broker_pid(home: Home) -> int | None:
    from fleet.mqtt.broker import running

    return running(home)
