# SPDX-License-Identifier: Apache-2.0
"""The twin: what a device should be (desired) and what it says it is (reported).

Desired state has a version that grows by one with each change; the device is told the whole of it,
never a difference, and answers with the version it applied. Whoever changes it may name the version
the change was made against; a change against an older one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fleet.errors import ConflictError, InvalidError

# What a properties map of the protocol may hold: see fleet/wire/protocol.cddl.
MAX_PROPERTIES = 32
MAX_TEXT = 64
MAX_NAME = 32


@dataclass(frozen=True)
class Twin:
    """Both halves of one device's state.

    Args:
        desired: ``report_interval_s`` and ``properties`` as told to the device.
        version: of ``desired``; 0 when nothing was ever desired.
        reported: as the device last said.
        applied: version of the desired state that the device applied last.
        reason: of the device about ``applied``; "ok" or why it refused.
    """

    desired: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0
    reported: Mapping[str, Any] = field(default_factory=dict)
    applied: int = 0
    reason: str = "ok"

    @property
    def in_sync(self) -> bool:
        """Whether the device applied what is desired."""
        return self.applied >= self.version


@dataclass(frozen=True)
class Patch:
    """A merge patch (RFC 7396) of the desired state; None removes a key.

    Args:
        expected: version the patch was made against; None takes any.
    """

    patch: Mapping[str, Any]
    expected: int | None = None


@dataclass(frozen=True)
class Reported:
    """The device's own account."""

    applied: int
    reason: str
    reported: Mapping[str, Any]


@dataclass(frozen=True)
class Connected:
    """The device said hello."""

    applied: int


Event = Patch | Reported | Connected


@dataclass(frozen=True)
class SendDesired:
    """The whole desired state goes to the device."""


Effect = SendDesired


def step(twin: Twin, event: Event, now: float) -> tuple[Twin, tuple[Effect, ...]]:
    """One event in the life of a twin.

    Raises:
        ConflictError: a patch against an older version.
        InvalidError: a patch that the protocol cannot carry.
    """
    match event:
        case Patch(patch, expected):
            if expected is not None and expected != twin.version:
                raise ConflictError(
                    f"the twin is at version {twin.version}, not {expected}",
                    "Read it again and repeat the change.",
                )
            desired = merge(twin.desired, patch)
            check_desired(desired)
            if desired == twin.desired:
                return twin, ()
            return replace(twin, desired=desired, version=twin.version + 1), (SendDesired(),)
        case Reported(applied, reason, reported):
            # Reports overtake each other on shared subscriptions: the version decides.
            if applied < twin.applied:
                return twin, ()
            return replace(twin, applied=applied, reason=reason, reported=dict(reported)), ()
        case Connected(applied):
            # A device may have lost its memory, so its own word counts even when it is lower.
            known = replace(twin, applied=applied)
            return known, () if known.in_sync else (SendDesired(),)


def merge(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396: maps are merged, None removes, all else replaces."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            inner = merged.get(key)
            merged[key] = merge(inner if isinstance(inner, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def check_desired(desired: Mapping[str, Any]) -> None:
    """Raises InvalidError unless the protocol's twin_desired can carry it."""
    unknown = set(desired) - {"report_interval_s", "properties"}
    if unknown:
        raise InvalidError(
            f"a twin has no desired {', '.join(sorted(unknown))}",
            "Set report_interval_s, or anything below properties.",
        )
    interval = desired.get("report_interval_s", 0)
    if isinstance(interval, bool) or not isinstance(interval, int) or not 0 <= interval < 2**32:
        raise InvalidError("report_interval_s must be a whole number of seconds, 0 or more")
    properties = desired.get("properties", {})
    if not isinstance(properties, Mapping) or len(properties) > MAX_PROPERTIES:
        raise InvalidError(f"properties must be a map of at most {MAX_PROPERTIES} entries")
    for name, value in properties.items():
        if not 1 <= len(name.encode()) <= MAX_NAME:
            raise InvalidError(f"property name {name!r} must have 1 to {MAX_NAME} bytes")
        if isinstance(value, str) and len(value.encode()) > MAX_TEXT:
            raise InvalidError(f"property {name} is longer than {MAX_TEXT} bytes")
        if isinstance(value, int) and not -(2**31) <= value < 2**31:
            raise InvalidError(f"property {name} does not fit 32 bits")
        if not isinstance(value, bool | int | float | str):
            raise InvalidError(f"property {name} must be a number, a text or a truth value")
