# SPDX-License-Identifier: Apache-2.0
"""The role `graph`: the one writer of the graph, following SQL."""

from __future__ import annotations

import threading
from pathlib import Path

from fastapi import APIRouter

from fleet.graph.facts import DeviceFacts
from fleet.graph.http import graph_router
from fleet.graph.projector import Projector
from fleet.graph.read import read_device, read_devices
from fleet.graph.store import GraphStore
from fleet.home import Home

IDLE_S = 0.5


def graph_folder(home: Home) -> Path:
    """Where a fleet keeps its graph."""
    return home.folder / "graph"


class Follow:
    """Projects changes as they come; makes an empty graph anew first.

    Args:
        home: of the fleet.
        graph: opened for writing.
    """

    def __init__(self, home: Home, graph: GraphStore) -> None:
        self._home = home
        self._graph = graph

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop`` is set."""
        projector = Projector(self._home.store, self._graph)
        if len(self._graph) == 0:
            projector.rebuild()
        while not stop.is_set():
            if not projector.follow():
                stop.wait(IDLE_S)


def router(home: Home, graph: GraphStore) -> APIRouter:
    """The graph's routes for a fleet."""

    def devices(tenant: str) -> list[DeviceFacts]:
        with home.store.read() as connection:
            return read_devices(connection, tenant)

    def device(tenant: str, name: str) -> DeviceFacts | None:
        with home.store.read() as connection:
            return read_device(connection, tenant, name)

    return graph_router(graph, devices, device, broker_url(home))


def broker_url(home: Home) -> str:
    """As devices reach it."""
    broker = home.config.broker
    return f"{'mqtt' if broker.insecure else 'mqtts'}://{broker.host}:{broker.port}"
