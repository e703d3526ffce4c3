# SPDX-License-Identifier: Apache-2.0
"""The rollout role: takes turns of the engine and sends what they decided.

Several processes may run it; the one that holds the lease works, the others wait for it to end.
"""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import OperationalError

from fleet.home import Home
from fleet.metrics import Metrics
from fleet.mqtt.link import Link, process_name
from fleet.service import engine
from fleet.store import queues

log = logging.getLogger("fleet.rollout")

IDLE_S = 0.2
SEND_BATCH = 500
# Devices whose hello got lost are looked for this often.
ASK_S = 5.0
# What the broker has not acknowledged by then is sent again.
SEND_S = 15.0


class Roll:
    """The role in one process.

    Args:
        home: of the fleet.
        metrics: of the process.
        instance: names this process among those of the role.
    """

    def __init__(self, home: Home, metrics: Metrics, instance: str = "") -> None:
        self._home = home
        self._metrics = metrics
        self._name = process_name()
        self._asked = time.monotonic()
        self.link = Link(home, "rollout", [], lambda _: None, metrics, instance)

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop``."""
        self.link.start()
        while not stop.is_set():
            try:
                begun = time.monotonic()
                done = engine.take_turn(self._home, self._name)
                self._metrics.turn_seconds.observe(time.monotonic() - begun)
                if done is not None and begun - self._asked > ASK_S:
                    self._asked = begun
                    engine.ask_births(self._home)
                sent = 0 if done is None else self._send()
            except OperationalError as error:
                self._metrics.retries.labels("rollout").inc()
                log.warning("a turn is tried again: %s", error.orig)
                done, sent = None, 0
            if not done and not sent:
                stop.wait(IDLE_S)
        with self._home.store.write() as connection:
            queues.release(connection, engine.ROLE, self._name)
        self.link.stop()

    def _send(self) -> int:
        """Sends a batch of the outgoing queue; returns how many the broker has."""
        with self._home.store.read() as connection:
            rows = queues.read_outgoing(connection, SEND_BATCH)
        if not rows:
            return 0
        now = time.time()
        waiting = []
        done = [r["id"] for r in rows if r["expires_at"] <= now]
        self._metrics.sent.labels("expired").inc(len(done))
        for row in rows:
            if row["expires_at"] > now:
                info = self.link.publish(row["topic"], row["payload"], row["expires_at"] - now)
                waiting.append((row["id"], info))
        end = time.monotonic() + SEND_S
        for number, info in waiting:
            try:
                info.wait_for_publish(max(end - time.monotonic(), 0.001))
            except (RuntimeError, ValueError) as error:
                log.warning("a message is sent again: %s", error)
                continue
            if info.is_published():
                done.append(number)
        self._metrics.sent.labels("ok").inc(len(done))
        with self._home.store.write() as connection:
            queues.delete_outgoing(connection, done)
        return len(done)
