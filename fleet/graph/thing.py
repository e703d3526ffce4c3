# SPDX-License-Identifier: Apache-2.0
"""One W3C Thing Description a device (WoT TD 1.1, JSON-LD), its forms on the fleet's MQTT topics.

The media types and topics are those of docs/protocol.md; a consumer needs credentials of its own,
since the broker lets each client see its own topics only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fleet.graph.facts import DeviceFacts
from fleet.graph.triples import device_iri
from fleet.graph.vocabulary import PREFIXES
from fleet.wire import topics

CBOR = "application/cbor"


def thing_description(device: DeviceFacts, broker: str) -> dict[str, Any]:
    """The description as JSON.

    Args:
        broker: URL such as ``mqtts://broker.example:8883``.
    """
    secure = broker.startswith("mqtts:")
    description: dict[str, Any] = {
        "@context": [
            "https://www.w3.org/2022/wot/td/v1.1",
            {"tml": PREFIXES["tml"], "s3n": PREFIXES["s3n"], "sosa": PREFIXES["sosa"]},
        ],
        "@type": ["Thing", "tml:Device", "s3n:SmartSensor"],
        "id": device_iri(device.tenant, device.name).value,
        "title": device.name,
        "base": broker.rstrip("/") + "/",
        "securityDefinitions": {
            "login": {"scheme": "basic", "in": "header"} if secure else {"scheme": "nosec"}
        },
        "security": ["login"],
        "properties": {
            "presence": _property(
                device,
                "presence",
                "Whether the device is connected.",
                {"type": "object", "properties": {"online": {"type": "boolean"}}},
            ),
            "twin": _property(
                device, "twin", "The state that the device reports.", {"type": "object"}
            ),
        },
        "events": {
            "report": {
                "description": "Results of inference and the device's statistics.",
                "data": {"type": "object"},
                "forms": [_form(device, "report", "subscribeevent", up=True)],
            }
        },
        "actions": {
            "configure": {
                "description": "Sets the desired state.",
                "input": {"type": "object"},
                "forms": [_form(device, "twin", "invokeaction", up=False)],
            },
            "update": {
                "description": "Installs a signed model.",
                "input": {"type": "object"},
                "forms": [_form(device, "job", "invokeaction", up=False)],
            },
        },
    }
    if device.vendor is not None:
        description["support"] = f"urn:vendor:{device.vendor}"
    if device.firmware is not None:
        description["version"] = {"instance": device.firmware}
    if device.last_seen is not None:
        seen = datetime.fromtimestamp(device.last_seen, UTC).isoformat(timespec="seconds")
        description["modified"] = seen
    if device.profile is not None:
        description["tml:hardware"] = device.profile.hardware
        description["tml:ramBytes"] = device.profile.ram
        description["tml:flashBytes"] = device.profile.flash
        description["tml:sensors"] = sorted(device.profile.sensors)
    return description


def _property(
    device: DeviceFacts, channel: str, description: str, schema: dict[str, Any]
) -> dict[str, Any]:
    form = _form(device, channel, "observeproperty", up=True)
    return {
        **schema,
        "description": description,
        "readOnly": True,
        "observable": True,
        "forms": [form],
    }


def _form(device: DeviceFacts, channel: str, operation: str, *, up: bool) -> dict[str, Any]:
    make = topics.up if up else topics.down
    return {
        "href": make(device.tenant, device.name, channel),
        "contentType": CBOR,
        "op": [operation],
    }
