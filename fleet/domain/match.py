# SPDX-License-Identifier: Apache-2.0
"""Which devices can run a model, and why the others cannot.

One decision in integers and sets; the RDF graph carries its verdicts and the command prints them.
Memory is counted in bytes that are free for a model, not in a data sheet's kilobytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Instruction sets of compiled code that each core executes.
EXECUTES: dict[str, frozenset[str]] = {
    "cortex-m0": frozenset({"armv6-m"}),
    "cortex-m4": frozenset({"armv6-m", "armv7e-m"}),
    "cortex-m7": frozenset({"armv6-m", "armv7e-m"}),
    "cortex-m55": frozenset({"armv6-m", "armv7e-m", "armv8.1-m"}),
    "riscv32": frozenset({"rv32imc"}),
    "host": frozenset({"native"}),
}
# The instruction set that code compiled for each core needs.
NEEDS: dict[str, str] = {
    "cortex-m0": "armv6-m",
    "cortex-m4": "armv7e-m",
    "cortex-m7": "armv7e-m",
    "cortex-m55": "armv8.1-m",
    "riscv32": "rv32imc",
    "host": "native",
}


@dataclass(frozen=True)
class Requirements:
    """What a compiled model needs of a device.

    Args:
        model: its name.
        flash, ram: bytes, from the linker map of the build it was verified with.
        isa: instruction set of the build; None where the model is not compiled yet.
        sensors: kinds that provide its input, such as ``camera``.
        operators: kernels that it calls.
    """

    model: str
    flash: int
    ram: int
    isa: str | None = None
    sensors: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Capacity:
    """What a device, or every device of a class, offers.

    Args:
        name: of the device or class.
        flash, ram: bytes free for a model.
        executes: instruction sets; None where the device did not say.
        sensors: kinds it has; None where it did not say.
        operators: kernels linked into its firmware; None where new code can be installed.
    """

    name: str
    flash: int
    ram: int
    executes: frozenset[str] | None = None
    sensors: frozenset[str] | None = None
    operators: frozenset[str] | None = None


@dataclass(frozen=True)
class Fit:
    """A verdict.

    Args:
        missing_flash, missing_ram: bytes that the device lacks; 0 where it has enough.
        missing_isa: the instruction set that it does not execute, if that is so.
        missing_sensors, missing_operators: what it lacks, sorted.
    """

    device: str
    model: str
    missing_flash: int
    missing_ram: int
    missing_isa: str | None = None
    missing_sensors: tuple[str, ...] = ()
    missing_operators: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the device can run the model."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the device cannot run the model; empty where it can."""
        found = []
        if self.missing_flash:
            found.append(f"flash -{self.missing_flash:,} B")
        if self.missing_ram:
            found.append(f"RAM -{self.missing_ram:,} B")
        if self.missing_isa:
            found.append(f"no {self.missing_isa}")
        found += [f"no {sensor}" for sensor in self.missing_sensors]
        found += [f"no {operator} kernel" for operator in self.missing_operators]
        return tuple(found)


def match(needed: Requirements, offered: Capacity) -> Fit:
    """Compares one model with one device or device class."""
    wrong_isa = offered.executes is not None and needed.isa not in {None, *offered.executes}
    return Fit(
        offered.name,
        needed.model,
        max(needed.flash - offered.flash, 0),
        max(needed.ram - offered.ram, 0),
        needed.isa if wrong_isa else None,
        _lacking(needed.sensors, offered.sensors),
        _lacking(needed.operators, offered.operators),
    )


def _lacking(needed: frozenset[str], offered: frozenset[str] | None) -> tuple[str, ...]:
    return () if offered is None else tuple(sorted(needed - offered))


def match_all(needed: Sequence[Requirements], offered: Sequence[Capacity]) -> NDArray[np.bool_]:
    """Every model with every device at once; equal to ``match(...).fits`` pair by pair.

    Returns:
        (models, devices) of bool. Ten thousand devices by a thousand models take tens of
        milliseconds: devices of equal capacity share one verdict.
    """
    classes: dict[tuple[object, ...], int] = {}
    keys = [(c.flash, c.ram, c.executes, c.sensors, c.operators) for c in offered]
    class_of = np.array([classes.setdefault(k, len(classes)) for k in keys], np.intp)
    kinds = [Capacity("", *key) for key in classes]  # type: ignore[arg-type]
    flash = np.array([k.flash for k in kinds], np.int64)
    ram = np.array([k.ram for k in kinds], np.int64)
    fits = np.zeros((len(needed), len(kinds)), np.bool_)
    sets: dict[tuple[object, ...], NDArray[np.bool_]] = {}
    for row, model in enumerate(needed):
        wanted = (model.isa, model.sensors, model.operators)
        if wanted not in sets:
            bare = Requirements("", 0, 0, *wanted)
            sets[wanted] = np.array([match(bare, k).fits for k in kinds], np.bool_)
        fits[row] = sets[wanted] & (flash >= model.flash) & (ram >= model.ram)
    return np.asarray(fits[:, class_of]) if len(keys) else np.zeros((len(needed), 0), np.bool_)
