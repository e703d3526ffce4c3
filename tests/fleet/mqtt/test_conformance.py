# SPDX-License-Identifier: Apache-2.0
"""What the fleet needs of any MQTT 5 broker, on the one that FLEET_TEST_BROKER names (HOST:PORT,
no authentication), or else on a mosquitto of its own."""

from __future__ import annotations

import os
import queue
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.fleet.conftest import free_port

WAIT_S = 20.0
SILENCE_S = 0.6


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    named = os.environ.get("FLEET_TEST_BROKER")
    if named:
        host, _, port = named.rpartition(":")
        yield host, int(port)
        return
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    port, file = free_port(), tmp_path_factory.mktemp("broker") / "mosquitto.conf"
    file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(
        [program, "-c", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield "127.0.0.1", port
    process.terminate()
    process.wait(20)


class Peer:
    """A client with the MQTT 5 properties in the open."""

    def __init__(
        self,
        address: tuple[str, int],
        name: str = "",
        *,
        clean: bool = True,
        expiry_s: int = 0,
        receive_maximum: int = 100,
        will: tuple[str, bytes, int] | None = None,
    ) -> None:
        self.inbox: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.events: queue.Queue[str] = queue.Queue()
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=name or uuid.uuid4().hex,
            protocol=paho.MQTTv5,
            manual_ack=True,
        )
        client.on_connect = lambda c, d, f, r, p: self.events.put(f"connected {f.session_present}")
        client.on_subscribe = lambda *_: self.events.put("subscribed")
        client.on_disconnect = lambda c, d, f, r, p: self.events.put(f"disconnected {r.value}")
        client.on_message = lambda c, d, m: self.inbox.put(m)
        if will:
            delay = Properties(PacketTypes.WILLMESSAGE)
            delay.WillDelayInterval = will[2]
            client.will_set(will[0], will[1], qos=1, retain=True, properties=delay)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = expiry_s
        properties.ReceiveMaximum = receive_maximum
        client.connect(*address, keepalive=30, clean_start=clean, properties=properties)
        client.loop_start()
        self.client = client
        self.session_present = self.events.get(timeout=WAIT_S) == "connected True"

    def subscribe(self, topic: str) -> None:
        self.client.subscribe([(topic, SubscribeOptions(qos=1))])
        assert self.events.get(timeout=WAIT_S) == "subscribed"

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, expiry_s: int = 0
    ) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        if expiry_s:
            properties.MessageExpiryInterval = expiry_s
        self.client.publish(
            topic, payload, qos=1, retain=retain, properties=properties
        ).wait_for_publish(WAIT_S)

    def take(self, acknowledge: bool = True) -> bytes:
        message = self.inbox.get(timeout=WAIT_S)
        if acknowledge:
            self.client.ack(message.mid, message.qos)
        return bytes(message.payload)

    def silent(self) -> bool:
        time.sleep(SILENCE_S)
        return self.inbox.empty()

    def vanish(self) -> None:
        self.client.loop_stop()
        sock = self.client.socket()
        assert sock is not None
        sock.close()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def topic() -> str:
    return f"conformance/{uuid.uuid4().hex}"


def test_a_retained_message_greets_who_comes_later(address, topic):
    Peer(address).publish(topic, b"state", retain=True)
    late = Peer(address)
    late.subscribe(topic)
    assert late.take() == b"state"


def test_a_share_deals_each_message_once(address, topic):
    workers = [Peer(address), Peer(address)]
    for worker in workers:
        worker.subscribe(f"$share/g/{topic}")
    source = Peer(address)
    for number in range(20):
        source.publish(topic, bytes([number]))
    time.sleep(SILENCE_S)
    counts = [w.inbox.qsize() for w in workers]
    assert sum(counts) == 20
    assert min(counts) > 0


def test_a_message_waits_for_who_is_away(address, topic):
    name = uuid.uuid4().hex
    away = Peer(address, name, clean=False, expiry_s=60)
    away.subscribe(topic)
    away.vanish()
    Peer(address).publish(topic, b"waited")
    back = Peer(address, name, clean=False, expiry_s=60)
    assert back.session_present
    assert back.take() == b"waited"


def test_what_is_not_acknowledged_comes_again(address, topic):
    name = uuid.uuid4().hex
    first = Peer(address, name, clean=False, expiry_s=60)
    first.subscribe(topic)
    Peer(address).publish(topic, b"once more")
    assert first.take(acknowledge=False) == b"once more"
    first.vanish()
    second = Peer(address, name, clean=False, expiry_s=60)
    assert second.take() == b"once more"
    second.close()
    third = Peer(address, name, clean=False, expiry_s=60)
    assert third.silent()


def test_an_expired_message_does_not_wait(address, topic):
    name = uuid.uuid4().hex
    away = Peer(address, name, clean=False, expiry_s=60)
    away.subscribe(topic)
    away.vanish()
    source = Peer(address)
    source.publish(topic, b"stale", expiry_s=1)
    source.publish(topic, b"fresh", expiry_s=60)
    time.sleep(2.2)
    back = Peer(address, name, clean=False, expiry_s=60)
    assert back.take() == b"fresh"
    assert back.silent()


def test_receive_maximum_is_a_window(address, topic):
    slow = Peer(address, receive_maximum=2)
    slow.subscribe(topic)
    source = Peer(address)
    for number in range(5):
        source.publish(topic, bytes([number]))
    assert [slow.take(acknowledge=False), slow.take(acknowledge=False)] == [b"\0", b"\1"]
    assert slow.silent()
    slow.client.ack(1, 1)
    assert slow.take() == b"\2"


def test_a_will_waits_its_delay_and_a_return_prevents_it(address, topic):
    watcher = Peer(address)
    watcher.subscribe(topic)
    name = uuid.uuid4().hex
    Peer(address, name, expiry_s=60, will=(topic, b"gone", 2)).vanish()
    back = Peer(address, name, clean=False, expiry_s=60, will=(topic, b"gone", 2))
    time.sleep(2.5)
    assert watcher.silent()
    back.vanish()
    assert watcher.silent()
    assert watcher.take() == b"gone"


def test_a_newer_connection_takes_the_session_over(address):
    name = uuid.uuid4().hex
    old = Peer(address, name)
    old.client.reconnect_delay_set(60, 60)
    Peer(address, name)
    assert old.events.get(timeout=WAIT_S).startswith("disconnected")
