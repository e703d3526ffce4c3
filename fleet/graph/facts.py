# SPDX-License-Identifier: Apache-2.0
"""What the graph is told: plain facts, read from SQL or from an export, that `triples` spells in
RDF. Integers are bytes, times are seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.domain.match import Capacity, Requirements


@dataclass(frozen=True)
class Profile:
    """What every device of one build offers; devices of equal capacity share it.

    Args:
        hardware: class, such as ``cortex-m4``.
        flash, ram: bytes free for a model.
        executes: instruction sets.
        sensors: kinds.
    """

    hardware: str
    flash: int
    ram: int
    executes: frozenset[str]
    sensors: frozenset[str]

    @property
    def capacity(self) -> Capacity:
        """For `fleet.domain.match`."""
        return Capacity(self.hardware, self.flash, self.ram, self.executes, self.sensors)


@dataclass(frozen=True)
class DeviceFacts:
    """One device.

    Args:
        state: registered, active or revoked.
        online: whether it is connected.
        model, passive: digests of its slots, hex; None for an empty one.
        tags: set by operators.
    """

    tenant: str
    name: str
    state: str
    online: bool
    profile: Profile | None = None
    vendor: str | None = None
    firmware: str | None = None
    abi: str | None = None
    model: str | None = None
    passive: str | None = None
    can_rollback: bool = False
    last_seen: float | None = None
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class LayerFacts:
    """One layer of a model; ``shape`` is its output's."""

    name: str
    operator: str
    shape: tuple[int, ...]
    macs: int
    dtype: str


@dataclass(frozen=True)
class ModelFacts:
    """One release of a model: network, build and lineage, from the compiler's report.

    Args:
        digest: SHA-256 of the artefact, hex.
        flash, ram, instructions: of the build for ``target``.
        isa: that the build needs.
        sensors: kinds that provide its input.
        accuracy: (metric, value in percent, data), if it was measured.
        provenance: name and value of each thing the report says of its origin.
    """

    tenant: str
    name: str
    version: str
    digest: str
    sequence: int
    created_at: float
    created_by: str
    target: str
    isa: str
    flash: int
    ram: int
    instructions: int | None
    macs: int
    parameters: int
    abi: str
    quantisation: str
    sensors: frozenset[str]
    layers: tuple[LayerFacts, ...] = ()
    task: str | None = None
    description: str | None = None
    accuracy: tuple[str, float, str] | None = None
    training_data: str | None = None
    licence: str | None = None
    calibration_data: str | None = None
    compiler: str | None = None
    derived_from: str | None = None
    advisories: tuple[tuple[str, str], ...] = ()  # (identifier, summary)

    @property
    def requirements(self) -> Requirements:
        """For `fleet.domain.match`."""
        return Requirements(self.name, self.flash, self.ram, self.isa, self.sensors)


@dataclass(frozen=True)
class DeploymentFacts:
    """One assignment of a rollout.

    Args:
        action: install or rollback.
        state: of the assignment.
        previous: digest that ran before, hex.
    """

    tenant: str
    rollout: int
    device: str
    wave: int
    action: str
    digest: str
    state: str
    reason: str
    updated_at: float
    previous: str | None = None


@dataclass(frozen=True)
class RoundFacts:
    """One federated round.

    Args:
        number: from 0.
        devices: that contributed.
        digest_in, digest_out: of the weights before and after, hex.
        metrics: name and value.
    """

    tenant: str
    run: str
    number: int
    strategy: str
    devices: tuple[str, ...]
    digest_in: str
    digest_out: str
    started_at: float
    ended_at: float
    metrics: tuple[tuple[str, float], ...] = ()
