# SPDX-License-Identifier: Apache-2.0
"""Reports and log lines of devices, readable."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection, RowMapping

from fleet.home import Home
from fleet.service.devices import find
from fleet.store import devices, schema
from fleet.store import telemetry as rows
from fleet.wire import decode
from fleet.wire.messages import Report


def latest(
    home: Home, tenant: str, device: str = "", since: float = 0, limit: int = 100
) -> list[dict[str, Any]]:
    """The newest reports received after ``since``, oldest of them first.

    Raises:
        NotFoundError: there is no such device.
    """
    with home.store.read() as connection:
        ids = [find(connection, tenant, device)["id"]] if device else None
        found = rows.reports(connection, ids, since, limit)
        names = devices.by_ids(connection, sorted({r["device_id"] for r in found}))
        return [
            _readable(row, names[row["device_id"]]["name"])
            for row in found
            if names[row["device_id"]]["tenant"] == tenant
        ]


def _readable(row: RowMapping, name: str) -> dict[str, Any]:
    report = decode(Report, row["body"])
    values = {f.name: getattr(report, f.name) for f in Report.FIELDS}
    shown = {k: v for k, v in values.items() if v is not None}
    if report.outputs is not None:
        shown["outputs"] = [b - 256 if b > 127 else b for b in report.outputs]
    return {"device": name, "received_at": row["received_at"], **shown}


def logs(home: Home, tenant: str, device: str = "", limit: int = 100) -> list[dict[str, Any]]:
    """The newest lines, oldest of them first.

    Raises:
        NotFoundError: there is no such device.
    """
    with home.store.read() as connection:
        ids = [find(connection, tenant, device)["id"]] if device else None
        found = rows.logs(connection, ids, limit)
        names = devices.by_ids(connection, sorted({r["device_id"] for r in found}))
        return [
            {
                "device": names[r["device_id"]]["name"],
                "received_at": r["received_at"],
                "severity": r["severity"],
                "text": r["text"],
            }
            for r in found
            if names[r["device_id"]]["tenant"] == tenant
        ]


def dead_letters(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Messages that could not be processed, newest first."""
    table = schema.dead_letter
    query = select(table).order_by(table.c.id.desc()).limit(limit)
    return [dict(r) for r in connection.execute(query).mappings()]
