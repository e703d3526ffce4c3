# SPDX-License-Identifier: Apache-2.0
"""Devices, their presence, sensors and groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, func, not_, or_, select
from sqlalchemy.engine import Connection, RowMapping

from fleet.domain.selector import Term
from fleet.store import schema
from fleet.store.upsert import Rows, insert_new, upsert

_D, _P, _T = schema.device, schema.presence, schema.twin
# Names or numbers in one IN list; databases limit how many parameters a statement has.
CHUNK = 5000


def _joined() -> Select[Any]:
    return select(_D, _P.c.online, _P.c.boot_id, _P.c.last_seen).join(_P, _P.c.device_id == _D.c.id)


def insert(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """New devices with their empty presence and twin."""
    connection.execute(_D.insert(), list(rows))
    for tenant in {r["tenant"] for r in rows}:
        names = [r["name"] for r in rows if r["tenant"] == tenant]
        ids = ids_by_name(connection, tenant, names).values()
        presence = [{"device_id": i, "online": False} for i in ids]
        connection.execute(_P.insert(), presence)
        empty = {"desired": {}, "version": 0, "reported": {}, "applied": 0, "reason": "ok"}
        connection.execute(_T.insert(), [{"device_id": i, **empty} for i in ids])


def ids_by_name(connection: Connection, tenant: str, names: Sequence[str]) -> dict[str, int]:
    """Numbers of the devices that exist among ``names``."""
    found: dict[str, int] = {}
    for start in range(0, len(names), CHUNK):
        query = select(_D.c.name, _D.c.id).where(
            _D.c.tenant == tenant, _D.c.name.in_(names[start : start + CHUNK])
        )
        found.update((name, number) for name, number in connection.execute(query))
    return found


def by_names(connection: Connection, tenant: str, names: Sequence[str]) -> dict[str, RowMapping]:
    """Devices with presence, by name."""
    found: dict[str, RowMapping] = {}
    for start in range(0, len(names), CHUNK):
        query = _joined().where(_D.c.tenant == tenant, _D.c.name.in_(names[start : start + CHUNK]))
        found.update((row["name"], row) for row in connection.execute(query).mappings())
    return found


def by_ids(connection: Connection, ids: Sequence[int]) -> dict[int, RowMapping]:
    """Devices with presence, by number."""
    found: dict[int, RowMapping] = {}
    for start in range(0, len(ids), CHUNK):
        query = _joined().where(_D.c.id.in_(ids[start : start + CHUNK]))
        found.update((row["id"], row) for row in connection.execute(query).mappings())
    return found


def matching(
    connection: Connection,
    tenant: str,
    terms: Iterable[Term],
    after: str = "",
    limit: int | None = None,
) -> list[RowMapping]:
    """Devices that fulfil all conditions, by name; pages begin ``after`` a name."""
    query = (
        _joined()
        .where(_D.c.tenant == tenant, _D.c.name > after, *(condition(t) for t in terms))
        .order_by(_D.c.name)
    )
    if limit is not None:
        query = query.limit(limit)
    return list(connection.execute(query).mappings())


def unborn(connection: Connection, before: float, limit: int) -> list[RowMapping]:
    """Devices online since before a time whose hello of the present boot is missing."""
    query = (
        _joined()
        .where(
            _P.c.online,
            _P.c.last_seen < before,
            or_(_D.c.born_id.is_(None), _D.c.born_id != _P.c.boot_id),
        )
        .limit(limit)
    )
    return list(connection.execute(query).mappings())


def count_by_state(connection: Connection, tenant: str) -> dict[str, int]:
    """How many devices are registered, active and revoked, and ``online``."""
    query = select(_D.c.state, func.count()).where(_D.c.tenant == tenant).group_by(_D.c.state)
    counts = {state: int(n) for state, n in connection.execute(query)}
    online = (
        select(func.count())
        .select_from(_P.join(_D, _D.c.id == _P.c.device_id))
        .where(_D.c.tenant == tenant, _P.c.online)
    )
    return {**counts, "online": connection.scalar(online) or 0}


def condition(term: Term) -> ColumnElement[bool]:
    """SQL of one condition; `fleet.domain.selector.holds` defines what it means."""
    if term.field == "sensor":
        inside = _D.c.id.in_(
            select(schema.sensor.c.device_id).where(schema.sensor.c.kind == term.value)
        )
        return inside if term.operator == "=" else not_(inside)
    if term.field == "group":
        member, group = schema.group_member, schema.group
        inside = _D.c.id.in_(
            select(member.c.device_id)
            .join(group, group.c.id == member.c.group_id)
            .where(group.c.name == term.value)
        )
        return inside if term.operator == "=" else not_(inside)
    if term.field == "online":
        return _P.c.online == (term.value if term.operator == "=" else not term.value)
    column: ColumnElement[Any]
    if term.field.startswith("tag."):
        column = _D.c.tags[term.field[4:]].as_string()
    else:
        column = _D.c[_COLUMNS.get(term.field, term.field)]
    match term.operator:
        case "=":
            return column == term.value
        case "!=":
            return or_(column != term.value, column.is_(None))
        case "<":
            return column < term.value
        case "<=":
            return column <= term.value
        case ">":
            return column > term.value
        case _:
            return column >= term.value


_COLUMNS = {
    "device": "name",
    "class": "hardware",
    "model": "model_digest",
    "sequence": "model_sequence",
}


def update(connection: Connection, device_id: int, **values: Any) -> None:
    """Sets columns of one device."""
    connection.execute(_D.update().where(_D.c.id == device_id).values(**values))


def set_presence(connection: Connection, rows: Rows) -> None:
    """Presence of devices, in order of their number so that two writers never wait in a circle."""
    ordered = sorted(rows, key=lambda r: r["device_id"])
    upsert(connection, _P, ordered, ("online", "boot_id", "last_seen"))


def set_sensors(connection: Connection, device_id: int, kinds: Iterable[str]) -> None:
    """Replaces the kinds of sensors of one device."""
    connection.execute(schema.sensor.delete().where(schema.sensor.c.device_id == device_id))
    insert_new(
        connection, schema.sensor, [{"device_id": device_id, "kind": k} for k in sorted(set(kinds))]
    )


def sensors(connection: Connection, device_id: int) -> list[str]:
    """Kinds of sensors of one device."""
    query = select(schema.sensor.c.kind).where(schema.sensor.c.device_id == device_id)
    return sorted(connection.scalars(query))


def groups(connection: Connection, tenant: str) -> list[RowMapping]:
    """Groups with the size of the static ones."""
    group, member = schema.group, schema.group_member
    size = select(func.count()).where(member.c.group_id == group.c.id).scalar_subquery()
    query = (
        select(group, size.label("members")).where(group.c.tenant == tenant).order_by(group.c.name)
    )
    return list(connection.execute(query).mappings())


def group_named(connection: Connection, tenant: str, name: str) -> RowMapping | None:
    """One group."""
    group = schema.group
    query = select(group).where(group.c.tenant == tenant, group.c.name == name)
    return connection.execute(query).mappings().one_or_none()


def add_group(connection: Connection, tenant: str, name: str, conditions: list[str] | None) -> int:
    """A new group; ``conditions`` make it dynamic."""
    done = connection.execute(
        schema.group.insert().values(tenant=tenant, name=name, conditions=conditions)
    )
    assert done.inserted_primary_key is not None
    return int(done.inserted_primary_key[0])


def remove_group(connection: Connection, group_id: int) -> None:
    """The group, not its devices."""
    connection.execute(
        schema.group_member.delete().where(schema.group_member.c.group_id == group_id)
    )
    connection.execute(schema.group.delete().where(schema.group.c.id == group_id))


def add_members(connection: Connection, group_id: int, ids: Iterable[int]) -> None:
    """Devices into a static group."""
    rows = [{"group_id": group_id, "device_id": i} for i in ids]
    insert_new(connection, schema.group_member, rows)


def remove_members(connection: Connection, group_id: int, ids: Sequence[int]) -> None:
    """Devices out of a static group."""
    member = schema.group_member
    chosen = member.c.device_id.in_(ids) if ids else false()
    connection.execute(member.delete().where(and_(member.c.group_id == group_id, chosen)))
