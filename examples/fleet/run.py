# SPDX-License-Identifier: Apache-2.0
"""A fleet on one machine, from nothing: broker, server, 20 devices, 2 emulated Cortex-M4 boards.

python examples/fleet/run.py [--folder build/fleet-demo]

A model is published and rolled out in two waves; then a bad one, which the devices' self-test
refuses, so that the rollout stops by itself. Every command is shown before it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

DEVICES, BOARDS = 20, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/fleet-demo"))
    parser.add_argument("--keep", action="store_true", help="Go on running at the end.")
    options = parser.parse_args()
    demo = Demo(options.folder)
    try:
        demo.run()
        if options.keep:
            print(f"\nThe fleet goes on. export FLEET_HOME={demo.home}. Ctrl-C ends it.")
            while True:
                time.sleep(1)
    except KeyboardInterrupt:
        pass
    finally:
        demo.end()


class Demo:
    """The story, with the processes that it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.running: list[subprocess.Popen[bytes]] = []

    def run(self) -> None:
        """From training to queries."""
        say("1. A model in two versions, compiled and verified")
        exports = [self.export(version) for version in ("v1", "v2")]
        say("2. A fleet: CA, keys, broker with TLS, server")
        shutil.rmtree(self.home, ignore_errors=True)
        ports = [option for name in PORTS for option in (f"--{name}", str(free_port()))]
        self.fleet("init", *ports)
        self.background("serve", "serve.log")
        self.until(lambda: "Serving" in self.log("serve.log"), "the server serves")
        say(f"3. {DEVICES} devices, and {BOARDS} Cortex-M4 boards in QEMU: the same agent in C")
        self.simulate(exports[0], DEVICES, "dev-", "--sensor", "camera", "--report-interval", "5")
        self.simulate(exports[0], BOARDS, "board-", "--board")
        self.until(lambda: self.online() == DEVICES + BOARDS, "all devices are present")
        self.fleet("device", "list")
        say("4. The second version goes out in two waves")
        self.publish(exports[1])
        self.rollout("digits@good", "--wave", "4", "--wave", "100%", "--trial", "3")
        say("5. A bad model: signed and whole, but one weight is not the one that was verified")
        self.publish_damaged(exports[1])
        self.rollout("digits@bad", "--wave", "4", "--wave", "100%", "--abort-min", "2")
        print(
            "The self-test refused it; all devices run the release from before, so do the boards:"
        )
        self.fleet("device", "list", "--where", "sequence=1", "--where", "class=cortex-m4")
        say("6. Questions to the graph")
        time.sleep(3)  # the graph follows the database
        for question in QUESTIONS:
            self.fleet("query", *question)
        say("7. Nothing of this can be denied")
        self.fleet("audit", "verify")

    def export(self, version: str) -> Path:
        """One version, trained if need be."""
        from model import train

        source = self.folder / version / "digits.onnx"
        if not source.is_file():
            print("Training two versions of a digit classifier ...")
            train(self.folder)
        out = self.folder / version / "export"
        if not (out / "report.json").is_file():
            command = ["tinyml", "export", source, "--target", "cortex-m4", "--out", out]
            command += ["--calibration", self.folder / "calibration.npz"]
            command += ["--test", self.folder / "test.npz"]
            run(command, quiet=True)
        report = json.loads((out / "report.json").read_text())
        print(
            f"{version}: int8 accuracy {100 * report['accuracy']['int8']:.2f} %, "
            f"ABI {report['model']['abi']}, {report['memory']['weights']:,} B of weights"
        )
        return out

    def fleet(self, *arguments: object) -> None:
        """A command of `fleet`, shown."""
        run(["fleet", *arguments], FLEET_HOME=str(self.home))

    def background(self, name: str, log: str, *arguments: object) -> None:
        """A command of `fleet` that goes on running."""
        command = ["fleet", *name.split(), *map(str, arguments)]
        print(f"$ {shlex.join(command)} &")
        self.running.append(start(command, self.folder / log, {"FLEET_HOME": str(self.home)}))

    def simulate(self, export: Path, count: int, prefix: str, *options: str) -> None:
        """Devices of this machine."""
        self.background(
            "device simulate",
            f"{prefix}.log",
            export,
            "--count",
            count,
            "--prefix",
            prefix,
            *options,
        )

    def publish(self, export: Path) -> None:
        """The good release."""
        self.fleet(
            *("model", "publish", export, "--version", "good"),
            *("--class", "posix", "--class", "cortex-m4"),
            *("--task", "image-classification"),
        )

    def publish_damaged(self, export: Path) -> None:
        """The same export, one bit of one weight changed after it was verified."""
        from fleet.artifacts.release import from_export
        from fleet.home import Home
        from fleet.service.models import publish

        draft = from_export(export, ["posix", "cortex-m4"])
        artefact = bytearray(draft.artefact)
        artefact[draft.weights_bytes - 100] ^= 0x40
        publish(Home(self.home), "default", replace(draft, artefact=bytes(artefact)), "bad", "demo")
        print("Published digits@bad.")

    def rollout(self, release: str, *options: str) -> None:
        """Creates it, follows it to its end and shows it."""
        self.fleet("rollout", "create", release, *options, "--dry-run")
        self.fleet("rollout", "create", release, *options, "--start")
        listed = ["fleet", "rollout", "list", "--json"]
        number = json.loads(run(listed, quiet=True, FLEET_HOME=str(self.home)))[0]["rollout"]
        self.fleet("rollout", "status", number, "--wait", "--timeout", 600)

    def online(self) -> int:
        """Devices that are present."""
        command = ["fleet", "device", "list", "--where", "online=true", "--json"]
        listed = json.loads(run(command, quiet=True, FLEET_HOME=str(self.home)))
        return sum(device["class"] is not None for device in listed)

    def log(self, name: str) -> str:
        """What a process has said."""
        return (self.folder / name).read_text("utf-8", "replace")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits."""
        end = time.monotonic() + 300
        while not condition():
            ended = [p.args for p in self.running if p.poll() is not None]
            if ended or time.monotonic() > end:
                logs = "".join(self.log(p.name)[-800:] for p in self.folder.glob("*.log"))
                sys.exit(f"error: waited in vain until {what}\n{ended}\n{logs}")
            time.sleep(1)

    def end(self) -> None:
        """Ends what was started, the server last."""
        for process in reversed(self.running):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()


PORTS = ("port", "certificate-port", "worker-port", "bridge-port", "api-port")
QUESTIONS = (
    ("--name", "fits-device", "--param", "device=board-00001"),
    ("--name", "fits-model", "--param", "model=digits"),
    ("--name", "provenance", "--param", "device=dev-00001"),
)


def say(line: str) -> None:
    """A heading."""
    print(f"\n=== {line}", flush=True)


def as_module(command: list[str]) -> list[str]:
    """The command in this Python, whether or not its scripts are on the path."""
    code = f"from {command[0]}.cli import main; import sys; sys.argv[0] = '{command[0]}'; main()"
    return [sys.executable, "-c", code, *command[1:]]


def run(command: list[object], quiet: bool = False, **environment: str) -> str:
    """Runs a command to its end; ends with its error."""
    words = [str(c) for c in command]
    if not quiet:
        print(f"$ {shlex.join(words)}", flush=True)
    done = subprocess.run(
        as_module(words),
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    if done.returncode:
        sys.exit(f"error: {shlex.join(words)} failed\n{done.stderr or ''}")
    return done.stdout or ""


def start(command: list[object], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process in the background."""
    words = as_module([str(c) for c in command])
    with log.open("wb") as stream:
        return subprocess.Popen(
            words, stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        )


def wait(condition: Callable[[], bool], what: str) -> None:
    """Up to two minutes."""
    end = time.monotonic() + 120
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"error: waited in vain for {what}")
        time.sleep(0.5)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
