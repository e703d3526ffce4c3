# SPDX-License-Identifier: Apache-2.0
"""Facts from SQL rows and from compiler reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection, RowMapping

from fleet.domain.match import EXECUTES, NEEDS
from fleet.graph.facts import (
    DeploymentFacts,
    DeviceFacts,
    LayerFacts,
    ModelFacts,
    Profile,
    RoundFacts,
)
from fleet.store import devices, releases, schema
from fleet.store.devices import CHUNK
from tinyml import list_targets


@cache
def _memory() -> dict[str, tuple[int, int]]:
    """Flash and RAM in bytes that each target of the compiler leaves a model."""
    return {t.name: (t.flash_bytes, t.ram_bytes) for t in list_targets()}


def device_facts(row: Mapping[Any, Any], sensors: Iterable[str]) -> DeviceFacts:
    """A device from its joined row (see `fleet.store.devices`)."""
    profile = None
    hardware = row["hardware"]
    if hardware is not None:
        said = (row["slot_bytes"] or 0, row["arena_bytes"] or 0)
        flash, ram = _memory().get(hardware, said)
        executes = EXECUTES.get(hardware, frozenset({hardware}))
        profile = Profile(hardware, flash, ram, executes, frozenset(sensors))
    return DeviceFacts(
        tenant=row["tenant"],
        name=row["name"],
        state=row["state"],
        online=bool(row["online"]),
        profile=profile,
        vendor=row["vendor"],
        firmware=row["firmware"],
        abi=row["abi"],
        model=row["model_digest"],
        passive=row["passive_digest"],
        can_rollback=bool(row["can_rollback"]),
        last_seen=row["last_seen"],
        tags=tuple(sorted((str(k), str(v)) for k, v in (row["tags"] or {}).items())),
    )


def read_devices(connection: Connection, tenant: str) -> list[DeviceFacts]:
    """All devices of a tenant."""
    rows = devices.matching(connection, tenant, [])
    kinds: dict[int, list[str]] = defaultdict(list)
    ids = [row["id"] for row in rows]
    for start in range(0, len(ids), CHUNK):
        query = select(schema.sensor).where(
            schema.sensor.c.device_id.in_(ids[start : start + CHUNK])
        )
        for sensor in connection.execute(query).mappings():
            kinds[sensor["device_id"]].append(sensor["kind"])
    return [device_facts(row, kinds[row["id"]]) for row in rows]


def read_device(connection: Connection, tenant: str, name: str) -> DeviceFacts | None:
    """One device."""
    row = devices.by_names(connection, tenant, [name]).get(name)
    return None if row is None else device_facts(row, devices.sensors(connection, row["id"]))


def model_facts(row: RowMapping, advisories: Iterable[tuple[str, str]] = ()) -> ModelFacts:
    """A release with the compiler's report."""
    report, wanted = row["report"], row["requirements"]
    described = report_facts(report)
    return ModelFacts(
        tenant=row["tenant"],
        name=row["name"],
        version=row["version"],
        digest=row["digest"],
        sequence=row["sequence"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        sensors=frozenset(wanted.get("sensors") or ()),
        task=wanted.get("task") or None,
        description=wanted.get("description") or None,
        derived_from=wanted.get("derived_from") or None,
        advisories=tuple(sorted(advisories)),
        **described,
    )


def report_facts(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a compiler's report says, as arguments of `ModelFacts`."""
    target, model, memory = report["target"]["name"], report["model"], report["memory"]
    provenance = model.get("provenance") or {}
    accuracy = report.get("accuracy")
    quantisation = report.get("quantisation") or {}
    layers = tuple(
        LayerFacts(
            layer["name"], layer["op"], tuple(layer["shape"]), layer["macs"],
            layer.get("dtype", "int8"),
        )
        for layer in report["layers"]
    )  # fmt: skip
    return {
        "target": target,
        "isa": NEEDS.get(target, target),
        "flash": memory["flash"],
        "ram": memory["ram"],
        "instructions": report.get("instructions"),
        "macs": model["macs"],
        "parameters": model["parameters"],
        "abi": model["abi"],
        "quantisation": report["inputs"][0]["dtype"],
        "layers": layers,
        "accuracy": None
        if accuracy is None
        else ("Top_1_accuracy", round(100 * accuracy["int8"], 4), accuracy["data"]),
        "training_data": provenance.get("data"),
        "licence": provenance.get("data licence"),
        "calibration_data": quantisation.get("calibration"),
        "compiler": report.get("tinyml"),
    }


def read_models(connection: Connection, tenant: str) -> list[ModelFacts]:
    """All releases of a tenant."""
    flagged: dict[str, list[tuple[str, str]]] = defaultdict(list)
    query = select(schema.advisory).where(schema.advisory.c.tenant == tenant)
    for row in connection.execute(query).mappings():
        flagged[row["digest"]].append((row["identifier"], row["summary"]))
    return [model_facts(r, flagged[r["digest"]]) for r in releases.all_of(connection, tenant)]


def read_deployments(
    connection: Connection, tenant: str, rollout: int | None = None
) -> list[DeploymentFacts]:
    """Assignments of all rollouts of a tenant, or of one."""
    a, r, d = schema.assignment, schema.rollout, schema.device
    query = (
        select(a, d.c.name)
        .join(r, r.c.id == a.c.rollout_id)
        .join(d, d.c.id == a.c.device_id)
        .where(r.c.tenant == tenant)
    )
    if rollout is not None:
        query = query.where(r.c.id == rollout)
    return [
        DeploymentFacts(
            tenant=tenant,
            rollout=row["rollout_id"],
            device=row["name"],
            wave=row["wave"],
            action=row["action"],
            digest=row["digest"],
            state=row["state"],
            reason=row["reason"],
            updated_at=row["updated_at"],
            previous=row["previous"],
        )
        for row in connection.execute(query).mappings()
    ]


def read_rounds(
    connection: Connection, tenant: str, subjects: Iterable[str] | None = None
) -> list[RoundFacts]:
    """Federated rounds of a tenant, or those named RUN/NUMBER."""
    run, done = schema.federated_run, schema.federated_round
    query = (
        select(done, run.c.name, run.c.strategy)
        .join(run, run.c.id == done.c.run_id)
        .where(run.c.tenant == tenant)
    )
    wanted = None if subjects is None else set(subjects)
    if wanted is not None:
        query = query.where(done.c.number.in_({int(s.rpartition("/")[2]) for s in wanted}))
    return [
        RoundFacts(
            tenant=tenant,
            run=row["name"],
            number=row["number"],
            strategy=row["strategy"],
            devices=tuple(row["devices"]),
            digest_in=row["digest_in"],
            digest_out=row["digest_out"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            metrics=tuple(sorted(row["metrics"].items())),
        )
        for row in connection.execute(query).mappings()
        if wanted is None or f"{row['name']}/{row['number']}" in wanted
    ]


def tenants(connection: Connection) -> list[str]:
    """Those that have devices or releases."""
    found = {str(t) for t in connection.scalars(select(schema.device.c.tenant).distinct())}
    found |= {str(t) for t in connection.scalars(select(schema.release.c.tenant).distinct())}
    return sorted(found)
