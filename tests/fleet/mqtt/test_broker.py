# SPDX-License-Identifier: Apache-2.0
"""Who may do what, against the real broker with the files that `fleet init` writes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from fleet.home import Home
from fleet.mqtt.broker import WORKER, Broker
from fleet.service import devices
from fleet.store import schema
from fleet.wire.topics import ROOT
from tests.fleet.conftest import make_home
from tests.fleet.mqtt.client import Client

pytestmark = pytest.mark.skipif(
    not (shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")),
    reason="mosquitto is not installed",
)
QUIET_S = 0.7
OPEN: list[Client] = []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = make_home(tmp_path_factory.mktemp("broker") / "home")
    process = Broker(home)
    process.start()
    yield home
    process.stop()
    home.store.close()


@pytest.fixture
def broker(running: Home) -> Iterator[Home]:
    """The same broker without devices and retained messages."""
    yield running
    for client in OPEN:
        client.close()
    OPEN.clear()
    server = worker(running)
    server.publish(f"{ROOT}/default/other/down/twin", b"", retain=True)
    with running.store.write() as connection:
        for table in (schema.twin, schema.presence, schema.device):
            connection.execute(table.delete())
    devices.refresh_broker(running)
    server.close()


def device(home: Home, name: str, tenant: str = "default", **options: object) -> Client:
    (made,) = devices.add(home, tenant, [name], "test")
    end = time.monotonic() + 20
    while True:
        time.sleep(0.3)  # the broker reads its files again
        try:
            port, ca = home.config.broker.port, home.keys / "ca.pem"
            return Client(port, name, made.password, ca=ca, **options)
        except ConnectionError:
            if time.monotonic() > end:
                raise


def worker(home: Home) -> Client:
    return Client(home.config.broker.worker_port, WORKER, home.secret("worker"))


def test_a_device_speaks_upwards_and_hears_its_own_downwards(broker):
    server, pump = worker(broker), device(broker, "pump")
    server.subscribe(f"{ROOT}/+/+/up/#")
    pump.subscribe(f"{ROOT}/default/pump/down/#")
    pump.publish(f"{ROOT}/default/pump/up/hello", b"1")
    server.publish(f"{ROOT}/default/pump/down/job", b"2")
    assert server.wait_for(1) == [(f"{ROOT}/default/pump/up/hello", b"1")]
    assert pump.wait_for(1) == [(f"{ROOT}/default/pump/down/job", b"2")]


def test_what_a_device_may_not_publish(broker):
    forbidden = [
        f"{ROOT}/default/other/up/hello",  # another device's voice
        f"{ROOT}/default/other/down/job",  # the server's, to another
        f"{ROOT}/default/pump/down/job",  # the server's, to itself
        f"{ROOT}/default/pump",
        "anything/else",
        "$SYS/broker/uptime",
        "$CONTROL/dynamic-security/v1",
    ]
    server, pump, other = worker(broker), device(broker, "pump"), device(broker, "other")
    server.subscribe("#", "$CONTROL/#")
    pump.subscribe(f"{ROOT}/default/pump/down/#")
    other.subscribe(f"{ROOT}/default/other/down/#")
    for number, topic in enumerate(forbidden):
        pump.client.publish(topic, f"forbidden {number}".encode(), qos=1)
    pump.publish(f"{ROOT}/default/pump/up/log", b"the end")
    assert server.wait_for(1) == [(f"{ROOT}/default/pump/up/log", b"the end")]
    server.publish(f"{ROOT}/default/other/down/job", b"the end")
    assert other.wait_for(1) == [(f"{ROOT}/default/other/down/job", b"the end")]
    time.sleep(QUIET_S)
    assert [len(c.received) for c in (server, other, pump)] == [1, 1, 0]


def test_what_a_device_may_not_hear(broker):
    forbidden = [
        "#",
        "$SYS/#",
        f"{ROOT}/#",
        f"{ROOT}/+/+/up/#",
        f"{ROOT}/+/+/down/#",
        f"{ROOT}/default/other/down/job",
        f"{ROOT}/default/other/up/hello",
        f"{ROOT}/default/spy/up/hello",  # not even what it says itself comes back
        f"$share/g/{ROOT}/+/+/down/#",
    ]
    server, spy, other = worker(broker), device(broker, "spy"), device(broker, "other")
    server.publish(f"{ROOT}/default/other/down/twin", b"retained", retain=True)
    spy.subscribe(*forbidden)
    other.publish(f"{ROOT}/default/other/up/hello", b"secret")
    spy.publish(f"{ROOT}/default/spy/up/hello", b"own")
    server.publish(f"{ROOT}/default/other/down/job", b"secret")
    time.sleep(QUIET_S)
    assert spy.received == []


def test_a_device_cannot_take_the_servers_share(broker):
    """A member of a share group gets some of the messages; the group's name is the server's."""
    group = broker.secret("share")
    assert len(group) >= 32
    server, spy, other = worker(broker), device(broker, "spy"), device(broker, "other")
    server.subscribe(f"$share/{group}-ingest/{ROOT}/+/+/up/report")
    spy.subscribe(f"$share/ingest/{ROOT}/+/+/up/report")
    for number in range(20):
        other.publish(f"{ROOT}/default/other/up/report", bytes([number]))
    assert len(server.wait_for(20)) == 20
    assert spy.received == []


def test_a_device_cannot_take_anothers_session(broker):
    """Two clients of one identifier would end each other's connection; the broker sets it."""
    pump = device(broker, "pump", client_id="pump")
    thief = device(broker, "thief", client_id="pump")
    server_like = device(broker, "mimic", client_id=f"{WORKER}-ingest")
    time.sleep(QUIET_S)
    assert not pump.disconnected.is_set()
    assert not thief.disconnected.is_set()
    assert not server_like.disconnected.is_set()


