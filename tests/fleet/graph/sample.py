# SPDX-License-Identifier: Apache-2.0
"""A small fleet whose answers are known."""

from __future__ import annotations

from fleet.graph.facts import DeploymentFacts, DeviceFacts, LayerFacts, ModelFacts, Profile
from fleet.graph.store import GraphStore
from fleet.graph.triples import (
    deployment_triples,
    device_triples,
    fit_triples,
    model_triples,
    profile_triples,
)
from fleet.graph.vocabulary import HARDWARE, MODELS, deployments_graph, devices_graph

M4 = frozenset({"armv6-m", "armv7e-m"})
BIG = Profile("cortex-m4", 1 << 20, 256 << 10, M4, frozenset({"camera", "microphone"}))
SMALL = Profile("cortex-m4", 256 << 10, 32 << 10, M4, frozenset({"microphone"}))
TINY = Profile("cortex-m0", 256 << 10, 16 << 10, frozenset({"armv6-m"}), frozenset({"camera"}))
PROFILES = [BIG, SMALL, TINY]


def model(name: str, **changes: object) -> ModelFacts:
    """A release; its digest follows from its name."""
    values: dict[str, object] = {
        "tenant": "acme",
        "name": name,
        "version": "1",
        "digest": name.encode().hex().ljust(64, "0")[:64],
        "sequence": 1,
        "created_at": 1_700_000_000.0,
        "created_by": "ann",
        "target": "cortex-m4",
        "isa": "armv7e-m",
        "flash": 80_000,
        "ram": 30_000,
        "instructions": 10_000_000,
        "macs": 1_000_000,
        "parameters": 50_000,
        "abi": "0123456789abcdef",
        "quantisation": "int8",
        "sensors": frozenset({"camera"}),
        "layers": (
            LayerFacts("first", "conv2d", (1, 8, 8, 4), 900, "int8"),
            LayerFacts("last", "softmax", (1, 10), 0, "int8"),
        ),
        "task": "person detection",
        "accuracy": ("Top_1_accuracy", 91.5, "test split"),
        "training_data": "photographs",
    }
    return ModelFacts(**{**values, **changes})  # type: ignore[arg-type]


SEES = model("sees")
HEARS = model(
    "hears", sensors=frozenset({"microphone"}), ram=20_000, task="keyword spotting",
    accuracy=("Top_1_accuracy", 95.0, "words"), advisories=(("ADV-7", "hears too much"),),
)  # fmt: skip
HEAVY = model("heavy", ram=200_000, accuracy=("Top_1_accuracy", 97.0, "test split"))
CATALOGUE = [SEES, HEARS, HEAVY]
DEVICES = [
    DeviceFacts("acme", "a-big", "active", True, BIG, "acme", "1.2", "00", SEES.digest,
                HEARS.digest, True, 1_700_000_100.0, (("site", "lab"),)),
    DeviceFacts("acme", "b-small", "active", False, SMALL, "acme", "1.2", "00", HEARS.digest),
    DeviceFacts("acme", "c-tiny", "active", True, TINY),
    DeviceFacts("acme", "d-new", "registered", False),
]  # fmt: skip
DEPLOYMENTS = [
    DeploymentFacts("acme", 1, "a-big", 0, "install", HEARS.digest, "superseded", "ok", 1.7e9),
    DeploymentFacts("acme", 2, "a-big", 1, "install", SEES.digest, "confirmed", "ok", 1.7e9 + 60,
                    HEARS.digest),
]  # fmt: skip


def store() -> GraphStore:
    """All of it in memory."""
    made = GraphStore()
    made.replace(MODELS, (t for m in CATALOGUE for t in model_triples(m)))
    made.replace(HARDWARE, (t for p in PROFILES for t in profile_triples(p)))
    made.add(HARDWARE, fit_triples(PROFILES, CATALOGUE))
    made.replace(devices_graph("acme"), (t for d in DEVICES for t in device_triples(d)))
    made.replace(deployments_graph("acme"), (t for d in DEPLOYMENTS for t in deployment_triples(d)))
    return made
