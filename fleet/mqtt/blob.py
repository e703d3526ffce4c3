# SPDX-License-Identifier: Apache-2.0
"""The blob role: answers requests for chunks of artefacts. It keeps nothing."""

from __future__ import annotations

import logging
import queue
import threading
import time

from sqlalchemy.exc import DBAPIError

from fleet.errors import FleetError
from fleet.home import Home
from fleet.metrics import Metrics
from fleet.mqtt.link import Incoming, Link
from fleet.store import federated, releases
from fleet.wire import WireError, decode, topics
from fleet.wire.messages import BlobReply, BlobRequest, Reason
from fleet.wire.topics import up_filter

log = logging.getLogger("fleet.blob")

# A device asks again after its time-out; older chunks only fill queues.
LIFETIME_S = 30.0
MAX_CHUNK = 60_000
MAX_BURST_BYTES = 256 * 1024
# A tenant's list of artefacts is read again at most this often for digests not in it.
REFRESH_S = 1.0
NAME_BYTES = 8


class Blob:
    """The role in one process.

    Args:
        home: of the fleet.
        metrics: of the process.
        instance: names this process among those of the role.
    """

    def __init__(self, home: Home, metrics: Metrics, instance: str = "") -> None:
        self._home = home
        self._metrics = metrics
        self._queue: queue.SimpleQueue[Incoming] = queue.SimpleQueue()
        group = f"{home.secret('share')}-blob"
        self.link = Link(
            home,
            "blob",
            [f"$share/{group}/{up_filter('blob')}"],
            self._queue.put,
            metrics,
            instance,
        )
        self._allowed: dict[str, tuple[float, set[str]]] = {}

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop``."""
        self.link.start()
        while not stop.is_set():
            try:
                incoming = self._queue.get(timeout=0.25)
            except queue.Empty:
                continue
            self._answer(incoming)
            self.link.acknowledge([incoming])
        self.link.stop()

    def _answer(self, incoming: Incoming) -> None:
        try:
            address = topics.parse(incoming.topic)
            request = decode(BlobRequest, incoming.payload)
        except (WireError, ValueError) as error:
            self._metrics.chunks.labels("bad_message").inc()
            log.warning("%s: %s", incoming.topic, error)
            return
        topic = topics.down(address.tenant, address.device, "blob")
        for reply in self._replies(address.tenant, request):
            self.link.publish(topic, reply.encode(), LIFETIME_S)
            self._metrics.chunks.labels(reply.reason.name.lower()).inc()
            self._metrics.chunk_bytes.inc(len(reply.data or b""))

    def _replies(self, tenant: str, request: BlobRequest) -> list[BlobReply]:
        name, offset = request.digest[:NAME_BYTES], request.offset
        try:
            data = self._data(tenant, request.digest.hex())
        except (FleetError, OSError, DBAPIError) as error:
            log.warning("artefact %s for %s: %s", request.digest.hex(), tenant, error)
            return [BlobReply(blob=name, offset=offset, reason=Reason.UNKNOWN_BLOB)]
        size = min(request.size, MAX_CHUNK)
        if offset >= len(data) or not size:
            return [BlobReply(blob=name, offset=offset, reason=Reason.BAD_OFFSET)]
        count = min(request.count, max(MAX_BURST_BYTES // size, 1))
        end = min(offset + size * count, len(data))
        return [
            BlobReply(blob=name, offset=at, reason=Reason.OK, data=data[at : min(at + size, end)])
            for at in range(offset, end, size)
        ]

    def _data(self, tenant: str, digest: str) -> bytes:
        at, allowed = self._allowed.get(tenant, (0.0, set()))
        if digest not in allowed and time.monotonic() - at > REFRESH_S:
            with self._home.store.read() as connection:
                allowed = releases.digests_of(connection, tenant)
            self._allowed[tenant] = (time.monotonic(), allowed)
        if digest not in allowed:
            # Weights of a training round are new each time.
            with self._home.store.read() as connection:
                is_shared = federated.is_shared(connection, tenant, digest)
            if is_shared:
                return self._home.blobs.get(digest)
            raise FleetError(f"the tenant has no artefact {digest}")
        return self._home.blobs.get(digest)
