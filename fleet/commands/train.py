# SPDX-License-Identifier: Apache-2.0
"""`fleet train`: federated rounds from a plan."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fleet.commands.common import HomeOption, JsonOption, actor, open_home, print_json, print_table
from fleet.errors import FleetError, InvalidError
from fleet.home import Home
from fleet.store import federated


def train(
    plan: Annotated[Path, typer.Argument(help="PLAN.toml; see docs/federated.md.")],
    home: HomeOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for weights, mask and curves; default beside PLAN.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say who would train what, and stop.")
    ] = False,
    then_rollout: Annotated[
        bool,
        typer.Option(
            "--then-rollout",
            help="Compile, verify, sign and roll out the result (see compile).",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train over the fleet, or go on with a run that was interrupted."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    try:
        from fleet.federated.plan import read_plan
        from fleet.federated.session import Session
        from fleet.federated.superlink import Submitted
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "flwr":
            raise FleetError(
                "federated rounds need Flower", "Install tinyml-toolchain[federated]."
            ) from None
        raise
    opened = read_plan(plan)
    asked = opened.plan
    if then_rollout and asked.compile is None:
        raise InvalidError(f"{plan} has no [compile], which --then-rollout needs")
    here = open_home(home)
    session = Session(here, opened)
    network, rounds = session.network, asked.rounds.count
    if dry_run:
        able = sorted(n.device for n in session.exchange.nodes().values())
        nodes = asked.superlink.nodes if asked.superlink else 0
        facts = {
            "run": asked.name, "strategy": asked.strategy, "rounds": rounds,
            "weights": network.layout.size, "devices": able, "quorum": asked.who.quorum,
            "supernodes": nodes,
        }  # fmt: skip
        print_json(facts) if as_json else print(
            f"{asked.name}: {asked.strategy} over {network.layout.size:,} weights of "
            f"{network.name}, {rounds:,} rounds. {len(able)} devices are ready, quorum "
            f"{asked.who.quorum}{f', and {nodes} SuperNodes' if nodes else ''}. Nothing was sent."
        )
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[metrics]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=as_json) as bars:
        task = bars.add_task(asked.name, total=rounds, metrics="")

        def progress(number: int, metrics: dict[str, float]) -> None:
            shown = "  ".join(f"{k} {v:.4g}" for k, v in sorted(metrics.items()))
            bars.update(task, completed=number, metrics=shown)

        if asked.superlink is None:
            result = session.train(actor(), progress)
        else:
            result = Submitted(here, opened, plan, actor()).follow(progress)
    folder = out or opened.folder / f"{asked.name}-result"
    facts = _save(here, result, folder)
    if then_rollout:
        facts["rollout"] = _roll_out(here, asked.compile, folder, opened.folder)
    if as_json:
        print_json(facts)
        return
    print(
        f"{asked.name}: {facts['rounds']:,} rounds, {facts['bytes_down']:,} B down, "
        f"{facts['bytes_up']:,} B up (broker: {facts['broker_received']:,} B received, "
        f"{facts['broker_sent']:,} B sent), {facts['refused']} replies refused"
        + (", stopped early" if result.stopped_early else "")
    )
    print(f"{folder}/: weights.f32  curves.svg" + ("  mask.bin" if facts["mask"] else ""))
    if "rollout" in facts:
        print(f"Rollout {facts['rollout']} of the result is running: fleet rollout status.")


def _save(home: Home, result: Any, folder: Path) -> dict[str, Any]:
    from fleet.federated.plots import save_curves

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.f32").write_bytes(result.weights.astype("<f4").tobytes())
    if result.mask is not None:
        bits = np.packbits(result.mask, bitorder="little").tobytes()
        (folder / "mask.bin").write_bytes(bits)
    with home.store.read() as connection:
        row = federated.find(connection, home.config.tenant, result.name)
        assert row is not None
        rounds = federated.rounds_of(connection, row["id"])
    save_curves(rounds, folder / "curves.svg", f"{result.name}: {row['strategy']}")
    return {
        "run": result.name,
        "rounds": result.rounds,
        "stopped_early": result.stopped_early,
        "bytes_down": sum(r["bytes_down"] for r in rounds),
        "bytes_up": sum(r["bytes_up"] for r in rounds),
        "broker_received": sum(r["broker_received"] or 0 for r in rounds),
        "broker_sent": sum(r["broker_sent"] or 0 for r in rounds),
        "refused": sum(len(r["refused"]) for r in rounds),
        "metrics": rounds[-1]["metrics"] if rounds else {},
        "mask": result.mask is not None,
        "out": str(folder),
    }


def _roll_out(home: Home, compile_: Any, folder: Path, base: Path) -> int:
    """Compiles the result by `tinyml`, publishes it and starts a rollout to all it fits."""
    from fleet.artifacts.release import from_export
    from fleet.domain.plan import Plan
    from fleet.service import models, rollouts

    made = (folder / "export").resolve()
    command = [sys.executable, "-m", "tinyml.cli", "export", compile_.model]
    command += ["--target", compile_.target, "--out", str(made), "--json"]
    command += ["--learned", str((folder / "weights.f32").resolve()), *compile_.arguments]
    for option, value in (("--calibration", compile_.calibration), ("--test", compile_.test)):
        command += [option, value] if value else []
    done = subprocess.run(command, cwd=base, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FleetError(
            f"tinyml could not compile the result: {(done.stdout or done.stderr).strip()[-500:]}",
            f"The weights are in {folder}; nothing was rolled out.",
        )
    draft = from_export(made)
    tenant, who = home.config.tenant, actor()
    release = models.publish(home, tenant, draft, "", who)
    number = rollouts.create(
        home, tenant, f"{release['name']}@{release['version']}", [], Plan(), who
    )
    rollouts.command(home, tenant, number, "start", who)
    return number


def runs(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List federated runs."""
    here = open_home(home)
    with here.store.read() as connection:
        rows = [
            {
                "run": r["name"],
                "strategy": r["strategy"],
                "state": r["state"],
                "round": r["round"],
                "of": r["plan"]["rounds"]["count"],
                "started_at": r["created_at"],
            }
            for r in federated.all_of(connection, here.config.tenant)
        ]
    columns = ("run", "strategy", "state", "round", "of", "started_at")
    print_table(rows, columns, "No runs yet: fleet train PLAN.toml.", as_json)
