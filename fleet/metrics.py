# SPDX-License-Identifier: Apache-2.0
"""What a process counts about itself, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.received = Counter(
            "fleet_messages_received",
            "Messages of devices that were committed",
            ["channel"],
            registry=self.registry,
        )
        self.refused = Counter(
            "fleet_messages_refused",
            "Messages that were kept as dead letters",
            ["reason"],
            registry=self.registry,
        )
        self.message_seconds = Histogram(
            "fleet_message_seconds",
            "From the arrival of a message to its commit",
            buckets=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.5, 2, 5, 10, 30),
            registry=self.registry,
        )
        self.batch_messages = Histogram(
            "fleet_batch_messages",
            "Messages a transaction",
            buckets=(1, 10, 50, 100, 250, 500, 1000, 2000, 5000),
            registry=self.registry,
        )
        self.retries = Counter(
            "fleet_retries",
            "Transactions that failed and were done again",
            ["role"],
            registry=self.registry,
        )
        self.chunks = Counter(
            "fleet_chunks_sent", "Chunks of artefacts", ["outcome"], registry=self.registry
        )
        self.chunk_bytes = Counter(
            "fleet_chunk_bytes_sent", "Bytes of artefacts", registry=self.registry
        )
        self.sent = Counter(
            "fleet_messages_sent", "Messages to devices", ["outcome"], registry=self.registry
        )
        self.turn_seconds = Histogram(
            "fleet_rollout_turn_seconds",
            "Time of a turn of the rollout engine",
            registry=self.registry,
        )
        self.connected = Gauge(
            "fleet_broker_connected",
            "Whether a role's connection to the broker is up",
            ["role"],
            registry=self.registry,
        )
