# SPDX-License-Identifier: Apache-2.0
"""Which devices can run a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Requirements:
    """What a compiled model needs of a device.

    Args:
        model: its name.
        flash, ram: bytes, from the linker map of the build it was verified with.
    """

    model: str
    flash: int
    ram: int


@dataclass(frozen=True)
class Capacity:
    """What a device class offers.

    Args:
        name: of the class.
        flash, ram: bytes free for a model.
    """

    name: str
    flash: int
    ram: int


@dataclass(frozen=True)
class Fit:
    """A verdict.

    Args:
        missing_flash, missing_ram: bytes that the device lacks; 0 where it has enough.
    """

    device: str
    model: str
    missing_flash: int
    missing_ram: int

    @property
    def fits(self) -> bool:
        """Whether the device can run the model."""
        return self.missing_flash == 0 and self.missing_ram == 0


def match(needed: Requirements, offered: Capacity) -> Fit:
    """Compares one model with one device class."""
    return Fit(
        offered.name,
        needed.model,
        max(needed.flash - offered.flash, 0),
        max(needed.ram - offered.ram, 0),
    )
