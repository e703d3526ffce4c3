# SPDX-License-Identifier: Apache-2.0
"""One connection of the server to the broker: MQTT 5, acknowledged by hand."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from fleet.errors import FleetError
from fleet.home import Home
from fleet.metrics import Metrics
from fleet.mqtt.broker import WORKER

# Messages the broker may send before the first of them is acknowledged: a batch and the next.
RECEIVE_MAXIMUM = 5000
# Messages we may send before the broker has acknowledged the first of them.
INFLIGHT = 1000
# The broker keeps messages for a role that is away this long.
SESSION_S = 86_400
CONNECT_S = 20.0


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that is not acknowledged yet.

    Args:
        topic, payload: of it.
        at: seconds since 1970 when it arrived.
        number: packet identifier; 0 for QoS 0.
        connection: the connection that it came by; the number means nothing on another.
    """

    topic: str
    payload: bytes
    at: float
    number: int
    connection: int


class Link:
    """A connection that comes back by itself.

    Args:
        home: of the fleet.
        role: what the connection is for; with ``instance`` it names the session.
        subscriptions: topic filters, QoS 1.
        on_message: called in the connection's thread; must not wait.
        metrics: of the process.
        instance: names this process among those of the same role.
        receive_maximum: messages that the broker may send before the first is acknowledged.
    """

    def __init__(
        self,
        home: Home,
        role: str,
        subscriptions: Sequence[str],
        on_message: Callable[[Incoming], None],
        metrics: Metrics,
        instance: str = "",
        receive_maximum: int = RECEIVE_MAXIMUM,
    ) -> None:
        self._home = home
        self._role = role
        self._subscriptions = list(subscriptions)
        self._on_message = on_message
        self._receive_maximum = receive_maximum
        self._connected = metrics.connected.labels(role)
        self._connection = 0
        self._up = threading.Event()
        self._refused = ""
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{WORKER}-{role}{instance}",
            protocol=paho.MQTTv5,
            manual_ack=True,
        )
        client.username_pw_set(WORKER, home.secret("worker"))
        client.max_inflight_messages_set(INFLIGHT)
        client.max_queued_messages_set(0)
        client.reconnect_delay_set(1, 15)
        if home.config.broker.worker_tls:
            client.tls_set_context(ssl.create_default_context(cafile=str(home.keys / "ca.pem")))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._receive
        client.on_socket_open = _no_delay
        self._client = client

    def start(self) -> None:
        """Connects and waits for it.

        Raises:
            FleetError: the broker cannot be reached or refuses.
        """
        config = self._home.config.broker
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_S
        properties.ReceiveMaximum = self._receive_maximum
        where = f"{config.host}:{config.worker_port}"
        try:
            self._client.connect(
                config.host,
                config.worker_port,
                keepalive=30,
                clean_start=False,
                properties=properties,
            )
        except (OSError, ssl.SSLError) as error:
            raise FleetError(
                f"the broker at {where} cannot be reached: {error}",
                "Start fleet serve, or correct [broker] in fleet.toml.",
            ) from None
        self._client.loop_start()
        if not self._up.wait(CONNECT_S):
            self.stop()
            raise FleetError(
                f"the broker at {where} refuses the server: {self._refused or 'silence'}"
            )

    def stop(self, forget: bool = False) -> None:
        """Disconnects.

        Args:
            forget: end the session: a share of messages must not pile up for a process that is
                not meant to come back.
        """
        properties = _properties(PacketTypes.DISCONNECT)
        if forget:
            for topic in self._subscriptions:
                self._client.unsubscribe(topic)
            properties.SessionExpiryInterval = 0
        self._client.disconnect(properties=properties)
        self._client.loop_stop()

    def acknowledge(self, messages: Sequence[Incoming]) -> None:
        """Tells the broker that it need not send these again.

        What came by an earlier connection is left out: the broker sends it again, and it is known.
        """
        for message in messages:
            if message.number and message.connection == self._connection:
                self._client.ack(message.number, 1)

    def publish(self, topic: str, payload: bytes, lifetime_s: float) -> paho.MQTTMessageInfo:
        """Sends with QoS 1; the broker forgets it after ``lifetime_s``."""
        properties = _properties(PacketTypes.PUBLISH)
        properties.MessageExpiryInterval = max(int(lifetime_s), 1)
        return self._client.publish(topic, payload, qos=1, properties=properties)

    def _on_connect(
        self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            self._refused = str(reason)
            return
        self._connection += 1
        if self._subscriptions:
            client.subscribe([(t, SubscribeOptions(qos=1)) for t in self._subscriptions])
        self._connected.set(1)
        self._up.set()

    def _on_disconnect(
        self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        self._connected.set(0)
        self._up.clear()

    def _receive(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        number = message.mid if message.qos else 0
        self._on_message(
            Incoming(message.topic, bytes(message.payload), time.time(), number, self._connection)
        )


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]


def _no_delay(client: paho.Client, data: Any, link: Any) -> None:
    if isinstance(link, socket.socket) and link.family in (socket.AF_INET, socket.AF_INET6):
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def process_name() -> str:
    """Names this process in leases."""
    return f"{socket.gethostname()}-{os.getpid()}-{int(time.time())}"[:64]
