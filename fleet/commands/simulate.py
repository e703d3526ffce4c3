# SPDX-License-Identifier: Apache-2.0
"""fleet device simulate: the real device agent on this machine, many of them in one process."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fleet.commands.common import HomeOption, TenantOption, actor, open_home, tenant_of
from fleet.commands.device import hand_over
from fleet.devices import build_board, build_device, start_board, start_devices
from fleet.errors import FleetError
from fleet.home import Home
from fleet.service import devices
from tinyml import read_report

SLOT_MARGIN = 4


def simulate(
    export: Annotated[Path, typer.Argument(help="Export whose model the devices run.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 10,
    prefix: Annotated[str, typer.Option(help="Of their names.")] = "sim-",
    board: Annotated[
        bool, typer.Option("--board", help="Emulated Cortex-M4 boards; needs a bridge port.")
    ] = False,
    report_interval: Annotated[int, typer.Option(min=0, help="Seconds; 0: none.")] = 10,
    hardware: Annotated[str, typer.Option(help="Hardware class that they state.")] = "",
    sensor: Annotated[str, typer.Option(help="Kind of sensor that they state.")] = "",
    stats: Annotated[int, typer.Option(min=1, help="Seconds between lines about them.")] = 5,
    learn_samples: Annotated[
        Path | None,
        typer.Option(help="What they learn from: float32 rows in FILE, or FOLDER/DEVICE.f32."),
    ] = None,
    learn_rows: Annotated[
        int, typer.Option(min=0, help="Rows of FILE that each device owns; 0: all share all.")
    ] = 0,
    inference_interval: Annotated[
        int | None, typer.Option(min=0, help="Milliseconds between inferences; 0: none.")
    ] = None,
    home: HomeOption = None,
    tenant: TenantOption = None,
) -> None:
    """Run devices on this machine until interrupted: the agent in C, compiled around the model.

    They are registered when their names are new, and go on where they stopped otherwise.
    """
    # SIGTERM ends the devices like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    here = open_home(home)
    folder = here.folder / "simulated" / prefix.strip("-")
    names = [f"{prefix}{n:05d}" for n in range(1, count + 1)]
    credentials = enrol(here, tenant_of(here, tenant), names, folder)
    if board:
        run_boards(here, export, credentials, names, folder, Rows(learn_samples, learn_rows))
        return
    config = here.config.broker
    options = ["--vendor", here.config.vendor, "--hardware", hardware or "posix"]
    options += ["--report-interval", str(report_interval), "--count", str(count)]
    options += ["--slot-bytes", str(slot_bytes(export))]
    options += ["--sensor", sensor] if sensor else []
    options += ["--learn-samples", str(learn_samples)] if learn_samples else []
    options += ["--learn-rows", str(learn_rows)] if learn_rows else []
    if inference_interval is not None:
        options += ["--inference-interval", str(inference_interval)]
    process = start_devices(
        build_device(export),
        broker=f"localhost:{config.port}",
        credentials=credentials,
        root_key=str(here.keys / "root.pub"),
        state=folder / "state",
        ca=None if config.insecure else here.keys / "ca.pem",
        stats_s=stats,
        options=options,
    )
    print(f"Running {count} devices. Ctrl-C ends them.", flush=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            s = json.loads(line)
            print(
                f"{s['connected']} of {s['devices']} connected, {s['confirmed']} on sequence "
                f"{s['sequence']}, {s['trial']} in trial, {s['inferences']:,} inferences",
                flush=True,
            )
    except KeyboardInterrupt:
        pass
    finally:
        end([process])
    if process.returncode not in (0, -signal.SIGINT, -signal.SIGTERM):
        raise FleetError(f"the devices ended with status {process.returncode}")


def enrol(home: Home, tenant: str, names: list[str], folder: Path) -> Path:
    """Registers those of ``names`` that are new; returns the file of all credentials."""
    file = folder / "credentials.txt"
    known = set()
    if file.is_file():
        known = {line.split()[1] for line in file.read_text("utf-8").splitlines()}
    new = [n for n in names if n not in known]
    if new:
        folder.mkdir(parents=True, exist_ok=True)
        hand_over(devices.add(home, tenant, new, actor()), file, as_json=False)
    return file


def slot_bytes(export: Path) -> int:
    """Room for any release of the model with plenty of golden inputs."""
    (weights,) = (export / "c").glob("*_weights.bin")
    return SLOT_MARGIN * weights.stat().st_size + 65_536


@dataclass(frozen=True)
class Rows:
    """What devices learn from.

    Args:
        source: float32 rows, inputs then target: one file, or a folder of NAME.f32; None: nothing.
        each: rows of the one file that each device owns; 0: all have all.
    """

    source: Path | None = None
    each: int = 0

    def write(self, export: Path, device: str, number: int, to: Path) -> Path | None:
        """The file that device ``number`` of all learns from.

        Raises:
            FleetError: the export has no learner, or there are too few rows.
        """
        if self.source is None:
            return None
        source = self.source / f"{device}.f32" if self.source.is_dir() else self.source
        if not source.is_file():
            raise FleetError(f"there is no {source}", "--learn-samples takes a file, or a folder.")
        if self.source.is_dir():
            return source
        if not self.each:
            return self.source
        learn = read_report(export).get("learn")
        if learn is None:
            raise FleetError(
                f"{export} has nothing that learns", "Export it again with --learn all or head."
            )
        targets = 1 if learn["loss"] == "cross-entropy" else learn["outputs"]
        size = 4 * self.each * (learn["inputs"] + targets)
        with self.source.open("rb") as file:
            file.seek(size * number)
            data = file.read(size)
        if len(data) < size:
            raise FleetError(f"{self.source} has fewer rows than --learn-rows times the devices")
        to.write_bytes(data)
        return to


def run_boards(
    home: Home, export: Path, credentials: Path, names: list[str], folder: Path, rows: Rows
) -> None:
    """Emulated boards until interrupted.

    Raises:
        FleetError: the home has no bridge port, or an emulator ended.
    """
    processes = start_boards(home, export, credentials, names, folder, rows)
    print(f"Running {len(processes)} emulated boards. Ctrl-C ends them.", flush=True)
    try:
        for process in processes:
            process.wait()
            words = process.stderr.read().strip() if process.stderr else ""
            raise FleetError(f"an emulated board ended: {words or process.returncode}")
    except KeyboardInterrupt:
        pass
    finally:
        end(processes)


def start_boards(
    home: Home, export: Path, credentials: Path, names: list[str], folder: Path, rows: Rows
) -> list[subprocess.Popen[str]]:
    """One emulator a name; the caller ends them.

    Raises:
        FleetError: the home has no port for bridges, or what boards learn from is not there.
    """
    config = home.config.broker
    port = config.port if config.insecure else config.bridge_port
    if not port:
        raise FleetError(
            "emulated boards speak without TLS through a bridge, and this home has no port for it",
            "Set bridge_port in fleet.toml, then fleet init --again and restart fleet serve.",
        )
    program = build_board(export)
    lines = [line.split() for line in credentials.read_text("utf-8").splitlines()]
    own = {
        name: rows.write(export, name, number, folder / f"{name}.f32")
        for number, name in enumerate(names)
    }
    return [
        start_board(
            program,
            broker=f"127.0.0.1:{port}",
            tenant=tenant,
            device=device,
            password=password,
            root_key=(home.keys / "root.pub").read_text("ascii").strip(),
            state=folder / device,
            rows=own[device],
        )
        for tenant, device, password in lines
        if device in names
    ]


def end(processes: list[subprocess.Popen[str]]) -> None:
    """Ends processes that this command started."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
