# SPDX-License-Identifier: Apache-2.0
"""The ingest role: takes messages in batches and acknowledges what is committed.

Several processes may ingest: the broker deals each message to one of them. Order between them is
not kept, so nothing here depends on it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence

from sqlalchemy.exc import DBAPIError, OperationalError

from fleet.home import Home
from fleet.metrics import Metrics
from fleet.mqtt.absorb import KINDS, Absorbed, absorb, bury
from fleet.mqtt.link import Incoming, Link
from fleet.store import Store, telemetry
from fleet.wire.topics import up_filter

log = logging.getLogger("fleet.ingest")

BATCH = 2000
# Waiting this long for more makes batches big enough that commits cost little.
GATHER_S = 0.05
PRUNE_EVERY_S = 600.0


def subscriptions(home: Home) -> list[str]:
    """Topic filters of the role."""
    group = f"{home.secret('share')}-ingest"
    shared = [f"$share/{group}/{up_filter(c)}" for c in KINDS if c != "presence"]
    return [*shared, up_filter("presence")]


class Ingest:
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
        self.link = Link(home, "ingest", subscriptions(home), self._queue.put, metrics, instance)
        self._pruned = 0.0

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop``; returns when what was taken is committed."""
        self.link.start()
        while not stop.is_set():
            batch = self._gather()
            if batch:
                self._commit(batch, stop)
            self._prune()
        self.link.stop()

    def _gather(self) -> list[Incoming]:
        try:
            batch = [self._queue.get(timeout=0.25)]
        except queue.Empty:
            return []
        end = time.monotonic() + GATHER_S
        while len(batch) < BATCH:
            try:
                batch.append(self._queue.get(timeout=max(end - time.monotonic(), 0)))
            except queue.Empty:
                break
        return batch

    def _commit(self, batch: Sequence[Incoming], stop: threading.Event) -> None:
        while True:
            try:
                result = absorb_all(self._home.store, batch)
                break
            except OperationalError as error:
                # The database is away, busy, or chose us in a deadlock: nothing was written.
                self._metrics.retries.labels("ingest").inc()
                log.warning("a batch of %d is tried again: %s", len(batch), error.orig)
                if stop.wait(0.5):
                    return
        self.link.acknowledge(batch)
        now = time.time()
        for message in batch:
            self._metrics.message_seconds.observe(now - message.at)
        self._metrics.batch_messages.observe(len(batch))
        for channel, count in result.received.items():
            self._metrics.received.labels(channel).inc(count)
        for reason, count in result.refused.items():
            self._metrics.refused.labels(reason).inc(count)

    def _prune(self) -> None:
        days = self._home.config.retention_days
        if days and time.monotonic() - self._pruned > PRUNE_EVERY_S:
            self._pruned = time.monotonic()
            try:
                with self._home.store.write() as connection:
                    telemetry.prune(connection, time.time() - days * 86_400)
            except OperationalError as error:
                log.warning("old reports are removed later: %s", error.orig)


def absorb_all(store: Store, batch: Sequence[Incoming]) -> Absorbed:
    """Writes a batch; a message that breaks the transaction is found by halving and buried.

    Raises:
        OperationalError: the database cannot be used now.
    """
    try:
        with store.write() as connection:
            return absorb(connection, batch)
    except OperationalError:
        raise
    except (DBAPIError, ArithmeticError, ValueError, TypeError, KeyError) as error:
        if len(batch) == 1:
            log.exception("a message on %s cannot be processed", batch[0].topic)
            with store.write() as connection:
                bury(connection, batch[0], f"{type(error).__name__}: {error}")
            result = Absorbed()
            result.refused["unprocessable"] += 1
            return result
    half = len(batch) // 2
    result = absorb_all(store, batch[:half])
    second = absorb_all(store, batch[half:])
    result.received.update(second.received)
    result.refused.update(second.refused)
    return result
