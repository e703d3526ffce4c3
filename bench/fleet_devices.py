# SPDX-License-Identifier: Apache-2.0
"""Thousands of real agents on one machine: `fleet serve`, mosquitto, the C agent as processes.

    python bench/fleet_devices.py presence [--devices 10000]
    python bench/fleet_devices.py update [--devices 1000] [--cut-percent 5]

``presence`` registers devices and counts the time until the server holds all of them as present.
``update`` brings a 100 kB model to all of them while connections break at random places, and then
checks that every device runs it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fleet.domain.plan import Plan, Wave
from tests.fleet.live import Live, perceptron

HIDDEN, INPUTS = 384, 256  # 100 kB of weights


def presence(folder: Path, count: int) -> dict[str, str]:
    """Seconds to register and until all are present."""
    with Live(folder, insecure=True) as live:
        live.serve()
        export = perceptron(folder / "model", 1)
        start = time.monotonic()
        live.enrol(count)
        enrolled = time.monotonic()
        live.run(export, options=["--report-interval", "0", "--inference-interval", "0"])
        live.until(lambda: live.stats().get("connected", 0) >= count, "all are connected", 600)
        connected = time.monotonic()
        live.until(lambda: live.online() >= count, "all are present", 600)
        present = time.monotonic()
    return {
        "registered": f"{enrolled - start:.1f} s",
        "connected": f"{connected - enrolled:.1f} s",
        "present, in all": f"{present - start:.1f} s",
    }


def update(folder: Path, count: int, cut_percent: float) -> dict[str, str]:
    """Seconds until every device has confirmed a 100 kB model."""
    with Live(folder, insecure=True) as live:
        live.serve()
        first = perceptron(folder / "first", 1, HIDDEN, INPUTS)
        second = perceptron(folder / "second", 2, HIDDEN, INPUTS)
        options = ["--report-interval", "0", "--inference-interval", "0", "--backoff", "500"]
        live.enrol(count)
        live.run(first, options=[*options, "--cut-percent", str(cut_percent)])
        live.until(lambda: live.online() >= count, "all are present", 600)
        live.publish(second)
        start = time.monotonic()
        plan = Plan(waves=(Wave(percent=100),), trial_s=1)
        number = live.rollout("perceptron", plan)
        status = live.ended(number, 1800)
        seconds = time.monotonic() - start
        time.sleep(2)
        stats = live.stats()
    return {
        "rollout": f"{status['state']} in {seconds:.1f} s",
        "confirmed by the server": str(status["states"]),
        "running the new model": f"{stats['confirmed']} of {stats['devices']}",
        "failed": str(stats["failed"]),
    }


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("presence", "update"))
    parser.add_argument("--devices", type=int)
    parser.add_argument("--cut-percent", type=float, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        if given.what == "presence":
            rows = presence(Path(folder), given.devices or 10_000)
        else:
            rows = update(Path(folder), given.devices or 1_000, given.cut_percent)
    table = Table(given.what, "")
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)


if __name__ == "__main__":
    main()