def test_a_will_obeys_the_same_rules(broker):
    server = worker(broker)
    server.subscribe("#")
    own = f"{ROOT}/default/pump/up/presence"
    pump = device(broker, "pump", will=(own, b"bye"))
    liar = device(broker, "liar", will=(own, b"lie"))
    pump.kill()
    liar.kill()
    assert server.wait_for(1) == [(own, b"bye")]
    time.sleep(QUIET_S)
    assert server.received == [(own, b"bye")]


def test_who_is_not_let_in(broker):
    config, ca = broker.config.broker, broker.keys / "ca.pem"
    (made,) = devices.add(broker, "default", ["pump"], "test")
    time.sleep(0.3)
    for user, password in [("pump", "wrong"), ("", ""), ("nobody", made.password)]:
        with pytest.raises(ConnectionError):
            Client(config.port, user, password, ca=ca)
    with pytest.raises(ConnectionError):
        Client(config.worker_port, WORKER, made.password)
    with pytest.raises(ConnectionError):
        Client(config.certificate_port, "pump", made.password, ca=ca)


def test_tls_is_not_optional(broker):
    (made,) = devices.add(broker, "default", ["pump"], "test")
    time.sleep(0.3)
    with pytest.raises(ConnectionError):
        Client(broker.config.broker.port, "pump", made.password)


def test_a_revoked_device_is_thrown_out(broker):
    pump = device(broker, "pump")
    assert not pump.disconnected.is_set()
    devices.revoke(broker, "default", "pump", "test")
    assert pump.disconnected.wait(20)
    made = devices.rotate(broker, "default", "pump", "test")
    assert within(20, lambda: admitted(broker, made.password))


def admitted(broker, password: str) -> bool:
    """Whether the broker lets the pump in; it reads its files when it is told to."""
    try:
        Client(broker.config.broker.port, "pump", password, ca=broker.keys / "ca.pem").close()
    except ConnectionError:
        return False
    return True


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def test_client_certificates(broker, tmp_path):
    config, ca = broker.config.broker, broker.keys / "ca.pem"
    (made,) = devices.add(broker, "default", ["valve"], "test", "certificate")
    files = tmp_path / "valve.pem", tmp_path / "valve.key"
    files[0].write_bytes(made.certificate)
    files[1].write_bytes(made.key)
    server = worker(broker)
    server.subscribe(f"{ROOT}/+/+/up/#")
    # What it says about itself is not asked: the certificate is its name.
    valve = Client(config.certificate_port, "pump", "", ca=ca, certificate=files)
    valve.publish(f"{ROOT}/default/pump/up/hello", b"no")
    valve.publish(f"{ROOT}/default/valve/up/hello", b"yes")
    assert server.wait_for(1) == [(f"{ROOT}/default/valve/up/hello", b"yes")]
    valve.close()
    devices.revoke(broker, "default", "valve", "test")
    time.sleep(0.5)
    with pytest.raises(ConnectionError):
        Client(config.certificate_port, "", "", ca=ca, certificate=files)


def test_devices_of_two_tenants_are_told_apart(broker):
    server, first = worker(broker), device(broker, "first", "one")
    device(broker, "second", "two")
    server.subscribe(f"{ROOT}/+/+/up/#")
    first.publish(f"{ROOT}/two/second/up/hello", b"x")
    first.publish(f"{ROOT}/one/first/up/hello", b"y")
    assert server.wait_for(1) == [(f"{ROOT}/one/first/up/hello", b"y")]
