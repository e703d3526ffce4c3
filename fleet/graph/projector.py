# SPDX-License-Identifier: Apache-2.0
"""Keeps the graph equal to SQL: rebuilt as a whole, or following the outbox change by change.

The outbox is emptied only after the graph is durable, and projecting a change twice gives the same
graph, so a process may die at any moment.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from pyoxigraph import RdfFormat, Triple

from fleet.graph.facts import ModelFacts, Profile
from fleet.graph.read import (
    read_deployments,
    read_device,
    read_devices,
    read_models,
    read_rounds,
    tenants,
)
from fleet.graph.seloc import is_seloc
from fleet.graph.store import GraphStore
from fleet.graph.triples import (
    deployment_iri,
    deployment_triples,
    device_iri,
    device_triples,
    fit_triples,
    model_triples,
    profile_iri,
    profile_triples,
    round_iri,
    round_triples,
)
from fleet.graph.vocabulary import (
    HARDWARE,
    MODELS,
    ONTOLOGY,
    deployments_graph,
    devices_graph,
)
from fleet.store import Connection, Store, queues

ONTOLOGY_FILE = Path(__file__).parent / "ontology.ttl"
BATCH = 2000


@dataclass(frozen=True)
class Projected:
    """What a rebuild wrote."""

    devices: int
    models: int
    deployments: int
    triples: int


class Projector:
    """Args:
    store: the truth.
    graph: the projection; this is its one writer.
    """

    def __init__(self, store: Store, graph: GraphStore) -> None:
        self._store = store
        self._graph = graph
        # What the hardware graph holds, so that a new device seldom costs a comparison.
        self._profiles: dict[str, Profile] = {}
        self._models: dict[str, list[ModelFacts]] = {}

    def rebuild(self) -> Projected:
        """Makes the graph anew from SQL. Graphs imported from elsewhere stay."""
        with self._store.write() as connection:
            # What changed before this transaction is in it; what comes later is in the outbox.
            pending = [row["id"] for row in queues.read_outbox(connection, limit=10**9)]
            queues.delete_outbox(connection, pending)
            return self._project(connection)

    def project(self) -> Projected:
        """The same for a graph of one's own, beside the one that follows the outbox."""
        with self._store.read() as connection:
            return self._project(connection)

    def _project(self, connection: Connection) -> Projected:
        counts = {"devices": 0, "models": 0, "deployments": 0}
        for graph in self._graph.graphs():
            if not is_seloc(graph) and graph.value.startswith("urn:tinyml:graph:"):
                self._graph.replace(graph, ())
        self._graph.load(ONTOLOGY_FILE.read_bytes(), RdfFormat.TURTLE, ONTOLOGY)
        self._profiles, self._models = {}, {}
        for tenant in tenants(connection):
            models = read_models(connection, tenant)
            devices = read_devices(connection, tenant)
            deployments = read_deployments(connection, tenant)
            self._models[tenant] = models
            for device in devices:
                if device.profile is not None:
                    self._profiles[profile_iri(device.profile).value] = device.profile
            self._graph.add(MODELS, (t for m in models for t in model_triples(m)))
            self._graph.replace(
                devices_graph(tenant), (t for d in devices for t in device_triples(d))
            )
            self._graph.replace(
                deployments_graph(tenant),
                (t for d in deployments for t in deployment_triples(d)),
            )
            rounds = read_rounds(connection, tenant)
            self._graph.add(
                deployments_graph(tenant), (t for r in rounds for t in round_triples(r))
            )
            counts["devices"] += len(devices)
            counts["models"] += len(models)
            counts["deployments"] += len(deployments)
        self._write_hardware()
        self._graph.flush()
        return Projected(**counts, triples=len(self._graph))

    def follow(self) -> int:
        """Projects the oldest changes of the outbox.

        Returns:
            How many there were; 0 when the graph is up to date.
        """
        if not self._models:
            self._load_known()
        with self._store.read() as connection:
            rows = queues.read_outbox(connection, limit=BATCH)
            changed: dict[tuple[str, str], set[str]] = defaultdict(set)
            for row in rows:
                changed[row["kind"], row["tenant"]].add(row["subject"])
            for (kind, tenant), subjects in sorted(changed.items(), reverse=True):
                if kind == "release":
                    self._models[tenant] = read_models(connection, tenant)
                    self._write_models()
                    self._write_hardware()
                elif kind == "device":
                    for name in sorted(subjects):
                        device = read_device(connection, tenant, name)
                        triples: list[Triple] = []
                        if device is not None:
                            triples = list(device_triples(device))
                            if device.profile is not None:
                                self._learn(device.profile)
                        self._graph.replace_subject(
                            devices_graph(tenant), device_iri(tenant, name), triples
                        )
                elif kind == "round":
                    for facts in read_rounds(connection, tenant, subjects):
                        self._graph.replace_subject(
                            deployments_graph(tenant), round_iri(facts), round_triples(facts)
                        )
                else:
                    for number in sorted(subjects):
                        for deployment in read_deployments(connection, tenant, int(number)):
                            self._graph.replace_subject(
                                deployments_graph(tenant),
                                deployment_iri(deployment),
                                deployment_triples(deployment),
                            )
        if rows:
            self._graph.flush()
            with self._store.write() as connection:
                queues.delete_outbox(connection, [row["id"] for row in rows])
        return len(rows)

    def _load_known(self) -> None:
        with self._store.read() as connection:
            for tenant in tenants(connection):
                self._models[tenant] = read_models(connection, tenant)
                for device in read_devices(connection, tenant):
                    if device.profile is not None:
                        self._profiles[profile_iri(device.profile).value] = device.profile
        self._graph.load(ONTOLOGY_FILE.read_bytes(), RdfFormat.TURTLE, ONTOLOGY)

    def _learn(self, profile: Profile) -> None:
        name = profile_iri(profile).value
        if name not in self._profiles:
            self._profiles[name] = profile
            self._graph.add(HARDWARE, profile_triples(profile))
            self._graph.add(HARDWARE, fit_triples([profile], self._all_models()))

    def _all_models(self) -> list[ModelFacts]:
        return [m for models in self._models.values() for m in models]

    def _write_models(self) -> None:
        self._graph.replace(MODELS, (t for m in self._all_models() for t in model_triples(m)))

    def _write_hardware(self) -> None:
        profiles = list(self._profiles.values())
        self._graph.replace(HARDWARE, (t for p in profiles for t in profile_triples(p)))
        self._graph.add(HARDWARE, fit_triples(profiles, self._all_models()))
