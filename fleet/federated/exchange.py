# SPDX-License-Identifier: Apache-2.0
"""Jobs and replies over the fleet's broker; who can learn is read from the registry."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import select

from fleet.errors import FleetError
from fleet.federated.grid import Node
from fleet.home import Home
from fleet.metrics import Metrics
from fleet.mqtt.link import Incoming, Link
from fleet.store import federated, releases, schema
from fleet.wire import topics
from fleet.wire.messages import TrainJob

# Presence is read again after this long.
REFRESH_S = 1.0


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
        self._queue: queue.Queue[tuple[str, str, bytes]] = queue.Queue()
        self._nodes: dict[int, Node] = {}
        self._read_at = 0.0
        self._numbers: Iterator[int] = iter(())
        self._link = Link(
            home, "federate", [topics.up_filter("train")], self._receive, Metrics(), f"-{tenant}"
        )
        self._lock = threading.Lock()

    def start(self) -> None:
        """Connects. Raises FleetError when the broker cannot be reached."""
        self._link.start()

    def stop(self) -> None:
        """Disconnects; replies that come later are nobody's."""
        self._link.stop(forget=True)

    def _receive(self, incoming: Incoming) -> None:
        # Acknowledged at once: a reply that is lost with this process belongs to a round that
        # will be repeated.
        self._link.acknowledge([incoming])
        try:
            address = topics.parse(incoming.topic)
        except ValueError:
            return
        if address.tenant == self._tenant:
            self._queue.put((address.tenant, address.device, incoming.payload))

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

    def wait_for(self, count: int, timeout_s: float) -> None:
        """Waits until so many devices can learn.

        Raises:
            FleetError: they did not come.
        """
        end = time.monotonic() + timeout_s
        while len(self.nodes()) < count:
            if time.monotonic() > end:
                raise FleetError(
                    f"{len(self.nodes())} of {count} devices are online and learn this model "
                    f"(ABI {self._abi})",
                    "Start them, lower quorum in the plan, or check fleet device list.",
                )
            time.sleep(0.2)

    def share(self, data: bytes) -> None:
        """Keeps bytes where the role `blob` serves them to this tenant."""
        digest = self._home.blobs.put(data)
        with self._home.store.write() as connection:
            releases.add_artefact(connection, digest, len(data), "training", time.time())
            federated.share(connection, self._tenant, digest)

    def send(self, node: Node, job: TrainJob) -> None:
        """Offers a job."""
        topic = topics.down(node.tenant, node.device, "train")
        self._link.publish(topic, job.encode(), self._lifetime)

    def job_number(self) -> int:
        """From a block that SQL reserved."""
        number = next(self._numbers, None)
        if number is None:
            with self._home.store.write() as connection:
                first = federated.reserve_jobs(connection)
            self._numbers = iter(range(first, first + federated.BLOCK))
            number = next(self._numbers)
        return number

    def replies(self) -> queue.Queue[tuple[str, str, bytes]]:
        """As they come."""
        return self._queue
