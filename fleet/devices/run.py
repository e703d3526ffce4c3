# SPDX-License-Identifier: Apache-2.0
"""Starts devices; the caller ends the processes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fleet.devices.build import Program
from tinyml import TinymlError


def start_devices(
    program: Program,
    *,
    broker: str,
    credentials: Path,
    root_key: str,
    state: Path,
    ca: Path | None = None,
    stats_s: int = 0,
    options: Sequence[str] = (),
    stdout: int | None = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Runs the devices that a file names, all in one process, until it gets SIGTERM.

    Args:
        program: of `build_device`; its samples are the sensors' data.
        broker: ``HOST:PORT``.
        credentials: lines ``TENANT DEVICE PASSWORD``, ``-`` for no password.
        root_key: 64 hexadecimal digits, or a file of them.
        state: folder for each device's flash; devices go on where they stopped.
        ca: authority of the broker's certificate; without it there is no TLS.
        stats_s: seconds between lines of JSON about all devices on standard output; 0 for none.
        options: further ones; see the program's ``--help``.
        stdout: as of subprocess.Popen.
    """
    command = [str(program.path), "--broker", broker, "--credentials", str(credentials)]
    command += ["--root-key", root_key, "--state", str(state), "--stats", str(stats_s)]
    command += ["--ca", str(ca)] if ca else []
    command += ["--samples", str(program.samples)] if program.samples else []
    return subprocess.Popen([*command, *options], stdout=stdout, text=True)


def start_board(
    program: Program,
    *,
    broker: str,
    tenant: str,
    device: str,
    password: str,
    root_key: str,
    state: Path,
    rows: Path | None = None,
) -> subprocess.Popen[str]:
    """Runs one emulated Cortex-M4 whose UART is bridged to the broker's TCP port.

    There is no TLS on this path: the broker's plain listener must be on this machine.

    Args:
        program: of `build_board`.
        broker: ``HOST:PORT``.
        tenant, device, password: of the device; ``-`` for no password.
        root_key: 64 hexadecimal digits.
        state: folder of this device's configuration, samples and flash.
        rows: what it learns from, float32, each row inputs, then the target; the export was made
            with ``--learn``. Without it the board does not learn.

    Raises:
        TinymlError: QEMU is not installed.
    """
    qemu = shutil.which("qemu-system-arm")
    if qemu is None:
        raise TinymlError(
            "'qemu-system-arm' is not installed",
            "On Debian and Ubuntu: sudo apt-get install qemu-system-arm",
        )
    state.mkdir(parents=True, exist_ok=True)
    (state / "device.txt").write_text(f"{tenant}\n{device}\n{password}\n{root_key}\n")
    if program.samples:
        shutil.copyfile(program.samples, state / "input.bin")
    (state / "rows.f32").unlink(missing_ok=True)
    if rows:
        shutil.copyfile(rows, state / "rows.f32")
    host, _, port = broker.rpartition(":")
    command = [qemu, "-M", "mps2-an386", "-display", "none", "-monitor", "none"]
    command += ["-chardev", f"socket,host={host},port={port},id=broker,reconnect=1"]
    command += ["-serial", "chardev:broker", "-semihosting-config", "enable=on,target=native"]
    command += ["-kernel", str(program.path.resolve())]
    return subprocess.Popen(
        command, cwd=state, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
