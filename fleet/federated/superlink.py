# SPDX-License-Identifier: Apache-2.0
"""`fleet train` with [superlink]: the rounds run as a Flower app on the user's SuperLink.

Only what Flower documents is used: an app folder, its command line, its configuration file. The
ServerApp (`fleet.federated.serverapp`) has the fleet's home and the plan by their paths, so the
SuperLink runs on the fleet's machine, in an environment that has this package.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fleet.errors import FleetError
from fleet.federated import sparse
from fleet.federated.plan import Opened
from fleet.federated.run import Result
from fleet.home import Home
from fleet.store import federated

LOOK_S = 0.5
# Between two questions whether the run still lives; each is a process.
ASK_S = 20.0
CONNECTION = "fleet"
PYPROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0.0"
description = "Federated rounds of a fleet"
license = "Apache-2.0"
dependencies = ["tinyml-toolchain[fleet,federated]"]

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "fleet"

[tool.flwr.app.components]
serverapp = "fleet.federated.serverapp:app"
clientapp = "{client}"

[tool.flwr.app.config]
"""


class Submitted:
    """A run on a SuperLink: a new one, or the one that is still going on there.

    Args:
        home: of the fleet.
        opened: the plan, with a [superlink].
        path: of the plan.
        actor: for the audit trail.

    Raises:
        FleetError: the SuperLink cannot be reached or does not take the app.
    """

    def __init__(self, home: Home, opened: Opened, path: Path, actor: str) -> None:
        assert opened.plan.superlink is not None
        self._home = home
        self._opened = opened
        self._asked = opened.plan.superlink
        tenant = home.config.tenant
        digest = hashlib.sha256(f"{tenant}/{opened.plan.name}".encode()).hexdigest()[:12]
        self._name = f"fleet-{digest}"
        self._folder = home.folder / "superlink" / self._name
        self._outcome = self._folder / "outcome.json"
        self._connect()
        found = self._running()
        if found is None:
            self._bundle(path, actor)
            self._outcome.unlink(missing_ok=True)
            found = int(self._flwr("run", str(self._folder / self._name), CONNECTION)["run-id"])
        self.number = found

    def _connect(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        lines = [f"[superlink.{CONNECTION}]", f"address = {json.dumps(self._asked.address)}"]
        if self._asked.root_certificate is not None:
            certificate = (self._opened.folder / self._asked.root_certificate).resolve()
            lines.append(f"root-certificates = {json.dumps(str(certificate))}")
        if self._asked.insecure:
            lines.append("insecure = true")
        (self._folder / "config.toml").write_text("\n".join(lines) + "\n")

    def _bundle(self, path: Path, actor: str) -> None:
        """The Flower app: the client's modules and what the ServerApp is to do."""
        file, _, name = self._asked.client.rpartition(":")
        source = (self._opened.folder / file).resolve()
        app = self._folder / self._name
        shutil.rmtree(app, ignore_errors=True)
        app.mkdir()
        for module in sorted(source.parent.glob("*.py")):
            shutil.copy(module, app)
        config = {
            "home": str(self._home.folder),
            "plan": str(path.resolve()),
            "outcome": str(self._outcome),
            "actor": actor,
        }
        text = PYPROJECT.format(name=self._name, client=f"{source.stem}:{name}")
        lines = (f"{key} = {json.dumps(value)}\n" for key, value in config.items())
        (app / "pyproject.toml").write_text(text + "".join(lines))

    def _flwr(self, *words: str) -> Any:
        """What `flwr` says, as JSON.

        Raises:
            FleetError: with its error.
        """
        done = self._call(*words, "--format", "json")
        try:
            told = json.loads(done.stdout)
        except ValueError:
            told = {"success": False}
        if done.returncode or not told.get("success"):
            why = told.get("error-message") or (done.stderr or done.stdout).strip()[-500:]
            raise FleetError(
                f"the SuperLink at {self._asked.address} cannot be used: {why}",
                "Is flower-superlink running there, and with the certificate or --insecure that "
                "the plan's [superlink] says?",
            )
        return told

    def _call(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "FLWR_HOME": str(self._folder),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }
        command = [sys.executable, "-m", "flwr.cli.app", *words]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    def _running(self) -> int | None:
        for run in self._flwr("list", CONNECTION)["runs"]:
            if run["fab-id"].endswith(f"/{self._name}") and "finished" not in run["status"]:
                return int(run["run-id"])
        return None

    def follow(self, progress: Callable[[int, dict[str, float]], None]) -> Result:
        """Waits for the end and tells of each round. Interrupted, it stops the run: the same
        command goes on with the rounds that are left.

        Raises:
            FleetError: what the ServerApp raised, or that it is gone.
        """
        try:
            outcome = self._follow(progress)
        except KeyboardInterrupt:
            self._call("stop", str(self.number), CONNECTION)
            raise
        if "error" in outcome:
            raise FleetError(outcome["error"], outcome["hint"])
        row, rounds = self._stored()
        assert row is not None
        weights = np.frombuffer(row["weights"], "<f4").astype(np.float32)
        mask = None if row["mask"] is None else sparse.mask_from(row["mask"], len(weights))
        losses = [r["metrics"]["loss"] for r in rounds if "loss" in r["metrics"]]
        name = self._opened.plan.name
        return Result(name, row["round"], weights, mask, outcome["stopped_early"], losses)

    def _follow(self, progress: Callable[[int, dict[str, float]], None]) -> dict[str, Any]:
        told, asked_at = 0, time.monotonic()
        while True:
            over = self._outcome.is_file()
            _, rounds = self._stored()
            for row in rounds[told:]:
                progress(row["number"], row["metrics"])
            told = len(rounds)
            if over:
                found: dict[str, Any] = json.loads(self._outcome.read_text())
                return found
            if time.monotonic() - asked_at > ASK_S:
                self._check()
                asked_at = time.monotonic()
            time.sleep(LOOK_S)

    def _check(self) -> None:
        runs = self._flwr("list", CONNECTION, "--run-id", str(self.number))["runs"]
        if runs and "finished" not in runs[0]["status"]:
            return
        if self._outcome.is_file():
            return
        log = self._call("log", str(self.number), CONNECTION, "--show").stdout.strip()
        state = runs[0]["status"] if runs else "unknown there"
        raise FleetError(
            f"run {self.number} on the SuperLink is {state}: {log[-1000:]}",
            "What is whole is kept: the same command goes on.",
        )

    def _stored(self) -> tuple[Any, list[Any]]:
        with self._home.store.read() as connection:
            tenant, name = self._home.config.tenant, self._opened.plan.name
            row = federated.find(connection, tenant, name)
            rounds = [] if row is None else list(federated.rounds_of(connection, row["id"]))
        return row, rounds
