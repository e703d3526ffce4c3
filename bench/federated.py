# SPDX-License-Identifier: Apache-2.0
"""Federated rounds on real agents: bytes by the broker's own counters, the server's memory by
number of devices, and rounds in which devices fall silent.

    python bench/federated.py [memory traffic pruning silence] [--out bench/federated.md]

Agents are the C program with generated learning code, mosquitto and `fleet train` as users run
them. Each measurement is kept in build/bench-federated.json; the document is written from all.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from sklearn.datasets import load_digits

from tests.fleet.live import Live

KEPT = Path("build/bench-federated.json")
SINE = Path("build/sine/results.md")
ROUNDS = 3
# Hidden neurons: weights that fit into one packet, and such that do not.
SMALL, LARGE = 16, 64
MODEL = """
import torch
from torch import nn
def digits():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))
"""
PLAN = """
name = "{name}"
export = "{export}"
{strategy}
[who]
quorum = {quorum}
devices = {devices}
[training]
steps = 16
lr = 0.02
[rounds]
count = {rounds}
deadline_s = {deadline}
wait_s = 120
"""
IDLE = ("--report-interval", "0", "--inference-interval", "0", "--learn-samples")


def exported(folder: Path, hidden: int) -> Path:
    """The network with its learner, and the samples that all devices learn from."""
    digits = load_digits()
    x = (digits.data / 16).astype("<f4")
    np.savez(folder / "x.npz", x=x[:128])
    np.column_stack([x, digits.target]).astype("<f4").tofile(folder / "rows.f32")
    (folder / "model.py").write_text(MODEL.replace("HIDDEN", str(hidden)))
    command = [sys.executable, "-m", "tinyml.cli", "export", f"{folder / 'model.py'}:digits"]
    command += ["--calibration", folder / "x.npz", "--target", "host", "--learn", "all"]
    command += ["--out", folder / "export"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "export"


def counters(live: Live) -> dict[str, int]:
    """$SYS/broker/bytes/received and sent. They are retained, so that asking costs next to
    nothing between two readings."""
    time.sleep(2.5)
    found: dict[str, int] = {}
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="bench")
    client.username_pw_set("fleet-server", live.home.secret("worker"))
    client.on_message = lambda c, u, m: found.setdefault(m.topic.rsplit("/", 1)[1], int(m.payload))
    client.connect("127.0.0.1", live.home.config.broker.worker_port)
    client.subscribe([(f"$SYS/broker/bytes/{n}", 0) for n in ("received", "sent")])
    end = time.monotonic() + 20
    while len(found) < 2:
        assert time.monotonic() < end, "no counters of the broker"
        client.loop(0.2)
    client.disconnect()
    return found


def train(live: Live, plan: Path) -> tuple[dict[str, Any], int, float]:
    """Runs `fleet train`: what it told, the peak of its memory in bytes, seconds."""
    command = [sys.executable, "-m", "fleet.cli", "train", str(plan), "--json"]
    environment = {**os.environ, "FLEET_HOME": str(live.home.folder)}
    out = plan.with_suffix(".json")
    begun = time.monotonic()
    with out.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, env=environment)
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident_peak(process.pid))
            time.sleep(0.05)
    assert process.returncode == 0, f"{plan} ended with status {process.returncode}"
    return json.loads(out.read_text()), peak, time.monotonic() - begun


def resident_peak(process: int) -> int:
    """VmHWM in bytes; ru_maxrss of a child would begin with the memory of this process."""
    status = Path(f"/proc/{process}/status").read_text().split()
    return 1024 * int(status[status.index("VmHWM:") + 1]) if "VmHWM:" in status else 0


def write_plan(folder: Path, export: Path, name: str, strategy: str, **facts: Any) -> Path:
    """PLAN.toml."""
    given = {"rounds": ROUNDS, "deadline": 120, "devices": facts["quorum"], **facts}
    path = folder / f"{name}.toml"
    path.write_text(PLAN.format(name=name, export=export, strategy=strategy, **given))
    return path


def memory(folder: Path) -> list[dict[str, Any]]:
    """Bytes a round and the peak of memory, by number of devices."""
    export = exported(folder, SMALL)
    rows = []
    for count in (10, 100, 1000):
        here = folder / str(count)
        with Live(here, insecure=True) as live:
            live.serve()
            live.start(export, count, options=[*IDLE, str(folder / "rows.f32")])
            for name in ("tinyreptile", "fedavg", "fedmedian"):
                before = counters(live)
                plan = write_plan(here, export, name, f'strategy = "{name}"', quorum=count)
                told, peak, took = train(live, plan)
                after = counters(live)
                rows.append({
                    "devices": count, "strategy": name, "rounds": told["rounds"],
                    "refused": told["refused"], "seconds": took, "peak": peak,
                    "payload": (told["bytes_down"] + told["bytes_up"]) / told["rounds"],
                    "sent": (after["sent"] - before["sent"]) / told["rounds"],
                    "received": (after["received"] - before["received"]) / told["rounds"],
                    "told": (told["broker_sent"] + told["broker_received"]) / told["rounds"],
                })  # fmt: skip
                print(rows[-1], flush=True)
    return rows


def traffic(folder: Path) -> list[dict[str, Any]]:
    """What devices send, by method, one device a round, over the broker."""
    export = exported(folder, LARGE)
    methods = {
        "tinyreptile": 'strategy = "tinyreptile"',
        "tinymetafed, P = 20 %": 'strategy = "tinymetafed"\noptions = { top = 0.2 }',
    }
    rows = []
    with Live(folder, insecure=True) as live:
        live.serve()
        live.start(export, 10, options=[*IDLE, str(folder / "rows.f32")])
        for name, strategy in methods.items():
            word = name.partition(",")[0]
            plan = write_plan(folder, export, word, strategy, quorum=10, devices=1, rounds=200)
            before = counters(live)
            told, _, _ = train(live, plan)
            after = counters(live)
            rows.append({
                "method": name, "rounds": told["rounds"], "refused": told["refused"],
                "up": told["bytes_up"] / told["rounds"],
                "sent": (after["sent"] - before["sent"]) / told["rounds"],
                "received": (after["received"] - before["received"]) / told["rounds"],
            })  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def pruning(folder: Path, rounds: int = 20) -> dict[str, Any]:
    """FedTiny of weights and masks that devices pull, with a selection before."""
    export = exported(folder, LARGE)
    options = "density = 0.1\ncandidates = 4\nevery = 2\nstop = 16"
    with Live(folder, insecure=True) as live:
        live.serve()
        live.start(export, 10, options=[*IDLE, str(folder / "rows.f32")])
        plan = write_plan(folder, export, "pruning", 'strategy = "fedtiny"', quorum=10,
                          rounds=rounds)  # fmt: skip
        plan.write_text(plan.read_text() + f"[options]\n{options}\n")
        told, _, _ = train(live, plan)
        with sqlite3.connect(live.home.folder / "fleet.db") as connection:
            found = connection.execute(
                "select ended_at - started_at, bytes_down, bytes_up from federated_round "
                "order by number"
            ).fetchall()
    lengths = [r[0] for r in found[1:]]
    return {
        "rounds": rounds, "devices": 10, "refused": told["refused"], "selection": found[0][0],
        "mean": float(np.mean(lengths)), "longest": max(lengths),
        "down": float(np.mean([r[1] for r in found[1:]])),
        "up": float(np.mean([r[2] for r in found[1:]])),
    }  # fmt: skip


class Silencer(threading.Thread):
    """Stops 3 of 10 processes of devices before each round, others every time.

    The next three are stopped in the middle of a round, when they have answered it; the last three
    go on when that round is over.

    Args:
        database: of the fleet; rounds are read from it.
        processes: of the devices.
        deadline_s: of a round.
    """

    def __init__(self, database: Path, processes: list[int], deadline_s: float) -> None:
        super().__init__(daemon=True)
        self._database = database
        self._processes = processes
        self._deadline = deadline_s
        self._rng = np.random.default_rng(0)
        self._over = threading.Event()
        self._silent: set[int] = set()

    def end(self) -> None:
        """All go on."""
        self._over.set()
        self.join()
        for process in self._processes:
            os.kill(process, signal.SIGCONT)

    def begin(self) -> None:
        """The first three."""
        self._stop()
        self.start()

    def _stop(self) -> None:
        awake = [p for p in self._processes if p not in self._silent]
        self._next = {int(p) for p in self._rng.choice(awake, 3, replace=False)}
        for process in self._next:
            os.kill(process, signal.SIGSTOP)

    def _rounds(self) -> int:
        with sqlite3.connect(self._database, timeout=30) as connection:
            return int(connection.execute("select count(*) from federated_round").fetchone()[0])

    def run(self) -> None:
        """Until the end."""
        done = self._rounds()
        self._silent = self._next
        while not self._over.is_set():
            if self._over.wait(self._deadline / 2):
                return
            self._stop()
            while self._rounds() == done:
                if self._over.wait(0.02):
                    return
            done = self._rounds()
            for process in self._silent - self._next:
                os.kill(process, signal.SIGCONT)
            self._silent = self._next


def silence(folder: Path, deadline: float = 4.0, rounds: int = 15) -> dict[str, Any]:
    """50 devices in 10 processes, of which 3 are silent in each round."""
    export = exported(folder, LARGE)
    with Live(folder, insecure=True) as live:
        live.serve()
        for group in range(10):
            live.enrol(5, f"g{group}-")
            live.run(export, f"g{group}-", [*IDLE, str(folder / "rows.f32")])
        live.until(lambda: live.online() >= 50, "50 devices are present")
        live.until(lambda: ready(live) >= 50, "50 devices learn")
        plan = write_plan(
            folder, export, "silence", 'strategy = "fedavg"', quorum=20, devices=50,
            deadline=deadline, rounds=rounds,
        )  # fmt: skip
        database = live.home.folder / "fleet.db"
        silencer = Silencer(database, [p.pid for p in live.agents], deadline)
        silencer.begin()
        try:
            told, _, took = train(live, plan)
        finally:
            silencer.end()
        with sqlite3.connect(database) as connection:
            found = connection.execute(
                "select devices, refused, started_at, ended_at from federated_round"
            ).fetchall()
    answered = [len(json.loads(r[0])) for r in found]
    lengths = [r[3] - r[2] for r in found]
    return {
        "devices": 50, "rounds": told["rounds"], "deadline": deadline, "seconds": took,
        "answered": [min(answered), float(np.mean(answered)), max(answered)],
        "longest": max(lengths), "left_out": sum(len(json.loads(r[1])) for r in found),
        "loss": told["metrics"]["loss"],
    }  # fmt: skip


def ready(live: Live) -> int:
    """Devices that said that they learn."""
    with sqlite3.connect(live.home.folder / "fleet.db") as connection:
        query = "select count(*) from device where learning is not null"
        return int(connection.execute(query).fetchone()[0])


def document(kept: dict[str, Any]) -> str:
    """bench/federated.md."""
    lines = ["# Federated rounds, measured", ""]
    lines += ["Made by `python bench/federated.py` on 2 cores: real agents in C, mosquitto, "
              "`fleet train`.", ""]  # fmt: skip
    if "memory" in kept:
        lines += [
            "## Bytes and memory by number of devices", "",
            f"Digits 64-{SMALL}-10, 1,210 weights (4,840 B), {ROUNDS} rounds, all "
            "devices in each. Bytes are differences of the broker's own `$SYS/broker/bytes` "
            "counters, read before and after the run: all that it received and sent, from devices "
            "and the server. A round's weights go server → broker → device and back. The account "
            "is what `fleet train` wrote down of the same counters, received and sent. Memory is "
            "the peak of the `fleet train` process.", "",
            "| devices | strategy | payload, B a round | broker received | broker sent | "
            "account | seconds a run | peak memory |", "|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for r in kept["memory"]:
            lines.append(
                f"| {r['devices']:,} | {r['strategy']} | {r['payload']:,.0f} | "
                f"{r['received']:,.0f} | {r['sent']:,.0f} | {r['told']:,.0f} | "
                f"{r['seconds']:.1f} | {r['peak'] / 1e6:.0f} MB |"
            )
        lines += [
            "",
            "tinyreptile and fedavg add replies up as they come; fedmedian, like krum and "
            "trimmedmean, compares them and keeps all of a round.",
            "",
        ]
    if "traffic" in kept:
        lines += [
            "## Bytes by method", "",
            f"Digits 64-{LARGE}-10, 4,810 weights (19,240 B), 200 rounds, one device in each.", "",
            "| method | up, B a round | broker received | broker sent |", "|---|---|---|---|",
        ]  # fmt: skip
        for r in kept["traffic"]:
            lines.append(
                f"| {r['method']} | {r['up']:,.0f} | {r['received']:,.0f} | {r['sent']:,.0f} |"
            )
        lines += [""]
    if "pruning" in kept:
        s = kept["pruning"]
        lines += [
            "## FedTiny over pulled weights and masks", "",
            f"Digits 64-{LARGE}-10, density 0.1, {s['devices']} devices, {s['rounds']} rounds: the "
            f"selection among 4 candidates took {s['selection']:.2f} s, a round "
            f"{s['mean']:.2f} s, the longest {s['longest']:.2f} s; {s['down']:,.0f} B down and "
            f"{s['up']:,.0f} B up a round, {s['refused']} replies refused.", "",
        ]  # fmt: skip
    if "silence" in kept:
        s = kept["silence"]
        low, mean, high = s["answered"]
        lines += [
            "## 30 % of devices silent in each round", "",
            f"50 devices in 10 processes; before each round other 3 processes are stopped "
            f"(SIGSTOP). {s['rounds']} of {s['rounds']} rounds of fedavg finished; deadline "
            f"{s['deadline']:g} s, longest round {s['longest']:.2f} s, {s['seconds']:.0f} s in all."
            f" Devices that answered in a round: {low} to {high}, mean {mean:.1f}; {s['left_out']} "
            f"were left out with a reason. Loss at the end {s['loss']:.3f}.", "",
        ]  # fmt: skip
    if "sine" in kept:
        lines += [
            "## Sine on 50 agents", "",
            "Made by `python examples/federated_sine/run.py --rounds 10000 --devices 50`: one "
            "device a round, uplink by payload.", "", kept["sine"], "",
        ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Measures what is asked, writes the document from all that is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    measures = {"memory": memory, "traffic": traffic, "pruning": pruning, "silence": silence}
    parser.add_argument("what", nargs="*", default=list(measures))
    parser.add_argument("--sine", type=Path, default=SINE, help="results of the sine example")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    for name in options.what:
        if name == "document":
            continue
        with tempfile.TemporaryDirectory() as folder:
            kept[name] = measures[name](Path(folder))
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(kept, indent=1))
    if options.sine.is_file():
        kept["sine"] = options.sine.read_text().strip()
        KEPT.write_text(json.dumps(kept, indent=1))
    text = document(kept)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
