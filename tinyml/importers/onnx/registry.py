# SPDX-License-Identifier: Apache-2.0
"""Where translators of ONNX operators are found, and what all of them use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import onnx

from tinyml.ir.tensor import Array

if TYPE_CHECKING:
    from tinyml.importers.onnx.importer import Translation

Translator = Callable[["Translation", onnx.NodeProto], None]
TRANSLATORS: dict[str, Translator] = {}


class Unsupported(Exception):  # noqa: N818 - a verdict on a node, not a failure
    """An attribute or input form of a supported operator that the compiler does not support."""


def translates(*kinds: str) -> Callable[[Translator], Translator]:
    """Registers a function as the translator of ONNX operators."""

    def register(function: Translator) -> Translator:
        TRANSLATORS.update(dict.fromkeys(kinds, function))
        return function

    return register


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def required(t: Translation, node: onnx.NodeProto, index: int) -> Array:
    """The constant given as an input that must be there.

    Raises:
        Unsupported: it is left out or computed at run time.
    """
    value = t.constant(node, index)
    if value is None:
        raise Unsupported(f"input {index} is missing")
    return value
