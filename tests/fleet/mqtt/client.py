# SPDX-License-Identifier: Apache-2.0
"""A bare MQTT client for tests of the broker; it claims to be no device."""

from __future__ import annotations

import ssl
import threading
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

WAIT_S = 20.0


class Client:
    """Connects at once.

    Raises:
        ConnectionError: the broker refuses.
    """

    def __init__(
        self,
        port: int,
        user: str = "",
        password: str = "",
        *,
        ca: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
        client_id: str = "",
        host: str = "localhost",
        will: tuple[str, bytes] | None = None,
    ) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.disconnected = threading.Event()
        self._ready = threading.Event()
        self._reason: Any = None
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
        if user:
            client.username_pw_set(user, password)
        if ca is not None:
            context = ssl.create_default_context(cafile=str(ca))
            if certificate is not None:
                context.load_cert_chain(*certificate)
            client.tls_set_context(context)
        if will is not None:
            client.will_set(will[0], will[1], qos=1)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = lambda c, d, m: self.received.append((m.topic, bytes(m.payload)))
        client.on_subscribe = lambda *_: self._ready.set()
        self.client = client
        properties = Properties(PacketTypes.CONNECT)
        try:
            client.connect(host, port, keepalive=30, properties=properties)
        except (OSError, ssl.SSLError) as error:
            raise ConnectionError(str(error)) from error
        client.loop_start()
        if not self._ready.wait(WAIT_S) or self._reason.is_failure:
            client.loop_stop()
            raise ConnectionError(str(self._reason))

    def _on_connect(self, client, data, flags, reason, properties) -> None:
        self._reason = reason
        self._ready.set()

    def _on_disconnect(self, client, data, flags, reason, properties) -> None:
        self._reason = reason if self._reason is None else self._reason
        self.disconnected.set()
        self._ready.set()

    def subscribe(self, *topics: str) -> None:
        self._ready.clear()
        self.client.subscribe([(t, SubscribeOptions(qos=1)) for t in topics])
        assert self._ready.wait(WAIT_S)

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)

    def wait_for(self, count: int, seconds: float = WAIT_S) -> list[tuple[str, bytes]]:
        end = time.monotonic() + seconds
        while len(self.received) < count and time.monotonic() < end:
            time.sleep(0.02)
        return list(self.received)

    def kill(self) -> None:
        """Goes away without a word, so that the will is sent."""
        self.client.loop_stop()
        sock = self.client.socket()
        assert sock is not None
        sock.close()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
