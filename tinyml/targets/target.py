# SPDX-License-Identifier: Apache-2.0
"""Reading and checking target files."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from tinyml.errors import TargetError

_FOLDER = Path(__file__).parent
SPARSE = ("auto", "off", "flash")
FEATURES = ("dsp", "fpu", "mve")
# No microcontroller has more; a larger number is a slip of the unit.
_LARGEST_MEMORY = 1 << 30
# Fields of a target that are tables of their own.
_TABLES = ("qemu", "regions", "slow_weights")


@dataclass(frozen=True)
class Qemu:
    """How the board is emulated.

    Args:
        program: the emulator, for example qemu-system-arm.
        machine: QEMU's name of the board.
        arguments: further command-line arguments.
    """

    program: str
    machine: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Region:
    """A memory with its own addresses, such as tightly coupled memory.

    Args:
        name: a C identifier; the linker script places section .bss.tml_NAME in it.
        bytes: what the model may use of it.
    """

    name: str
    bytes: int


@dataclass(frozen=True)
class SlowWeights:
    """Weights lie in slow flash, section .rodata.tml_slow. What a layer reads more than once is
    copied to RAM before it runs.

    Args:
        copy_bytes: RAM for copies that are there at once; 0 for none.
    """

    copy_bytes: int


@dataclass(frozen=True)
class Target:
    """A board.

    Args:
        name: what --target takes.
        description: one line for people.
        port: folder under firmware/ports with start-up code and board.ld.
        compiler: C compiler on PATH.
        packages: Debian packages that provide compiler and emulator.
        flags: compiler flags that choose core and optimisation.
        features: of the core, among FEATURES; they decide which kernels may be used.
        flash_bytes, ram_bytes: what a model, its code, data and stack must fit.
        sparse: how pruned layers are run, among SPARSE: where it saves instructions, never, or
            where it saves flash.
        qemu: None for boards that are not emulated.
        regions: where RAM is several memories, these; the caller's arena is in the first. Empty
            where it is one.
        slow_weights: None where weights lie in flash that is as fast as the core.
    """

    name: str
    description: str
    port: str
    compiler: str
    packages: tuple[str, ...]
    flags: tuple[str, ...]
    features: tuple[str, ...]
    flash_bytes: int
    ram_bytes: int
    sparse: str = "auto"
    qemu: Qemu | None = None
    regions: tuple[Region, ...] = ()
    slow_weights: SlowWeights | None = None

    @property
    def isa(self) -> str:
        """What kernels are chosen for: the core, one of `tinyml.kernels.ISAS`, and behind a slash
        ``sparse`` where it is not "auto"."""
        return self._core if self.sparse == "auto" else f"{self._core}/{self.sparse}"

    @property
    def _core(self) -> str:
        if "mve" in self.features:
            return "mve"
        if "dsp" in self.features:
            return "dsp"
        return "rv32" if Path(self.compiler).name.startswith("riscv") else "portable"

    def with_sparse(self, policy: str) -> Target:
        """The target with another rule for pruned layers. Raises TargetError: no such rule."""
        return checked_sparse(replace(self, sparse=policy), "--sparse")

    @property
    def is_host(self) -> bool:
        """Whether programs run as a process of this machine."""
        return self.port == "posix"


def list_targets() -> list[Target]:
    """The targets that come with tinyml, by name."""
    return [_read(p) for p in sorted(_FOLDER.glob("*.toml"))]


def load_target(name: str) -> Target:
    """A target by name, or from the user's own TOML file.

    Raises:
        TargetError: unknown name; or a file that is unreadable, lacks a key, has an unknown one,
            or a value that cannot be.
    """
    if name.endswith(".toml"):
        return _read(Path(name))
    path = _FOLDER / f"{name}.toml"
    known = sorted(p.stem for p in _FOLDER.glob("*.toml"))
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        guess = f" Did you mean '{close[0]}'?" if close else ""
        raise TargetError(
            f"unknown target '{name}'",
            f"Targets: {', '.join(known)}, or a .toml file of your own.{guess}",
        )
    return _read(path)


def target_from_json(table: Mapping[str, Any]) -> Target:
    """A target from what `dataclasses.asdict` made of one and JSON carried."""
    return _checked_target("the report's target", table)


def checked_sparse(target: Target, label: str) -> Target:
    """Raises TargetError unless the rule for pruned layers is known."""
    if target.sparse not in SPARSE:
        raise TargetError(f"{label} cannot be '{target.sparse}'", f"Known: {', '.join(SPARSE)}.")
    return target


def _read(path: Path) -> Target:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TargetError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TargetError(f"{path} is no TOML file: {error}") from None
    return _checked_target(str(path), table)


def _checked_target(path: str, given: Mapping[str, Any]) -> Target:
    table = dict(given)
    qemu = table.pop("qemu", None)
    if qemu is not None and not isinstance(qemu, dict):
        raise TargetError(f"{path}: 'qemu' must be a table")
    emulator = None if qemu is None else Qemu(**_checked(path, qemu, Qemu, "qemu."))
    listed = table.pop("regions", [])
    if not isinstance(listed, list | tuple) or not all(isinstance(r, dict) for r in listed):
        raise TargetError(f"{path}: 'regions' must be a list of tables", "Write [[regions]].")
    regions = tuple(Region(**_checked(path, r, Region, "regions.")) for r in listed)
    slow = table.pop("slow_weights", None)
    if slow is not None and not isinstance(slow, dict):
        raise TargetError(f"{path}: 'slow_weights' must be a table")
    copied = (
        None if slow is None else SlowWeights(**_checked(path, slow, SlowWeights, "slow_weights."))
    )
    own = _checked(path, table, Target, "")
    target = Target(**own, qemu=emulator, regions=regions, slow_weights=copied)
    for key in ("flash_bytes", "ram_bytes"):
        value = getattr(target, key)
        if not 0 < value <= _LARGEST_MEMORY:
            raise TargetError(f"{path}: {key} = {value} is not between 1 and {_LARGEST_MEMORY}")
    if not target.name.strip() or not target.compiler.strip():
        raise TargetError(f"{path}: 'name' and 'compiler' must not be empty")
    _check_regions(path, target)
    checked_sparse(target, f"{path}: sparse")
    if copied is not None and not 0 <= copied.copy_bytes <= target.ram_bytes:
        raise TargetError(
            f"{path}: slow_weights.copy_bytes = {copied.copy_bytes} is not between 0 and "
            f"ram_bytes = {target.ram_bytes}"
        )
    unknown = sorted(set(target.features) - set(FEATURES))
    if unknown:
        raise TargetError(
            f"{path}: unknown features {', '.join(unknown)}", f"Known: {', '.join(FEATURES)}."
        )
    return target


def _check_regions(path: str, target: Target) -> None:
    names = [r.name for r in target.regions]
    for region in target.regions:
        if not region.name.isidentifier() or not region.name.isascii():
            raise TargetError(f"{path}: region name '{region.name}' is no C identifier")
        if names.count(region.name) > 1:
            raise TargetError(f"{path}: two regions are named '{region.name}'")
        if not 0 < region.bytes <= _LARGEST_MEMORY:
            raise TargetError(
                f"{path}: region '{region.name}': bytes = {region.bytes} is not between 1 and "
                f"{_LARGEST_MEMORY}"
            )
    total = sum(r.bytes for r in target.regions)
    if total > target.ram_bytes:
        raise TargetError(
            f"{path}: the regions hold {total:,} B, more than ram_bytes = {target.ram_bytes:,}",
            "ram_bytes is all of the RAM, the regions are parts of it.",
        )


def _checked(path: str, table: Mapping[str, Any], kind: type, prefix: str) -> dict[str, Any]:
    """The table's values with the types that the dataclass declares."""
    hints = get_type_hints(kind)
    declared = {f.name: f for f in fields(kind) if f.name not in _TABLES}
    unknown = sorted(set(table) - set(declared))
    if unknown:
        raise TargetError(
            f"{path}: unknown key {', '.join(prefix + k for k in unknown)}",
            f"Known keys: {', '.join(prefix + k for k in declared)}.",
        )
    values: dict[str, Any] = {}
    for key, field in declared.items():
        if key not in table:
            if field.default is MISSING:
                raise TargetError(f"{path}: key '{prefix}{key}' is missing")
            continue
        value, wanted = table[key], hints[key]
        if wanted in (str, int):
            fits = isinstance(value, wanted) and not isinstance(value, bool)
            described = "a text" if wanted is str else "a whole number"
        else:
            fits = isinstance(value, list) and all(isinstance(v, str) for v in value)
            described = "a list of texts"
            value = tuple(value) if fits else value
        if not fits:
            raise TargetError(f"{path}: '{prefix}{key}' must be {described}, not {value!r}")
        values[key] = value
    return values
