# SPDX-License-Identifier: Apache-2.0
"""Federated meta-learning of sine waves on 50 real agents over a real broker.

python examples/federated_sine/run.py [--rounds 10000] [--devices 50] [--folder build/sine]

Waves are y = a sin(x + b), a in [0.1, 5], b in [0, 2 pi), x in [-5, 5]. Each round one device (C,
one process for all of them) gets the weights over MQTT, learns from 32 samples of a new wave, one
at a time, and answers; the server moves. Afterwards the initialisation is judged on 100 new waves
with 10 shots each, by the same generated C. FedSGD and no training are the comparison.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "bench"))
sys.path.insert(0, str(HERE.parent / "fleet"))
import sine as measure  # noqa: E402
from run import free_port, run, say, start, wait  # noqa: E402

STRATEGIES = {
    "tinyreptile": 'strategy = "tinyreptile"\noptions = { alpha = 0.5 }',
    "tinymetafed": 'strategy = "tinymetafed"\noptions = { alpha = 0.5, top = 0.2 }',
    "fedsgd": 'strategy = "fedsgd"',
}
SAMPLES = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=Path("build/sine"))
    parser.add_argument("--strategies", nargs="*", default=list(STRATEGIES))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    running: list[subprocess.Popen[bytes]] = []
    try:
        demo(options, running)
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(40)


def demo(options: argparse.Namespace, running: list[subprocess.Popen[bytes]]) -> None:
    """The story."""
    folder: Path = options.folder
    home = folder / "home"
    say("1. The network, with the C that learns it")
    rng = np.random.default_rng(0)
    np.savez(folder / "x.npz", x=rng.uniform(-5, 5, (256, 1)).astype(np.float32))
    export = folder / "export"
    run(
        ["tinyml", "export", f"{HERE / 'model.py'}:sine", "--calibration", folder / "x.npz",
         "--target", "cortex-m4", "--learn", "all", "--loss", "mse", "--out", export],
    )  # fmt: skip
    say(f"2. {options.devices} devices, each with its own stream of waves")
    shutil.rmtree(home, ignore_errors=True)
    names = ("port", "certificate-port", "worker-port", "api-port")
    ports = [text for name in names for text in (f"--{name}", str(free_port()))]
    environment = {"FLEET_HOME": str(home)}
    run(["fleet", "init", "--insecure", *ports], **environment)
    running.append(start(["fleet", "serve"], folder / "serve.log", environment))
    wait(lambda: "Serving" in (folder / "serve.log").read_text(), "the server")
    waves = folder / "waves"
    write_waves(waves, options.devices, options.rounds)
    command = ["fleet", "device", "simulate", export, "--count", options.devices, "--prefix", "w-"]
    command += ["--learn-samples", waves, "--inference-interval", 0, "--report-interval", 0]
    running.append(start(command, folder / "devices.log", environment))
    rows = []
    start_weights = np.fromfile(export / "learn" / "sine_learn.f32", "<f4")
    rows.append(("no training", 0, 0, 0.0, *judge(export, start_weights)))
    for name in options.strategies:
        say(f"3. {name}: {options.rounds:,} rounds")
        plan = folder / f"{name}.toml"
        plan.write_text(plan_text(name, options))
        begun = time.monotonic()
        told = run(["fleet", "train", plan, "--json"], quiet=True, **environment)
        took = time.monotonic() - begun
        facts = json.loads(told)
        weights = np.fromfile(Path(facts["out"]) / "weights.f32", "<f4")
        rows.append((name, facts["rounds"], facts["bytes_up"], took, *judge(export, weights)))
        print(f"{facts['rounds']:,} rounds in {took:.0f} s, {facts['bytes_up']:,} B up", flush=True)
    say("4. Judged on 100 new waves, 10 shots each")
    lines = [
        "| method | rounds | uplink, B | seconds | MSE before | after 10 shots |",
        "|---|---|---|---|---|---|",
    ]
    for name, rounds, sent, took, before, after in rows:
        lines.append(
            f"| {name} | {rounds:,} | {sent:,} | {took:.0f} | {before:.2f} | {after:.3f} |"
        )
    print("\n".join(lines))
    (folder / "results.md").write_text("\n".join(lines) + "\n")


def plan_text(name: str, options: argparse.Namespace) -> str:
    """PLAN.toml."""
    return f"""name = "{name}"
export = "export"
{STRATEGIES[name]}
[who]
quorum = {options.devices}
[training]
steps = {SAMPLES}
lr = 0.02
[rounds]
count = {options.rounds}
deadline_s = 20
wait_s = 120
"""


def write_waves(folder: Path, devices: int, rounds: int) -> None:
    """A file a device: rows of x and y, a new wave every 32 rows, more than it will be asked."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    count = 2 * rounds // devices + 50
    for device in range(1, devices + 1):
        x = rng.uniform(-5, 5, (count, SAMPLES))
        a, b = rng.uniform(0.1, 5, (count, 1)), rng.uniform(0, 2 * np.pi, (count, 1))
        table = np.stack([x, a * np.sin(x + b)], axis=2).reshape(-1, 2)
        table.astype("<f4").tofile(folder / f"w-{device:05d}.f32")


def judge(export: Path, weights: np.ndarray) -> tuple[float, float]:
    """Mean squared error on new waves before and after 10-shot adaptation, on generated C."""
    from tinyml.learn.learner import Facts
    from tinyml.learn.native import NativeLearner, compile_native

    facts = Facts.from_json(json.loads((export / "report.json").read_text())["learn"])
    folder = export.parent / "native"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(export / "learn", folder / "c")
    library = compile_native(facts.name, folder)
    device = measure.Device(NativeLearner(facts, library))
    return measure.adapted_error(device, weights.astype(np.float32), 100, 1000)


if __name__ == "__main__":
    main()
