# SPDX-License-Identifier: Apache-2.0
"""Jobs and replies over the fleet's broker; who can learn is read from the registry."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from paho.mqtt.client import MQTTMessageInfo
from sqlalchemy import select

from fleet.federated.grid import Node
from fleet.home import Home
from fleet.metrics import Metrics
from fleet.mqtt.link import Incoming, Link
from fleet.store import federated, releases, schema
from fleet.wire import topics
from fleet.wire.messages import TrainJob

# Presence is read again after this long.
REFRESH_S = 1.0
# Messages of this process that are not acknowledged yet, either way: its memory does not grow with
# the devices; the others wait at the broker.
WINDOW = 64
# The broker tells its counters every few seconds.
FRESH_S = 15.0
RECEIVED, SENT = (f"$SYS/broker/bytes/{way}" for way in ("received", "sent"))


class MqttExchange:
    """Args:
    home: of the fleet.
    tenant: whose devices.
    abi: of the learner; other devices do not take part.
    names: the devices of the plan; None for all.
    lifetime_s: after which the broker forgets a job.
    """

    def __init__(
        self,
        home: Home,
        tenant: str,
        abi: int,
        names: Sequence[str] | None = None,
        lifetime_s: float = 60.0,
    ) -> None:
        self._home = home
        self._tenant = tenant
        self._abi = f"{abi:016x}"
        self._names = None if names is None else set(names)
        self._lifetime = lifetime_s
        self._queue: queue.SimpleQueue[Incoming] = queue.SimpleQueue()
        self._sent: deque[MQTTMessageInfo] = deque()
        self._counters: dict[str, int] = {}
        self._told = threading.Condition()
        self._nodes: dict[int, Node] = {}
        self._read_at = 0.0
        self._numbers: Iterator[int] = iter(())
        self._link = Link(
            home,
            "federate",
            [topics.up_filter("train"), RECEIVED, SENT],
            self._receive,
            Metrics(),
            f"-{tenant}",
            receive_maximum=WINDOW,
        )
        self._lock = threading.Lock()

    def start(self) -> None:
        """Connects. Raises FleetError when the broker cannot be reached."""
        self._link.start()

    def stop(self) -> None:
        """Disconnects; replies that come later are nobody's."""
        self._link.stop(forget=True)

    def _receive(self, incoming: Incoming) -> None:
        if not incoming.topic.startswith("$SYS/"):
            self._queue.put(incoming)
            return
        self._link.acknowledge([incoming])
        with self._told:
            self._counters[incoming.topic] = int(incoming.payload)
            self._told.notify_all()

    def reply(self, wait_s: float) -> tuple[str, str, bytes] | None:
        """The next of this tenant. Acknowledged when it is taken: one that is lost with this
        process belongs to a round that will be repeated."""
        end = time.monotonic() + wait_s
        while True:
            try:
                incoming = self._queue.get(timeout=max(end - time.monotonic(), 0.0))
            except queue.Empty:
                return None
            self._link.acknowledge([incoming])
            try:
                address = topics.parse(incoming.topic)
            except ValueError:
                continue
            if address.tenant == self._tenant:
                return address.tenant, address.device, incoming.payload

    def broker_bytes(self, fresh: bool = False) -> tuple[int, int] | None:
        """Received and sent since the broker began."""
        with self._told:
            if fresh:
                before = self._counters.get(SENT)
                self._told.wait_for(lambda: self._counters.get(SENT) != before, FRESH_S)
            if not {RECEIVED, SENT} <= self._counters.keys():
                return None
            return self._counters[RECEIVED], self._counters[SENT]

    def nodes(self) -> Mapping[int, Node]:
        """Devices that are online and learn this model."""
        with self._lock:
            if time.monotonic() - self._read_at > REFRESH_S:
                self._nodes = {n.node_id: n for n in self._read()}
                self._read_at = time.monotonic()
            return self._nodes

    def _read(self) -> list[Node]:
        device, presence = schema.device, schema.presence
        query = (
            select(device.c.name, device.c.packet_bytes, device.c.learning)
            .join(presence, presence.c.device_id == device.c.id)
            .where(
                device.c.tenant == self._tenant,
                device.c.state == "active",
                presence.c.online,
                device.c.learning.is_not(None),
            )
        )
        with self._home.store.read() as connection:
            rows = connection.execute(query).all()
        return [
            Node(self._tenant, name, packet, bool(learning.get("clips")))
            for name, packet, learning in rows
            if learning
            and learning["abi"] == self._abi
            and (self._names is None or name in self._names)
        ]

    def share(self, data: bytes) -> None:
        """Keeps bytes where the role `blob` serves them to this tenant."""
        digest = self._home.blobs.put(data)
        with self._home.store.write() as connection:
            releases.add_artefact(connection, digest, len(data), "training", time.time())
            federated.share(connection, self._tenant, digest)

    def send(self, node: Node, job: TrainJob, wait_s: float) -> bool:
        """Offers a job as soon as the broker has taken earlier ones."""
        while self._sent and _is_taken(self._sent[0]):
            self._sent.popleft()
        if len(self._sent) >= WINDOW:
            self._sent[0].wait_for_publish(wait_s)
            if not _is_taken(self._sent[0]):
                return False
        topic = topics.down(node.tenant, node.device, "train")
        self._sent.append(self._link.publish(topic, job.encode(), self._lifetime))
        return True

    def job_number(self) -> int:
        """From a block that SQL reserved."""
        number = next(self._numbers, None)
        if number is None:
            with self._home.store.write() as connection:
                first = federated.reserve_jobs(connection)
            self._numbers = iter(range(first, first + federated.BLOCK))
            number = next(self._numbers)
        return number


def _is_taken(sent: MQTTMessageInfo) -> bool:
    """Whether the broker has it, or the client never will: then its connection has to come back."""
    try:
        return sent.is_published()
    except (RuntimeError, ValueError):
        return True
