# SPDX-License-Identifier: Apache-2.0
"""The `fleet` command."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fleet.commands.device import device_app, telemetry_app, twin_app
from fleet.commands.group import group_app
from fleet.commands.model import model_app
from fleet.commands.operate import audit_app, init, key_app, serve
from fleet.commands.rollout import rollout_app
from fleet.commands.simulate import simulate
from fleet.commands.train import runs, train
from fleet.domain.match import EXECUTES, Capacity, Fit, Requirements, match
from fleet.errors import FleetError
from fleet.graph.commands import graph_app, query
from tinyml import TinymlError, list_targets, read_report

app = typer.Typer(
    help="Manage a fleet of microcontrollers and the models they run.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("init")(init)
app.command("serve")(serve)
device_app.command("simulate")(simulate)
app.add_typer(device_app, name="device")
app.add_typer(group_app, name="group")
app.add_typer(twin_app, name="twin")
app.add_typer(telemetry_app, name="telemetry")
app.add_typer(model_app, name="model")
app.add_typer(rollout_app, name="rollout")
app.add_typer(audit_app, name="audit")
app.add_typer(key_app, name="key")
app.add_typer(graph_app, name="graph")
app.command("query")(query)
app.command("train")(train)
app.command("runs")(runs)


@app.callback()
def fleet() -> None:
    """Manage a fleet of microcontrollers and the models they run."""


def main() -> None:
    """Runs the command; errors a user can cause end it with status 1 and one clear message."""
    try:
        app()
    except (TinymlError, FleetError) as error:
        console = Console(stderr=True, highlight=False, markup=False)
        console.print(f"error: {error.message}", soft_wrap=True)
        if error.hint:
            console.print(f"hint:  {error.hint}", soft_wrap=True)
        raise SystemExit(1) from None


@app.command("match")
def match_command(
    exports: Annotated[list[Path], typer.Argument(help="Folders made by `tinyml export`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show which device classes have the flash and RAM for each exported model."""
    classes = [
        Capacity(t.name, t.flash_bytes, t.ram_bytes, EXECUTES[t.name])
        for t in list_targets()
        if t.qemu and t.name in EXECUTES
    ]
    models = [_requirements(folder) for folder in exports]
    fits = {m.model: [match(m, c) for c in classes] for m in models}
    if as_json:
        print(
            json.dumps([{**asdict(f), "fits": f.fits} for v in fits.values() for f in v], indent=1)
        )
        return
    table = Table()
    table.add_column("model")
    for device in classes:
        table.add_column(device.name, justify="center")
    for model, verdicts in fits.items():
        table.add_row(model, *(_verdict(f) for f in verdicts))
    Console().print(table)


def _requirements(folder: Path) -> Requirements:
    report = read_report(folder)
    memory = report["memory"]
    # The code is made anew for each class: only what the network needs anywhere counts.
    return Requirements(report["model"]["name"], memory["flash"], memory["ram"])


def _verdict(fit: Fit) -> str:
    if fit.fits:
        return "[green]fits[/]"
    return ", ".join(fit.reasons)


if __name__ == "__main__":
    main()
