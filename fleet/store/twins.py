# SPDX-License-Identifier: Apache-2.0
"""Rows of twins as the domain's `Twin`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.engine import Connection

from fleet.domain.twin import Twin
from fleet.store import schema
from fleet.store.devices import CHUNK
from fleet.store.upsert import upsert

_T = schema.twin


def load(connection: Connection, ids: Sequence[int]) -> dict[int, Twin]:
    """Twins by number of the device, locked until the transaction ends."""
    found: dict[int, Twin] = {}
    ordered = sorted(ids)
    for start in range(0, len(ordered), CHUNK):
        query = (
            select(_T)
            .where(_T.c.device_id.in_(ordered[start : start + CHUNK]))
            .order_by(_T.c.device_id)
            .with_for_update()
        )
        for row in connection.execute(query):
            found[row.device_id] = Twin(
                row.desired, row.version, row.reported, row.applied, row.reason
            )
    return found


def save(connection: Connection, twins: Mapping[int, Twin]) -> None:
    """Writes twins."""
    rows = [
        {
            "device_id": number,
            "desired": dict(t.desired),
            "version": t.version,
            "reported": dict(t.reported),
            "applied": t.applied,
            "reason": t.reason,
        }
        for number, t in sorted(twins.items())
    ]
    upsert(connection, _T, rows, ("desired", "version", "reported", "applied", "reason"))
