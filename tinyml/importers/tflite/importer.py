# SPDX-License-Identifier: Apache-2.0
"""Reads an int8 .tflite file into an int8 Graph."""

from __future__ import annotations

from pathlib import Path

from tinyml.errors import ImportModelError
from tinyml.importers.names import identifier
from tinyml.importers.tflite.batches import split_batches
from tinyml.importers.tflite.dilation import fold_dilation
from tinyml.importers.tflite.file import DAMAGED_HINT, StoredModel, StoredOperator, damaged, parse
from tinyml.importers.tflite.islands import fold_islands
from tinyml.importers.tflite.masks import fold_masks
from tinyml.importers.tflite.operators import SUPPORTED, TRANSLATORS
from tinyml.importers.tflite.reader import Reader, Unsupported
from tinyml.importers.tflite.shapes import fold_shapes
from tinyml.importers.tflite.tables import fold_tables, fold_wrapped_ids
from tinyml.ir.graph import Graph

_SUPPORTED_HINT = f"Supported TFLite operators: {', '.join(SUPPORTED)}."
_MOST_LISTED = 10


def import_tflite(source: Path | bytes, name: str | None = None) -> Graph:
    """An int8 Graph whose integer references reproduce the file under TFLite-Micro.

    Tensors keep their names, made unique, with characters that C strings cannot hold replaced
    by _; a layer is named after its output tensor. Constants are views of the file's bytes.

    Args:
        source: a .tflite file, or its bytes.
        name: the graph's name; by default the file's stem, or for bytes the description stored
            in the model. Made a C identifier.

    Raises:
        ImportModelError: the file is missing, truncated or damaged, or uses an operator, a type
            or a feature the compiler does not support; the message names it. No other exception
            escapes, whatever the bytes; time and memory stay in proportion to the file's size.
    """
    if isinstance(source, bytes):
        return _import(source, name, "")
    try:
        return _import(source.read_bytes(), name, source.stem)
    except OSError as error:
        raise ImportModelError(f"{source} cannot be read: {error.strerror}") from None
    except ImportModelError as error:
        raise ImportModelError(f"{source}: {error.message}", error.hint) from None


def _import(data: bytes, name: str | None, stem: str) -> Graph:
    model = parse(data)
    for rewrite in (fold_shapes, fold_tables, fold_masks, fold_wrapped_ids):
        model = rewrite(model)
    model = split_batches(fold_dilation(fold_islands(model)))
    if not model.operators:
        raise damaged("the model holds no operators")
    reader = Reader(identifier(name or stem or model.description or "model"), model)
    reader.open()
    _check_supported(model)
    for index, operator in enumerate(model.operators):
        layer = _layer(model, operator, index)
        reader.begin(operator, layer)
        try:
            TRANSLATORS[operator.kind](reader, operator)
        except (Unsupported, ValueError) as error:
            raise ImportModelError(
                f"layer '{layer}' ({operator.kind}) is not supported in this form: {error}",
                _SUPPORTED_HINT,
            ) from None
    reader.close()
    try:
        reader.graph.check()
    except ValueError as error:
        raise ImportModelError(f"the model contradicts itself: {error}", DAMAGED_HINT) from None
    return reader.graph


def _check_supported(model: StoredModel) -> None:
    """Names every operator without a translator at once."""
    wrong = [
        f"{operator.kind} (layer '{_layer(model, operator, index)}')"
        for index, operator in enumerate(model.operators)
        if operator.kind not in TRANSLATORS
    ]
    if wrong:
        more = f" and {len(wrong) - _MOST_LISTED} more" if len(wrong) > _MOST_LISTED else ""
        listed = ", ".join(wrong[:_MOST_LISTED])
        raise ImportModelError(f"unsupported TFLite operators: {listed}{more}", _SUPPORTED_HINT)


def _layer(model: StoredModel, operator: StoredOperator, index: int) -> str:
    name = model.tensors[operator.outputs[0]].name if operator.outputs else ""
    return name or f"operator {index}"
