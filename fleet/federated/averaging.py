# SPDX-License-Identifier: Apache-2.0
"""Flower's averaging strategies with the same result from one reply at a time: theirs keep all
replies of a round. What compares replies, as median, trimmed mean and Krum do, needs them all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import strategy as flower

from fleet.federated.jobs import ARRAYS, METRICS
from fleet.federated.layout import Layout
from fleet.federated.reptile import Mean, examples_of


class FedAvg(flower.FedAvg):
    """Args:
    layout: of the weights.
    options: of Flower's FedAvg.
    """

    def __init__(self, layout: Layout, **options: Any) -> None:
        super().__init__(**options)
        self._layout = layout

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Mean by number of examples."""
        return average(self._layout, replies)


class FedProx(FedAvg, flower.FedProx):
    """Args:
    layout: of the weights.
    options: of Flower's FedProx.
    """


def average(
    layout: Layout, replies: Iterable[Message]
) -> tuple[ArrayRecord | None, MetricRecord | None]:
    """Weights and metrics, means by number of examples; None where nobody answered."""
    mean = Mean(layout.size)
    for reply in replies:
        if not reply.has_error():
            metrics = reply.content.metric_records[METRICS]
            vector = layout.vector(reply.content.array_records[ARRAYS])
            mean.add(vector, examples_of(metrics), metrics)
    return (layout.record(mean.value) if mean.count else None), mean.metrics
