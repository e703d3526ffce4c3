# SPDX-License-Identifier: Apache-2.0
"""mosquitto: its configuration, who may do what, and the managed process.

Devices: the user name is the device's name, and the broker makes it the client identifier too, so
that no device can take another's session. A device may publish below its own up/ and receive from
its own down/, nothing else.

mosquitto 2.0 checks a file ACL when a message is delivered, not when a client subscribes. A device
could therefore join a shared subscription of the server, and the messages that the broker dealt to
it would be lost. The name of the server's share group is a secret for that reason.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from fleet.errors import FleetError
from fleet.home import Home
from fleet.keys import password_verifier, write_private
from fleet.wire.topics import ROOT

WORKER = "fleet-server"
# Messages kept for one client that is away or slow: the server's workers need room.
QUEUE = 1_000_000
START_S = 20
STOP_S = 20


def write_files(home: Home, verifiers: Iterable[tuple[str, str]]) -> None:
    """Writes mosquitto.conf, acl and passwd.

    Args:
        home: of the fleet.
        verifiers: name of each device with a password, and mosquitto's hash of it.
    """
    write_private(home.broker / "mosquitto.conf", _configuration(home).encode())
    write_private(home.broker / "acl", _rules().encode())
    write_passwords(home, verifiers)


def write_passwords(home: Home, verifiers: Iterable[tuple[str, str]]) -> None:
    """Replaces the password file as a whole."""
    worker = password_verifier(home.secret("worker"))
    lines = [f"{WORKER}:{worker}", *(f"{name}:{verifier}" for name, verifier in verifiers)]
    draft = home.broker / "passwd.new"
    write_private(draft, "".join(f"{line}\n" for line in lines).encode())
    draft.replace(home.broker / "passwd")


def write_revocations(home: Home, pem: bytes) -> None:
    """Replaces the list of revoked certificates."""
    draft = home.broker / "crl.pem.new"
    write_private(draft, pem)
    draft.replace(home.broker / "crl.pem")


def _rules() -> str:
    return (
        f"user {WORKER}\n"
        f"topic read {ROOT}/+/+/up/#\n"
        f"topic write {ROOT}/+/+/down/#\n"
        "topic read $SYS/#\n"
        "\n"
        f"pattern write {ROOT}/+/%u/up/#\n"
        f"pattern read {ROOT}/+/%u/down/#\n"
    )


def _configuration(home: Home) -> str:
    config, folder = home.config.broker, home.broker
    tls = (
        f"cafile {home.keys / 'ca.pem'}\n"
        f"certfile {folder / 'server.pem'}\n"
        f"keyfile {folder / 'server.key'}\n"
        "tls_version tlsv1.2\n"
    )
    lines = [
        "# Written by fleet init; changed by it alone.",
        "per_listener_settings false",
        "allow_anonymous false",
        f"password_file {folder / 'passwd'}",
        f"acl_file {folder / 'acl'}",
        f"user {getpass.getuser()}",
        f"pid_file {folder / 'mosquitto.pid'}",
        "persistence true",
        f"persistence_location {folder}/",
        "autosave_interval 10",
        # Federated rounds are accounted by the broker's counters.
        "sys_interval 1",
        f"max_queued_messages {QUEUE}",
        "max_inflight_messages 5000",
        "persistent_client_expiration 14d",
        "set_tcp_nodelay true",
        "log_dest stdout",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages false",
        "",
        f"listener {config.port} {config.listen}",
        "use_username_as_clientid true",
    ]
    if not config.insecure:
        lines += [tls]
        if config.certificate_port:
            lines += [
                f"listener {config.certificate_port} {config.listen}",
                "use_username_as_clientid true",
                "require_certificate true",
                "use_identity_as_username true",
                f"crlfile {folder / 'crl.pem'}",
                tls,
            ]
    if config.bridge_port:
        lines += [f"listener {config.bridge_port} 127.0.0.1", "use_username_as_clientid true"]
    lines += [f"listener {config.worker_port} 127.0.0.1", tls if config.worker_tls else ""]
    return "\n".join(lines)


class Broker:
    """The managed process.

    Args:
        home: whose files it reads.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts mosquitto and waits until it accepts connections.

        Raises:
            FleetError: it is not installed, or does not come up; its last words are in the message.
        """
        if reload(self._home):
            return  # of a server that was killed: devices need not notice
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            raise FleetError("mosquitto is not installed", "apt-get install mosquitto")
        folder, config = self._home.broker, self._home.config.broker
        for port in (config.port, config.worker_port):
            if _accepts(port):
                raise FleetError(
                    f"port {port} is in use",
                    "End the program that uses it, or change the port in fleet.toml and run "
                    "fleet init --again.",
                )
        with (folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-c", folder / "mosquitto.conf"],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + START_S
        while not (_accepts(config.worker_port) and _accepts(config.port)):
            if self._process.poll() is not None or time.monotonic() > end:
                words = (folder / "mosquitto.log").read_text("utf-8", "replace").splitlines()[-3:]
                self.stop()
                raise FleetError(f"mosquitto does not start: {' / '.join(words)}")
            time.sleep(0.05)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        if self._process is not None:
            return self._process.poll() is None
        return running(self._home) is not None

    def stop(self) -> None:
        """Ends the process; it saves its sessions."""
        number = running(self._home) if self._process is None else self._process.pid
        if number is not None and self.alive:
            os.kill(number, signal.SIGTERM)
            end = time.monotonic() + STOP_S
            while self.alive and time.monotonic() < end:
                time.sleep(0.05)
            if self.alive:
                os.kill(number, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None


def running(home: Home) -> int | None:
    """The process id of the managed broker, None when it does not run."""
    try:
        number = int((home.broker / "mosquitto.pid").read_text("ascii"))
        command = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return number if str(home.broker / "mosquitto.conf").encode() in command else None


def reload(home: Home) -> bool:
    """Makes a managed broker read its files again; it disconnects who may no longer be connected.

    Returns:
        Whether one is running.
    """
    number = running(home)
    if number is None:
        return False
    os.kill(number, signal.SIGHUP)
    return True


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
