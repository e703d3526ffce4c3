# SPDX-License-Identifier: Apache-2.0
"""The user's own choices, by layer, from a small TOML file:

    [[layer]]
    match = "decoder.adapter*"       # layer or input names, * and ? as in file names
    operator = "fully_connected"     # optional: only these
    activations = "int16"            # or "int8"
    observer = "percentile:99.9"     # how the range is chosen
    range = [-4.0, 4.0]              # or the range itself
    equalise = false                 # whether its channels may be equalised
    bias_correction = false          # whether its bias is corrected

Every key but `match` may be left out. Later entries win.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tinyml.errors import CalibrationError, QuantisationError
from tinyml.ir.graph import Graph
from tinyml.ir.tensor import DType
from tinyml.quantize.observers import Observer, observer_named

_KEYS = ("match", "operator", "activations", "observer", "range", "equalise", "bias_correction")
_TYPES = {"int8": DType.INT8, "int16": DType.INT16}


@dataclass(frozen=True)
class Override:
    """One entry. Fields that are None leave the choice alone."""

    match: str
    operator: str | None = None
    activations: DType | None = None
    observer: Observer | None = None
    range: tuple[float, float] | None = None
    equalise: bool | None = None
    bias_correction: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry as it stands in the file."""
        said = {
            "match": self.match,
            "operator": self.operator,
            "activations": self.activations.value if self.activations else None,
            "observer": self.observer.name if self.observer else None,
            "range": list(self.range) if self.range else None,
            "equalise": self.equalise,
            "bias_correction": self.bias_correction,
        }
        return {k: v for k, v in said.items() if v is not None}


@dataclass(frozen=True)
class Applied:
    """What entries say about a graph, by tensor."""

    types: dict[str, DType]
    observers: dict[str, Observer]
    ranges: dict[str, tuple[float, float]]
    equalise: dict[str, bool]
    bias_correction: dict[str, bool]


def load_overrides(path: Path) -> tuple[Override, ...]:
    """Reads the file. Raises QuantisationError naming the file, the entry and what is wrong."""
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise QuantisationError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise QuantisationError(f"{path} is no readable TOML file: {error}") from None
    entries = plain.pop("layer", [])
    if plain or not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        extra = ", ".join(plain) or "layer"
        raise QuantisationError(
            f"{path}: '{extra}' is not understood", "The file holds [[layer]] entries only."
        )
    return tuple(_entry(f"{path}, layer {i + 1}", e) for i, e in enumerate(entries))


def _entry(where: str, entry: dict[str, Any]) -> Override:
    unknown = [k for k in entry if k not in _KEYS]
    if unknown:
        close = difflib.get_close_matches(unknown[0], _KEYS, 1)
        guess = f" Did you mean '{close[0]}'?" if close else ""
        raise QuantisationError(
            f"{where}: unknown key '{unknown[0]}'", f"Keys: {', '.join(_KEYS)}.{guess}"
        )
    for key in ("match", "operator", "activations", "observer"):
        if key in entry and not isinstance(entry[key], str):
            raise QuantisationError(f"{where}: '{key}' must be text")
    for key in ("equalise", "bias_correction"):
        if key in entry and not isinstance(entry[key], bool):
            raise QuantisationError(f"{where}: '{key}' must be true or false")
    if "match" not in entry:
        raise QuantisationError(f"{where}: 'match' is missing", 'Give match = "layer name".')
    if entry.get("activations", "int8") not in _TYPES:
        raise QuantisationError(
            f"{where}: activations '{entry['activations']}'", 'Use "int8" or "int16".'
        )
    try:
        observer = observer_named(entry["observer"]) if "observer" in entry else None
    except CalibrationError as error:
        raise QuantisationError(f"{where}: {error.message}", error.hint) from None
    return Override(
        entry["match"],
        entry.get("operator"),
        _TYPES[entry["activations"]] if "activations" in entry else None,
        observer,
        _range(where, entry["range"]) if "range" in entry else None,
        entry.get("equalise"),
        entry.get("bias_correction"),
    )


def _range(where: str, value: Any) -> tuple[float, float]:
    numbers = isinstance(value, list) and all(isinstance(v, int | float) for v in value)
    if not numbers or len(value) != 2 or not float(value[0]) < float(value[1]):
        raise QuantisationError(f"{where}: the range {value}", "Give [low, high], low below high.")
    return float(value[0]), float(value[1])


def apply_overrides(graph: Graph, overrides: Sequence[Override]) -> Applied:
    """What the entries say about each activation and input.

    Raises:
        QuantisationError: an entry matches no layer, or asks for a type that a layer cannot have.
    """
    made = Applied({}, {}, {}, {}, {})
    layers = [(n, n, None) for n in graph.inputs]
    layers += [(n.name, n.output, n) for n in graph.nodes]  # type: ignore[misc]
    for entry in overrides:
        found = [
            (tensor, node)
            for name, tensor, node in layers
            if fnmatchcase(name, entry.match)
            and (entry.operator is None or (node is not None and node.op.kind == entry.operator))
        ]
        if not found:
            names = list(dict.fromkeys(name for name, _, _ in layers))
            # Names are long and patterns are short: nearness alone finds nothing.
            close = difflib.get_close_matches(entry.match, names, 3, 0.3)
            told = f"Nearest: {', '.join(close)}." if close else f"Layers: {', '.join(names[:12])}"
            raise QuantisationError(
                f"no layer matches '{entry.match}'"
                + (f" with operator '{entry.operator}'" if entry.operator else ""),
                told + (f" and {len(names) - 12} more." if not close and len(names) > 12 else ""),
            )
        for tensor, node in found:
            if entry.activations is not None:
                _check_type(entry, node)
                made.types[tensor] = entry.activations
            if entry.observer is not None:
                made.observers[tensor] = entry.observer
            if entry.range is not None:
                made.ranges[tensor] = entry.range
            if entry.equalise is not None:
                made.equalise[tensor] = entry.equalise
            if entry.bias_correction is not None:
                made.bias_correction[tensor] = entry.bias_correction
    return made


def _check_type(entry: Override, node: Any) -> None:
    if node is None:
        return
    if entry.activations is DType.INT16 and not node.op.has_int16:
        raise QuantisationError(
            f"'{entry.match}' asks for int16 of the {node.op.kind} '{node.name}', which "
            "TFLite-Micro has on int8 only",
            'Narrow the entry, for instance by operator = "fully_connected".',
        )
    if entry.activations is DType.INT8 and node.wide:
        raise QuantisationError(
            f"'{entry.match}' asks for int8 of '{node.name}', a statistic of a normalisation, "
            "which needs int16",
            "Narrow the entry by operator.",
        )
