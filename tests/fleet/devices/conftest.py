# SPDX-License-Identifier: Apache-2.0
"""A real broker, real devices, and the few lines of a server that the devices need."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleet.devices import build_board, build_device
from fleet.devices.build import Program
from fleet.wire import Message, decode, messages, sign1, topics
from fleet.wire.messages import BlobReply, Job, JobAction, Reason
from tests.fleet.conftest import free_port
from tests.fleet.devices.models import Release, write_export
from tests.fleet.wire.test_codec import KINDS
from tinyml import TinymlError

ROOT = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ROOT_HEX = ROOT.public_key().public_bytes_raw().hex()
TENANT = "acme"


class Broker:
    """A mosquitto of the test's own."""

    def __init__(self, folder: Path, lines: str = "") -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._config = folder / "mosquitto.conf"
        text = f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n{lines}"
        self._config.write_text(text)
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        pytest.fail("mosquitto does not listen")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


class Server:
    """Answers requests for bytes, and records what devices say."""

    def __init__(self, broker: Broker) -> None:
        self.seen: list[tuple[str, Message]] = []
        self.artefacts: dict[bytes, bytes] = {}
        self.retained: dict[str, Message] = {}
        self.correlations: list[bytes | None] = []
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.max_queued_messages_set(0)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe(topics.up_filter("#"), qos=1)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, device: str, channel: str, message: Message) -> None:
        self._client.publish(topics.down(TENANT, device, channel), message.encode(), qos=1)

    def install(self, device: str, number: int, release: Release, soak_s: int = 0) -> None:
        self.artefacts[release.manifest.digest] = release.artefact
        envelope = sign1(release.manifest.encode(), ROOT)
        job = Job(job=number, action=JobAction.INSTALL, manifest=envelope, soak_s=soak_s)
        self.send(device, "job", job)

    def of(self, kind: type[Message], device: str | None = None) -> list[Message]:
        return [
            m for d, m in list(self.seen) if isinstance(m, kind) and (device is None or d == device)
        ]

    def wait(self, what: str, ready: Callable[[], bool], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if ready():
                return
            time.sleep(0.05)
        pytest.fail(f"{what}: not within {seconds} s; seen: {self.seen[-8:]}")

    def wait_state(self, device: str, number: int, state: messages.JobState) -> messages.JobStatus:
        found: list[messages.JobStatus] = []

        def ready() -> bool:
            for message in self.of(messages.JobStatus, device):
                assert isinstance(message, messages.JobStatus)
                if message.job == number and message.state == state:
                    found.append(message)
            return bool(found)

        self.wait(f"{device} to be {state.name}", ready)
        return found[0]

    def _on_message(self, client: mqtt.Client, user: object, message: mqtt.MQTTMessage) -> None:
        address = topics.parse(message.topic)
        kind = KINDS[topics.MESSAGES[(address.direction, address.channel)]]
        decoded = decode(kind, message.payload)
        self.seen.append((address.device, decoded))
        if isinstance(decoded, messages.BlobRequest):
            self.correlations.append(getattr(message.properties, "CorrelationData", None))
            self._answer(address.device, decoded)

    def _answer(self, device: str, request: messages.BlobRequest) -> None:
        artefact = self.artefacts.get(request.digest)
        blob = request.digest[:8]
        if artefact is None:
            reply = BlobReply(blob=blob, offset=request.offset, reason=Reason.UNKNOWN_BLOB)
            self.send(device, "blob", reply)
            return
        for index in range(request.count):
            offset = request.offset + index * request.size
            data = artefact[offset : offset + request.size]
            if data:
                reply = BlobReply(blob=blob, offset=offset, reason=Reason.OK, data=data)
                self.send(device, "blob", reply)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed")
    running = Broker(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def server(broker: Broker) -> Iterator[Server]:
    running = Server(broker)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def export(tmp_path_factory) -> Path:
    return write_export(tmp_path_factory.mktemp("export") / "single")


@pytest.fixture(scope="session")
def native(export: Path) -> Program:
    """The agent as a process of this machine, under sanitizers."""
    try:
        return build_device(export, sanitize=True)
    except TinymlError as error:
        pytest.skip(error.message)


@pytest.fixture(scope="session")
def board(export: Path) -> Program:
    """The agent as firmware of the emulated Cortex-M4."""
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    try:
        return build_board(export)
    except TinymlError as error:
        pytest.skip(error.message)


def write_credentials(path: Path, names: list[str]) -> Path:
    path.write_text("".join(f"{TENANT} {name} -\n" for name in names))
    return path
