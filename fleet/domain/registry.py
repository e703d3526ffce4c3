# SPDX-License-Identifier: Apache-2.0
"""Registration and presence of one device.

A device is *registered* with credentials, becomes *active* with its first hello, and may be
*revoked* and restored. Presence belongs to a boot: the will of an earlier boot says nothing about
the present one, whenever it arrives (the idea of Sparkplug B's bdSeq).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from fleet.errors import ConflictError


class DeviceState(StrEnum):
    """Where a device stands with the registry."""

    REGISTERED = "registered"  # has credentials, was never seen
    ACTIVE = "active"  # said hello at least once
    REVOKED = "revoked"  # its credentials are void; its messages are refused


@dataclass(frozen=True)
class Device:
    """What presence depends on.

    Args:
        state: of the registration.
        online: whether it is connected.
        boot_id: of the boot that spoke last, None before the first message.
        born_id: of the boot that said hello last.
        last_seen: seconds since 1970 of its last message.
        boots: hellos of different boots so far.
    """

    state: DeviceState = DeviceState.REGISTERED
    online: bool = False
    boot_id: int | None = None
    born_id: int | None = None
    last_seen: float | None = None
    boots: int = 0


@dataclass(frozen=True)
class Hello:
    """The device was born, or connected again in the same boot."""

    boot_id: int


@dataclass(frozen=True)
class Presence:
    """A presence message or a last will."""

    boot_id: int
    online: bool


@dataclass(frozen=True)
class Seen:
    """Any other message of the device."""

    boot_id: int


@dataclass(frozen=True)
class Revoke:
    """An operator withdraws the credentials."""


@dataclass(frozen=True)
class Restore:
    """An operator gives new credentials to a revoked device."""


Event = Hello | Presence | Seen | Revoke | Restore


@dataclass(frozen=True)
class Note:
    """A line of the audit trail."""

    action: str


@dataclass(frozen=True)
class Refuse:
    """The message must not have any effect."""

    why: str


@dataclass(frozen=True)
class Ignore:
    """The message is in order and comes too late to mean anything."""


Effect = Note | Refuse | Ignore


def step(device: Device, event: Event, now: float) -> tuple[Device, tuple[Effect, ...]]:
    """One event in the life of a device.

    Raises:
        ConflictError: revoking a revoked device, or restoring one that is not.
    """
    match event:
        case Revoke():
            if device.state is DeviceState.REVOKED:
                raise ConflictError("the device is revoked already")
            gone = replace(device, state=DeviceState.REVOKED, online=False)
            return gone, (Note("device.revoked"),)
        case Restore():
            if device.state is not DeviceState.REVOKED:
                raise ConflictError("the device is not revoked")
            state = DeviceState.ACTIVE if device.boots else DeviceState.REGISTERED
            return replace(device, state=state), (Note("device.restored"),)
    if device.state is DeviceState.REVOKED:
        return device, (Refuse("the device is revoked"),)
    match event:
        case Hello(boot_id):
            first = device.state is DeviceState.REGISTERED
            known = replace(
                device,
                state=DeviceState.ACTIVE,
                online=True,
                boot_id=boot_id,
                born_id=boot_id,
                last_seen=now,
                boots=device.boots + (device.born_id != boot_id),
            )
            return known, (Note("device.activated"),) if first else ()
        case Presence(boot_id, online):
            if online:
                return replace(device, online=True, boot_id=boot_id, last_seen=now), ()
            if device.boot_id not in (None, boot_id):
                return device, (Ignore(),)
            return replace(device, online=False, boot_id=boot_id), ()
        case Seen(boot_id):
            if device.boot_id not in (None, boot_id):
                return device, ()
            return replace(device, online=True, boot_id=boot_id, last_seen=now), ()
