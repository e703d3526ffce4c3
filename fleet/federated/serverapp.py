# SPDX-License-Identifier: Apache-2.0
"""The ServerApp that a SuperLink runs for `fleet train`: a plan over devices and SuperNodes."""

from __future__ import annotations

import json
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fleet.errors import FleetError
from fleet.federated.plan import read_plan
from fleet.federated.session import Session
from fleet.home import Home

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run configuration: ``home``, ``plan`` and ``outcome`` are paths of this machine; ``actor``.

    What became of it is written to ``outcome``, for `fleet.federated.superlink`.
    """
    given = {name: str(value) for name, value in context.run_config.items()}
    outcome = Path(given["outcome"])
    try:
        session = Session(Home(Path(given["home"])), read_plan(Path(given["plan"])))
        result = session.train(given["actor"], flower=grid)
    except FleetError as error:
        outcome.write_text(json.dumps({"error": error.message, "hint": error.hint}))
        raise
    told = {"rounds": result.rounds, "stopped_early": result.stopped_early}
    outcome.write_text(json.dumps(told))
