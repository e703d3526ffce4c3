# SPDX-License-Identifier: Apache-2.0
"""Groups: static ones have members, dynamic ones are saved conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection, RowMapping

from fleet.domain.names import check_id
from fleet.domain.selector import parse
from fleet.errors import ConflictError, InvalidError, NotFoundError
from fleet.home import Home
from fleet.service.devices import resolve
from fleet.store import audit, devices
from fleet.store.audit import Entry


def create(
    home: Home,
    tenant: str,
    name: str,
    conditions: Sequence[str],
    members: Sequence[str],
    actor: str,
) -> None:
    """A new group, dynamic if there are conditions.

    Raises:
        InvalidError: a condition cannot be understood, or members and conditions are both given.
        ConflictError: the group exists.
        NotFoundError: a member does not.
    """
    check_id("group name", name)
    if conditions and members:
        raise InvalidError("a group has either members or conditions")
    for text in conditions:
        if parse(text).field == "group":
            raise InvalidError("a group cannot be defined by a group")
    with home.store.write() as connection:
        if devices.group_named(connection, tenant, name) is not None:
            raise ConflictError(f"group {name} exists")
        number = devices.add_group(connection, tenant, name, list(conditions) or None)
        devices.add_members(connection, number, _ids(connection, tenant, members))
        detail = {"conditions": list(conditions), "members": list(members)}
        audit.append(connection, [Entry("group.created", f"group/{name}", actor, tenant, detail)])


def change(
    home: Home, tenant: str, name: str, add: Sequence[str], remove: Sequence[str], actor: str
) -> None:
    """Members in and out of a static group.

    Raises:
        NotFoundError: the group or a device does not exist.
        ConflictError: the group is dynamic.
    """
    with home.store.write() as connection:
        group = _group(connection, tenant, name)
        if group["conditions"] is not None:
            raise ConflictError(f"{name} is a dynamic group: its conditions choose the members")
        devices.add_members(connection, group["id"], _ids(connection, tenant, add))
        devices.remove_members(connection, group["id"], _ids(connection, tenant, remove))
        detail = {"added": list(add), "removed": list(remove)}
        audit.append(connection, [Entry("group.changed", f"group/{name}", actor, tenant, detail)])


def remove(home: Home, tenant: str, name: str, actor: str) -> None:
    """The group, not its devices.

    Raises:
        NotFoundError: there is none.
    """
    with home.store.write() as connection:
        devices.remove_group(connection, _group(connection, tenant, name)["id"])
        audit.append(connection, [Entry("group.removed", f"group/{name}", actor, tenant)])


def listed(home: Home, tenant: str) -> list[dict[str, Any]]:
    """Groups with how many devices each has now."""
    with home.store.read() as connection:
        found = []
        for row in devices.groups(connection, tenant):
            terms = resolve(connection, tenant, [f"group={row['name']}"])
            found.append(
                {
                    "group": row["name"],
                    "conditions": row["conditions"],
                    "devices": len(devices.matching(connection, tenant, terms)),
                }
            )
        return found


def _group(connection: Connection, tenant: str, name: str) -> RowMapping:
    row = devices.group_named(connection, tenant, name)
    if row is None:
        raise NotFoundError(f"there is no group {name}", "fleet group list shows them.")
    return row


def _ids(connection: Connection, tenant: str, names: Sequence[str]) -> list[int]:
    found = devices.ids_by_name(connection, tenant, names)
    for name in names:
        if name not in found:
            raise NotFoundError(f"there is no device {name}", "fleet device list shows them.")
    return list(found.values())
