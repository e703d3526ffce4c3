# SPDX-License-Identifier: Apache-2.0
"""Query times of the graph: 10,000 devices by 1,000 models, and a million triples.

usage: fleet_graph.py [--out bench/fleet_graph.md]
"""

from __future__ import annotations

import argparse
import hashlib
import random
import time
from collections.abc import Callable
from pathlib import Path

from fleet.domain.match import EXECUTES, NEEDS, match_all
from fleet.graph.facts import DeploymentFacts, DeviceFacts, LayerFacts, ModelFacts, Profile
from fleet.graph.library import ask, find_query
from fleet.graph.store import GraphStore
from fleet.graph.triples import (
    deployment_triples,
    device_triples,
    fit_triples,
    model_triples,
    profile_triples,
)
from fleet.graph.vocabulary import HARDWARE, MODELS, SENSOR_KINDS, deployments_graph, devices_graph

TENANT = "bench"
CORES = {core: NEEDS[core] for core in ("cortex-m0", "cortex-m4", "cortex-m55")}


def profiles(rng: random.Random, count: int) -> list[Profile]:
    """Hardware builds."""
    made = []
    for _ in range(count):
        core = rng.choice(list(CORES))
        sensors = frozenset(rng.sample(SENSOR_KINDS, rng.randint(1, 4)))
        flash, ram = rng.choice([64, 256, 512, 1024]), rng.choice([16, 64, 128, 256, 512])
        made.append(Profile(core, flash * 1024, ram * 1024, EXECUTES[core], sensors))
    return made


def models(rng: random.Random, count: int, layers: int) -> list[ModelFacts]:
    """Releases with some layers each."""
    made = []
    for number in range(count):
        core = rng.choice(list(CORES))
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        made.append(
            ModelFacts(
                tenant=TENANT, name=f"model-{number}", version="1", digest=digest,
                sequence=number + 1, created_at=1.7e9 + number, created_by="bench", target=core,
                isa=CORES[core], flash=rng.randint(4_000, 900_000), ram=rng.randint(1_000, 400_000),
                instructions=rng.randint(10**5, 10**8), macs=rng.randint(10**4, 10**7),
                parameters=rng.randint(10**3, 10**6), abi="00", quantisation="int8",
                sensors=frozenset(rng.sample(SENSOR_KINDS, rng.randint(0, 2))),
                layers=tuple(
                    LayerFacts(f"l{i}", "conv2d", (1, 8, 8, 8), 100, "int8") for i in range(layers)
                ),
                task=rng.choice(["keyword spotting", "person detection", "anomaly detection"]),
                accuracy=("Top_1_accuracy", rng.uniform(60, 99), "bench"),
                advisories=(("ADV-1", "bench"),) if number == 3 else (),
            )
        )  # fmt: skip
    return made


def devices(
    rng: random.Random, count: int, kinds: list[Profile], catalogue: list[ModelFacts]
) -> list[DeviceFacts]:
    """Devices, each running some model."""
    return [
        DeviceFacts(
            TENANT, f"device-{n:06}", "active", True, rng.choice(kinds), "acme", "1.0", "00",
            rng.choice(catalogue).digest, rng.choice(catalogue).digest, True, 1.7e9 + n,
        )
        for n in range(count)
    ]  # fmt: skip


def filled(
    rng: random.Random, kinds: list[Profile], catalogue: list[ModelFacts], all_of: list[DeviceFacts]
) -> GraphStore:
    """A store that holds everything, one deployment a device."""
    store = GraphStore()
    store.replace(MODELS, (t for m in catalogue for t in model_triples(m)))
    store.replace(HARDWARE, (t for p in kinds for t in profile_triples(p)))
    store.add(HARDWARE, fit_triples(kinds, catalogue))
    store.replace(devices_graph(TENANT), (t for d in all_of for t in device_triples(d)))
    deployed = (
        DeploymentFacts(
            TENANT, 1, d.name, 0, "install", rng.choice(catalogue).digest, "confirmed", "ok", 1.7e9
        )
        for d in all_of
    )
    store.replace(deployments_graph(TENANT), (t for d in deployed for t in deployment_triples(d)))
    return store


def percentiles(run: Callable[[], int], times: int) -> tuple[float, float, int]:
    """Median and 99th percentile in milliseconds, and rows of the last run."""
    taken, rows = [], 0
    for _ in range(times):
        start = time.perf_counter()
        rows = run()
        taken.append(1000 * (time.perf_counter() - start))
    taken.sort()
    return taken[len(taken) // 2], taken[min(len(taken) - 1, int(0.99 * len(taken)))], rows


def table(store: GraphStore, rng: random.Random, count: int, times: int) -> list[str]:
    """One line a query of the library."""
    device = lambda: f"device-{rng.randrange(count):06}"  # noqa: E731
    model = lambda: f"model-{rng.randrange(1000)}"  # noqa: E731
    cases: list[tuple[str, Callable[[], dict[str, str]]]] = [
        ("fits-device", lambda: {"device": device()}),
        ("fits-model", lambda: {"model": model()}),
        ("classes-for-model", lambda: {"model": model()}),
        ("misfits", lambda: {"model": model(), "device": device()}),
        ("best-for-task", lambda: {"task": "person", "ram": "65536", "flash": "262144"}),
        ("vulnerable-devices", dict),
        ("provenance", lambda: {"device": device()}),
    ]
    lines = []
    for name, parameters in cases:
        query = find_query(name)

        def run(
            query: object = query, parameters: Callable[[], dict[str, str]] = parameters
        ) -> int:
            return sum(1 for _ in ask(store, query, parameters()))  # type: ignore[arg-type,misc]

        median, worst, rows = percentiles(run, times)
        lines.append(f"| {name} | {median:.1f} | {worst:.1f} | {rows} |")
    return lines


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--times", type=int, default=200)
    options = parser.parse_args()
    rng = random.Random(1)
    lines = ["# Graph queries, measured", "", "Made by `python bench/fleet_graph.py`.", ""]
    for title, device_count, layers in (
        ("10,000 devices, 1,000 models", 10_000, 4),
        ("a million triples", 45_000, 10),
    ):
        kinds = profiles(rng, 60)
        catalogue = models(rng, 1_000, layers)
        everything = devices(rng, device_count, kinds, catalogue)
        start = time.perf_counter()
        store = filled(rng, kinds, catalogue, everything)
        loaded = time.perf_counter() - start
        lines += [
            f"## {title}: {len(store):,} triples, filled in {loaded:.1f} s", "",
            "| query | median, ms | 99 %, ms | rows |", "|---|---|---|---|",
            *table(store, rng, device_count, options.times), "",
        ]  # fmt: skip
        needs = [m.requirements for m in catalogue]
        offers = [d.profile.capacity for d in everything if d.profile]
        median, worst, pairs = percentiles(lambda: int(match_all(needs, offers).sum()), 10)  # noqa: B023
        lines += [
            f"All pairs by `match_all`: median {median:.0f} ms, largest {worst:.0f} ms, "
            f"{pairs:,} of {len(needs) * len(offers):,} fit.", "",
        ]  # fmt: skip
    text = "\n".join(lines)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
