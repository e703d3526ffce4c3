# SPDX-License-Identifier: Apache-2.0
"""What the fleet's server carries on this machine: presence, telemetry, updates, killed servers.

Everything is real: `fleet serve`, mosquitto, and the agent in C, thousands of them in one process.

usage: python bench/fleet_server.py [presence telemetry update kill ...] [--out bench/fleet.md]

Each measurement is kept in build/bench-fleet.json; the document is written from all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from fleet.domain.plan import Plan, Policy, Rate
from fleet.service import rollouts
from fleet.store import schema
from fleet.wire import decode
from fleet.wire.messages import Report
from tests.fleet.live import TENANT, Live, perceptron

KEPT = Path("build/bench-fleet.json")
IDLE = ("--inference-interval", "1000000", "--report-interval", "0")


def presence(folder: Path, count: int = 10_000, insecure: bool = False) -> dict[str, Any]:
    """Devices connect as fast as they can; until all have said hello and are present."""
    with Live(folder, insecure=insecure) as live:
        export = perceptron(folder / "model", 1)
        begun = time.monotonic()
        live.enrol(count)
        enrolled = time.monotonic() - begun
        live.serve()
        begun = time.monotonic()
        live.run(export, options=[*IDLE, "--backoff", "2000"])
        live.until(lambda: present(live) >= count, f"{count} devices are present", 600)
        return {
            "devices": count,
            "transport": "plain TCP" if insecure else "TLS 1.2, password",
            "registered_s": round(enrolled, 1),
            "present_s": round(time.monotonic() - begun, 1),
        }


def presence_plain(folder: Path) -> dict[str, Any]:
    """The same without TLS."""
    return presence(folder, insecure=True)


def present(live: Live) -> int:
    """Devices that said hello and are online."""
    device, seen = schema.device, schema.presence
    query = (
        select(func.count())
        .select_from(device.join(seen, seen.c.device_id == device.c.id))
        .where(seen.c.online, device.c.state == "active", device.c.born_id == seen.c.boot_id)
    )
    with live.home.store.read() as connection:
        return connection.scalar(query) or 0


def telemetry(folder: Path, count: int = 5_200, seconds: int = 60) -> dict[str, Any]:
    """Devices report once a second; every message of every device must be in the database."""
    with Live(folder, insecure=True) as live:
        export = perceptron(folder / "model", 1)
        live.enrol(count)
        live.serve("--roles", "broker,rollout,blob")
        live.serve("--roles", "api,ingest")
        process = live.run(
            export, options=["--report-interval", "1", "--inference-interval", "1000"]
        )
        live.until(lambda: present(live) >= count, "all are present", 600)
        live.until(lambda: caught_up(live), "the connection storm is worked off", 120)
        dropped = -dropped_reports(live)
        before, begun = metrics(live), time.monotonic()
        time.sleep(seconds)
        after, took = metrics(live), time.monotonic() - begun
        dropped += dropped_reports(live)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        live.until(lambda: settled(live), "the last messages are committed", 120)
        received = after["reports"] - before["reports"]
        return {
            "devices": count,
            "seconds": round(took, 1),
            "messages_s": round(received / took),
            "kept": count_reports(live),
            "lost": holes(live),
            "dropped_by_devices": dropped,
            "p99_commit_s": quantile(before["commit"], after["commit"], 0.99),
            "p50_commit_s": quantile(before["commit"], after["commit"], 0.5),
        }


def caught_up(live: Live) -> bool:
    """Whether messages of the last seconds were committed soon after they came."""
    before = metrics(live)
    time.sleep(3)
    return quantile(before["commit"], metrics(live)["commit"], 0.99) <= 1


def metrics(live: Live) -> dict[str, Any]:
    """Counters of the ingest process."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{live.home.config.api.port}/metrics",
        headers={"Authorization": f"Bearer {live.home.secret('api')}"},
    )
    text = urllib.request.urlopen(request, timeout=60).read().decode()
    buckets = re.findall(r'fleet_message_seconds_bucket\{le="([^"]+)"\} (\S+)', text)
    reports = re.search(r'fleet_messages_received_total\{channel="report"\} (\S+)', text)
    return {
        "reports": float(reports.group(1)) if reports else 0.0,
        "commit": {float(le): float(n) for le, n in buckets},
    }


