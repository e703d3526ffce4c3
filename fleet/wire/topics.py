# SPDX-License-Identifier: Apache-2.0
"""Topic names: ``tinyml/v1/{tenant}/{device}/{up|down}/{channel}``."""

from __future__ import annotations

import re
from dataclasses import dataclass

ROOT = "tinyml/v1"
_NAME = re.compile(r"[a-z0-9-]{1,32}")

# What travels on each channel: the rule of protocol.cddl by (direction, channel).
MESSAGES: dict[tuple[str, str], str] = {
    ("up", "hello"): "hello",
    ("up", "presence"): "presence",
    ("up", "twin"): "twin_reported",
    ("up", "job"): "job_status",
    ("up", "blob"): "blob_request",
    ("up", "report"): "report",
    ("up", "log"): "log",
    ("up", "rpc"): "rpc_reply",
    ("up", "train"): "train_reply",
    ("down", "twin"): "twin_desired",
    ("down", "job"): "job",
    ("down", "blob"): "blob_reply",
    ("down", "rpc"): "rpc_request",
    ("down", "train"): "train_job",
}


@dataclass(frozen=True)
class Address:
    """What a topic names.

    Args:
        tenant, device: identifiers.
        direction: ``up`` from a device, ``down`` to one.
        channel: see MESSAGES.
    """

    tenant: str
    device: str
    direction: str
    channel: str

    @property
    def topic(self) -> str:
        """The topic."""
        return f"{ROOT}/{self.tenant}/{self.device}/{self.direction}/{self.channel}"


def is_name(text: str) -> bool:
    """Whether a text may name a tenant or a device."""
    return _NAME.fullmatch(text) is not None


def up(tenant: str, device: str, channel: str) -> str:
    """Topic on which a device speaks. ValueError: a bad name or an unknown channel."""
    return _topic(tenant, device, "up", channel)


def down(tenant: str, device: str, channel: str) -> str:
    """Topic on which a device is spoken to. ValueError: a bad name or an unknown channel."""
    return _topic(tenant, device, "down", channel)


def up_filter(channel: str) -> str:
    """Subscription to one channel of all devices of all tenants."""
    return f"{ROOT}/+/+/up/{channel}"


def parse(topic: str) -> Address:
    """Takes a topic apart. ValueError: no topic of this protocol."""
    parts = topic.split("/")
    if len(parts) != 6 or "/".join(parts[:2]) != ROOT:
        raise ValueError(f"'{topic}' is no topic of the fleet")
    tenant, device, direction, channel = parts[2:]
    if not is_name(tenant) or not is_name(device) or (direction, channel) not in MESSAGES:
        raise ValueError(f"'{topic}' is no topic of the fleet")
    return Address(tenant, device, direction, channel)


def _topic(tenant: str, device: str, direction: str, channel: str) -> str:
    address = Address(tenant, device, direction, channel)
    parse(address.topic)
    return address.topic
