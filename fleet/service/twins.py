# SPDX-License-Identifier: Apache-2.0
"""Twins: read, and change what is desired."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fleet.domain import twin as domain
from fleet.home import Home
from fleet.service import messages
from fleet.service.devices import find, twin_as_json
from fleet.store import audit, queues, twins
from fleet.store.audit import Entry


def read(home: Home, tenant: str, name: str) -> dict[str, Any]:
    """Both halves.

    Raises:
        NotFoundError: there is no such device.
    """
    with home.store.read() as connection:
        number = find(connection, tenant, name)["id"]
        return twin_as_json(twins.load(connection, [number])[number])


def patch(
    home: Home,
    tenant: str,
    name: str,
    change: Mapping[str, Any],
    actor: str,
    expected: int | None = None,
) -> dict[str, Any]:
    """Merges ``change`` (RFC 7396) into the desired state and tells the device.

    Raises:
        NotFoundError, ConflictError, InvalidError: see `fleet.domain.twin.step`.
    """
    with home.store.write() as connection:
        number = find(connection, tenant, name)["id"]
        before = twins.load(connection, [number])[number]
        after, effects = domain.step(before, domain.Patch(change, expected), time.time())
        if effects:
            twins.save(connection, {number: after})
            queues.put_outgoing(connection, [messages.desired(tenant, name, after)])
            queues.put_outbox(connection, [queues.Change("device", tenant, name)])
            detail = {"patch": dict(change), "version": after.version}
            audit.append(
                connection, [Entry("twin.patched", f"device/{name}", actor, tenant, detail)]
            )
        return twin_as_json(after)