def quantile(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """Upper bound of the bucket that holds the quantile."""
    total = after[float("inf")] - before[float("inf")]
    for bound in sorted(after):
        if after[bound] - before[bound] >= share * total:
            return bound
    return float("inf")


def count_reports(live: Live) -> int:
    """Reports in the database."""
    with live.home.store.read() as connection:
        return connection.scalar(select(func.count()).select_from(schema.telemetry)) or 0


def settled(live: Live) -> bool:
    """Whether nothing more comes."""
    first = count_reports(live)
    time.sleep(3)
    return count_reports(live) == first


def holes(live: Live) -> int:
    """Messages that are missing in the database.

    A device numbers all its messages of a boot: 0 is its presence, which is kept without the
    number; hellos, twins, jobs and reports are kept with theirs, so a hole is a lost message.
    """
    numbers: dict[tuple[int, int], set[int]] = {}
    with live.home.store.read() as connection:
        for table in (schema.telemetry, schema.seen, schema.log):
            query = select(table.c.device_id, table.c.boot_id, table.c.seq)
            for device, boot, seq in connection.execution_options(yield_per=10_000).execute(query):
                numbers.setdefault((device, boot), set()).add(seq)
    return sum(max(found) - len(found) for found in numbers.values())


def dropped_reports(live: Live) -> int:
    """Reports that devices did not send because they were not connected, as they say."""
    table = schema.telemetry
    query = select(table.c.device_id, table.c.body).where(table.c.received_at > time.time() - 10)
    with live.home.store.read() as connection:
        newest = {row.device_id: row.body for row in connection.execute(query)}
    return sum(decode(Report, body).dropped or 0 for body in newest.values())


def update(folder: Path, count: int = 1_000, cut_percent: float = 5) -> dict[str, Any]:
    """A model of 100 kB to devices whose connections break at random."""
    with Live(folder) as live:
        first = perceptron(folder / "1", 1, hidden=120, inputs=800)
        second = perceptron(folder / "2", 2, hidden=120, inputs=800)
        release = live.publish(second)
        live.serve()
        live.start(
            first,
            count,
            options=[*IDLE, "--cut-percent", str(cut_percent), "--backoff", "500"],
        )
        plan = Plan(
            trial_s=2,
            rate=Rate(per_minute=6000, burst=200),
            policy=Policy(repeat_s=30, retries=5, backoff_s=5),
        )
        begun = time.monotonic()
        number = live.rollout("perceptron", plan)
        status = live.ended(number, 1800)
        took = time.monotonic() - begun
        time.sleep(3)
        stats = live.stats()
        with live.home.store.read() as connection:
            boots = connection.scalar(
                select(func.count()).where(schema.device.c.model_digest == release["digest"])
            )
        return {
            "devices": count,
            "artefact_bytes": release["size"],
            "cut_percent": cut_percent,
            "seconds": round(took, 1),
            "confirmed_by_server": status["states"].get("confirmed", 0),
            "confirmed_by_devices": stats["confirmed"],
            "running_the_digest": boots,
            "failed": stats["failed"],
            "attempts": dict(
                Counter(a["attempt"] for a in rollouts.assignments(live.home, TENANT, number))
            ),
        }


def kill(folder: Path, count: int = 200, times: int = 20) -> dict[str, Any]:
    """The server gets SIGKILL again and again while a rollout runs."""
    dice = random.Random(1)
    with Live(folder, insecure=True) as live:
        exports = [perceptron(folder / str(seed), seed) for seed in (1, 2)]
        live.serve()
        live.start(exports[0], count, options=IDLE)
        live.publish(exports[1])
        plan = Plan(
            trial_s=1,
            rate=Rate(per_minute=count / 2, burst=2),
            policy=Policy(step_timeout_s=600, repeat_s=20),
        )
        number = live.rollout("perceptron", plan)
        killed_during = 0
        for _ in range(times):
            time.sleep(dice.uniform(0.5, 4))
            killed_during += live.status(number)["state"] == "running"
            live.servers[-1].send_signal(signal.SIGKILL)
            live.servers[-1].wait()
            live.serve()
        status = live.ended(number, 1200)
        steps = Counter(
            (e["subject"], e["action"])
            for e in live.trail(f"rollout/{number}")
            if e["action"].startswith("assignment.")
        )
        confirmed = sum(action == "assignment.confirmed" for _, action in steps)
        attempts = [a["attempt"] for a in rollouts.assignments(live.home, TENANT, number)]
        return {
            "devices": count,
            "killed": times,
            "killed_while_running": killed_during,
            "confirmed": status["states"].get("confirmed", 0),
            "confirmed_entries": confirmed,
            "steps_taken_twice": sum(n - 1 for n in steps.values()),
            "second_attempts": sum(a - 1 for a in attempts),
            "audit": "unbroken",
        }


MEASUREMENTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "presence": presence,
    "presence_plain": presence_plain,
    "telemetry": telemetry,
    "update": update,
    "kill": kill,
}


def document(kept: dict[str, dict[str, Any]]) -> str:
    """Markdown of everything measured."""
    lines = [
        "# The fleet's server, measured",
        "",
        "Printed by `python bench/fleet_server.py`: the real server, mosquitto 2.0.11 and the",
        f"agent in C on one machine of {os.cpu_count()} cores, other work beside it, over",
        "which these processes had priority: the load average at the start is given.",
    ]
    for name, result in kept.items():
        words = (MEASUREMENTS[name].__doc__ or "").strip()
        lines += ["", f"## {name}", "", words, "", "| | |", "|---|---|"]
        lines += [f"| {k.replace('_', ' ')} | {v} |" for k, v in result.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MEASUREMENTS, []])
    parser.add_argument("--out", type=Path, default=Path("bench/fleet.md"))
    options = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    for name in options.names or MEASUREMENTS:
        load = round(os.getloadavg()[0], 1)
        with tempfile.TemporaryDirectory(prefix=f"fleet-{name}-") as folder:
            result = {**MEASUREMENTS[name](Path(folder)), "load_average": load}
        print(name, json.dumps(result), flush=True)
        kept[name] = result
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(kept, indent=1))
        options.out.write_text(document(kept))


if __name__ == "__main__":
    main()
