# SPDX-License-Identifier: Apache-2.0
"""Which devices a group or a rollout means: conditions that must all hold.

class=cortex-m4  tag.site=hall-3  model!=SHA256  sequence<7  online=true  sensor=microphone
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.errors import InvalidError

# Attributes of a device by which it can be selected, with their types.
FIELDS: Mapping[str, type] = {
    "device": str,
    "class": str,
    "vendor": str,
    "firmware": str,
    "state": str,
    "online": bool,
    "model": str,
    "sequence": int,
    "arena_bytes": int,
    "slot_bytes": int,
    "abi": str,
    "sensor": str,
    "group": str,
}
_TERM = re.compile(r"\s*([a-z_]+(?:\.[A-Za-z0-9_-]+)?)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*")


@dataclass(frozen=True)
class Term:
    """One condition.

    Args:
        field: one of `FIELDS`, or ``tag.NAME``.
        operator: = != < <= > >=.
        value: of the field's type; text for tags.
    """

    field: str
    operator: str
    value: str | int | bool


def parse(text: str) -> Term:
    """One condition from its text.

    Raises:
        InvalidError: it is no condition, names an unknown field, or compares what has no order.
    """
    found = _TERM.fullmatch(text)
    if not found:
        raise InvalidError(f"{text!r} is no condition", "Write for example class=cortex-m4.")
    name, operator, value = found.groups()
    if name.startswith("tag."):
        kind: type = str
    elif name in FIELDS:
        kind = FIELDS[name]
    else:
        raise InvalidError(
            f"devices have no {name}", f"They have {', '.join(FIELDS)} and tag.NAME."
        )
    if kind is not int and operator not in ("=", "!="):
        raise InvalidError(f"{name} has no order: use = or !=")
    if kind is int:
        if not re.fullmatch(r"-?\d{1,18}", value):
            raise InvalidError(f"{name} is compared with a whole number, not {value!r}")
        return Term(name, operator, int(value))
    if kind is bool:
        if value not in ("true", "false"):
            raise InvalidError(f"{name} is true or false, not {value!r}")
        return Term(name, operator, value == "true")
    return Term(name, operator, value)


def holds(terms: Iterable[Term], device: Mapping[str, Any]) -> bool:
    """Whether all conditions hold; the definition of what the SQL of the store means.

    Args:
        terms: conditions.
        device: its attributes by the names of `FIELDS`; sensors and groups as sets, tags as
            a map below "tag". Missing ones are None and fulfil != only.
    """
    return all(_holds(term, device) for term in terms)


def _holds(term: Term, device: Mapping[str, Any]) -> bool:
    if term.field.startswith("tag."):
        actual = (device.get("tag") or {}).get(term.field[4:])
    else:
        actual = device.get(term.field)
    if term.field in ("sensor", "group"):
        inside = term.value in (actual or ())
        return inside if term.operator == "=" else not inside
    if actual is None:
        return term.operator == "!="
    match term.operator:
        case "=":
            return bool(actual == term.value)
        case "!=":
            return bool(actual != term.value)
        case "<":
            return bool(actual < term.value)
        case "<=":
            return bool(actual <= term.value)
        case ">":
            return bool(actual > term.value)
        case _:
            return bool(actual >= term.value)
