# SPDX-License-Identifier: Apache-2.0
"""Presence detection by room: alone, together, and together with a model of one's own.

    python examples/presence/run.py [--rounds 60] [--data FOLDER] [--folder build/presence]

Each room is an agent in C behind a real broker, with a few labelled samples of its first days. The
fleet trains a common model (FedAvg, TinyReptile); each room then adapts it to itself with its own
samples, by the same generated C, and keeps the result: it never travels. Judged on the days after,
in rooms that took part and in rooms that did not.

--data: folder of the UCI occupancy data set; without it, rooms are simulated (rooms.py).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "fleet"))
from rooms import Room, recorded, simulated  # noqa: E402
from run import free_port, run, say, start, wait  # noqa: E402

from tinyml.learn.learner import Facts  # noqa: E402
from tinyml.learn.native import NativeLearner, compile_native  # noqa: E402

LABELLED, STEPS, RATE, PASSES = 32, 32, 0.05, 4
STRATEGIES = {"fedavg": "", "tinyreptile": "options = { alpha = 1.0 }"}
Weights = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--rooms", type=int, default=24, help="Simulated ones; a third is new.")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("build/presence"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rooms = simulated(options.rooms) if options.data is None else recorded(options.data)
    new = max(1, len(rooms) // 3)
    running: list[subprocess.Popen[bytes]] = []
    try:
        common = train(options, rooms[:-new], running)
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(40)
    say("3. Judged on the days after, balanced accuracy")
    device = learner(options.folder / "export")
    judged = {
        name: [(judge(device, r, weights, False), judge(device, r, weights, True)) for r in rooms]
        for name, weights in common.items()
    }
    tell(judged, rooms, new, options.folder)


def train(
    options: argparse.Namespace, rooms: list[Room], running: list[subprocess.Popen[bytes]]
) -> dict[str, Weights]:
    """Common weights by strategy; those of the export, from which each learns alone, too."""
    folder: Path = options.folder
    say("1. The network, with the C that learns it")
    np.savez(folder / "x.npz", x=np.concatenate([r.x[: r.first] for r in rooms])[::20])
    export = folder / "export"
    run(
        ["tinyml", "export", f"{HERE / 'model.py'}:presence", "--calibration", folder / "x.npz",
         "--target", "cortex-m4", "--learn", "all", "--out", export],
    )  # fmt: skip
    say(f"2. {len(rooms)} rooms, each with {LABELLED} labelled samples of its own")
    samples, home = folder / "samples", folder / "home"
    for old in (samples, home):
        shutil.rmtree(old, ignore_errors=True)
    samples.mkdir()
    for number, room in enumerate(rooms, 1):
        x, y = own(room)
        np.column_stack([x, y]).astype("<f4").tofile(samples / f"room-{number:05d}.f32")
    environment = {"FLEET_HOME": str(home)}
    names = ("port", "certificate-port", "worker-port", "api-port")
    ports = [text for name in names for text in (f"--{name}", str(free_port()))]
    run(["fleet", "init", "--insecure", *ports], **environment)
    running.append(start(["fleet", "serve"], folder / "serve.log", environment))
    wait(lambda: "Serving" in (folder / "serve.log").read_text(), "the server")
    command = ["fleet", "device", "simulate", export, "--count", len(rooms), "--prefix", "room-"]
    command += ["--learn-samples", samples, "--inference-interval", 0, "--report-interval", 0]
    running.append(start(command, folder / "devices.log", environment))
    found = {"alone": np.fromfile(export / "learn" / "presence_learn.f32", "<f4")}
    for strategy, extra in STRATEGIES.items():
        plan = folder / f"{strategy}.toml"
        plan.write_text(
            f'name = "{strategy}"\nexport = "export"\nstrategy = "{strategy}"\n{extra}\n'
            f"[who]\nquorum = {len(rooms)}\ndevices = {len(rooms)}\n"
            f"[training]\nsteps = {STEPS}\nlr = {RATE}\n"
            f"[rounds]\ncount = {options.rounds}\ndeadline_s = 60\nwait_s = 120\n"
        )
        told = json.loads(run(["fleet", "train", plan, "--json"], quiet=True, **environment))
        print(f"{strategy}: {told['rounds']} rounds, {told['bytes_up']:,} B up", flush=True)
        found[strategy] = np.fromfile(Path(told["out"]) / "weights.f32", "<f4")
    return found


def own(room: Room) -> tuple[np.ndarray, np.ndarray]:
    """What a room has labelled."""
    return room.labelled(LABELLED, np.random.default_rng(int.from_bytes(room.name.encode(), "big")))


def learner(export: Path) -> NativeLearner:
    """The device's own code."""
    facts = Facts.from_json(json.loads((export / "report.json").read_text())["learn"])
    folder = export.parent / "native"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(export / "learn", folder / "c")
    return NativeLearner(facts, compile_native(facts.name, folder))


def judge(device: NativeLearner, room: Room, weights: Weights, adapts: bool) -> float:
    """Balanced accuracy on the later days, with or without learning the own samples first."""
    device.set_weights(weights)
    device.handle.rate = RATE
    if adapts:
        for _ in range(PASSES):
            for x, y in zip(*own(room), strict=True):
                device.step(x, int(y))
    x, y = room.later
    told = np.array([np.argmax(device.predict(row).outputs) for row in x])
    return float(np.mean([np.mean(told[y == label] == label) for label in (0, 1)]))


def tell(
    judged: dict[str, list[tuple[float, float]]], rooms: list[Room], new: int, folder: Path
) -> None:
    """The table and the picture."""
    rows = {
        "alone": np.array([r[1] for r in judged["alone"]]),
        **{
            f"{name}, {kind}": np.array([r[index] for r in judged[name]])
            for name in STRATEGIES
            for index, kind in enumerate(("common", "personal"))
        },
    }
    lines = [
        f"| model | {len(rooms) - new} rooms that took part | worst | {new} new rooms | worst |",
        "|---|---|---|---|---|",
    ]
    for name, values in rows.items():
        parts = (values[:-new], values[-new:])
        cells = " | ".join(f"{part.mean():.3f} | {part.min():.3f}" for part in parts)
        lines.append(f"| {name} | {cells} |")
    print("\n".join(lines))
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axis = figure.subplots()
    for name, marker in (("alone", "x"), ("tinyreptile, common", "o"),
                         ("tinyreptile, personal", "^")):  # fmt: skip
        axis.plot(rows[name], marker, label=name)
    axis.axvline(len(rooms) - new - 0.5, color="0.6", linewidth=1)
    axis.set(xlabel=f"room (the last {new} took no part)", ylabel="balanced accuracy")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(folder / "presence.svg")
    print(f"{folder / 'presence.svg'}: each room")


if __name__ == "__main__":
    main()
