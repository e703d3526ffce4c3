# SPDX-License-Identifier: Apache-2.0
"""From an export folder to a signed release.

The artefact is what a device downloads: the weights, then the golden inputs, each all inputs of the
network in order. The manifest states the SHA-256 of the artefact and of the outputs that the golden
inputs must give, to the last bit, before the device believes that the model works.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fleet.domain.names import check_id
from fleet.errors import InvalidError
from fleet.keys import Signer
from fleet.wire import WireError, sign1
from fleet.wire.messages import Component, Manifest
from tinyml import open_export, reference_outputs

GOLDEN_INPUTS = 4


@dataclass(frozen=True)
class Draft:
    """A release before it has a sequence number.

    Args:
        name: of the model.
        artefact: weights, then golden inputs.
        weights_bytes: of the artefact.
        golden_inputs: how many follow.
        golden_outputs: SHA-256 of all their outputs in order.
        abi: of the generated C.
        arena_bytes: RAM for activations.
        flash_bytes, ram_bytes: of the firmware it was verified with.
        classes: hardware classes it is for.
        report: the compiler's.
        sensors: kinds of sensors it needs.
        task, description: for people and for the semantic graph.
    """

    name: str
    artefact: bytes
    weights_bytes: int
    golden_inputs: int
    golden_outputs: bytes
    abi: int
    arena_bytes: int
    flash_bytes: int
    ram_bytes: int
    classes: tuple[str, ...]
    report: dict[str, Any]
    sensors: tuple[str, ...] = ()
    task: str = ""
    description: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the artefact in hex."""
        return hashlib.sha256(self.artefact).hexdigest()

    @property
    def requirements(self) -> dict[str, Any]:
        """What a device must offer, for matching before anything is sent."""
        return {
            "abi": f"{self.abi:016x}",
            "arena_bytes": self.arena_bytes,
            "flash_bytes": self.flash_bytes,
            "ram_bytes": self.ram_bytes,
            "slot_bytes": len(self.artefact),
            "classes": list(self.classes),
            "target": self.report["target"]["name"],
            "sensors": list(self.sensors),
            "task": self.task,
            "description": self.description,
        }


def from_export(
    folder: Path, classes: Sequence[str] = (), golden_inputs: int = GOLDEN_INPUTS
) -> Draft:
    """Reads a folder made by ``tinyml export``.

    Args:
        folder: the export; its files must be as they were made.
        classes: hardware classes; the export's target if empty.
        golden_inputs: samples of the export that the device must reproduce.

    Raises:
        TinymlError: it is no export, or a file was changed.
        InvalidError: a class is no identifier, or there are fewer samples than golden inputs.
    """
    export = open_export(folder)
    report = export.report
    chosen = tuple(classes) or (str(report["target"]["name"]),)
    for one in chosen:
        check_id("hardware class", one)
    if not 1 <= golden_inputs <= len(export.c_feeds):
        raise InvalidError(
            f"{golden_inputs} golden inputs are asked for; the export holds {len(export.c_feeds)}"
        )
    feeds = export.c_feeds[:golden_inputs]
    inputs = b"".join(_plain(feed[name]) for feed in feeds for name in export.c_graph.inputs)
    outputs = hashlib.sha256()
    for arrays in reference_outputs(export.c_graph, feeds):
        for array in arrays:
            outputs.update(_plain(array))
    name = str(report["model"]["name"])
    weights = (folder / "c" / f"{name}_weights.bin").read_bytes()
    return Draft(
        name=name,
        artefact=weights + inputs,
        weights_bytes=len(weights),
        golden_inputs=golden_inputs,
        golden_outputs=outputs.digest(),
        abi=int(report["model"]["abi"], 16),
        arena_bytes=int(report["memory"]["arena"]),
        flash_bytes=int(report["memory"]["flash"]),
        ram_bytes=int(report["memory"]["ram"]),
        classes=chosen,
        report=report,
    )


def _plain(array: np.ndarray[Any, Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def sign(
    draft: Draft,
    signer: Signer,
    *,
    sequence: int,
    tenant: str,
    vendor: str,
    device: str | None = None,
    expires_s: int | None = None,
) -> bytes:
    """The manifest as COSE_Sign1.

    Args:
        draft: the release.
        signer: the release key.
        sequence: above all earlier ones of the tenant.
        tenant, vendor: whose devices.
        device: the only one, if it is for one.
        expires_s: seconds since 1970 after which no device takes it.

    Raises:
        InvalidError: a value does not fit the manifest.
    """
    manifest = Manifest(
        version=1,
        sequence=sequence,
        vendor=vendor,
        classes=draft.classes,
        device=device,
        component=Component.MODEL,
        digest=bytes.fromhex(draft.digest),
        size=len(draft.artefact),
        abi=draft.abi,
        # Weights of an ABI need the operators of that ABI, which the firmware holds.
        opset=0,
        arena_bytes=draft.arena_bytes,
        weights_bytes=draft.weights_bytes,
        golden_inputs=draft.golden_inputs,
        golden_outputs=draft.golden_outputs,
        expires_s=expires_s,
        name=draft.name[:64],
        tenant=tenant,
    )
    try:
        return sign1(manifest.encode(), signer.key)
    except WireError as error:
        raise InvalidError(f"the release cannot be described: {error}") from None
