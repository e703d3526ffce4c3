# SPDX-License-Identifier: Apache-2.0
"""Messages to bytes and back: deterministic CBOR (RFC 8949 section 4.2.1), keys are integers."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, TypeVar

import cbor2


class WireError(ValueError):
    """Bytes that are no message of the protocol, or values that a message cannot hold."""


@dataclass(frozen=True)
class Field:
    """How one attribute of a message is written.

    Args:
        key: in the CBOR map.
        name: of the attribute.
        kind: ``uint``, ``int``, ``float``, ``bool``, ``text``, ``bytes``, ``properties``, or the
            class of an enumeration or of a message.
        low, high: bounds of an integer, or of the size of a text or byte string in bytes.
        array: smallest and largest number of elements, None for a single value.
        optional: whether None is allowed; it is not written.
    """

    key: int
    name: str
    kind: str | type[IntEnum] | type[Message]
    low: int = 0
    high: int = 0
    array: tuple[int, int] | None = None
    optional: bool = False


class Message:
    """Base of all messages. Subclasses are frozen dataclasses in `fleet.wire.messages`."""

    FIELDS: ClassVar[tuple[Field, ...]]

    def encode(self) -> bytes:
        """The message as deterministic CBOR.

        Raises:
            WireError: a value has the wrong type or is out of bounds.
        """
        return cbor2.dumps(_to_map(self), canonical=True)


M = TypeVar("M", bound=Message)
MAX_PROPERTIES = 64
_PROPERTY_NAME, _PROPERTY_TEXT = 32, 64


def decode(kind: type[M], data: bytes) -> M:
    """Reads one message; unknown keys are skipped.

    Raises:
        WireError: not CBOR, not deterministic, more bytes than one item, or not this message.
    """
    stream = io.BytesIO(data)
    try:
        item = cbor2.CBORDecoder(stream).decode()
        is_canonical = stream.tell() == len(data) and cbor2.dumps(item, canonical=True) == data
    except WireError:
        raise
    except Exception as error:  # cbor2 lets many kinds of errors out of its decoders
        raise WireError(f"no CBOR: {type(error).__name__}") from None
    if not is_canonical:
        raise WireError("not one item of deterministic CBOR")
    return _from_map(kind, item, kind.__name__)


def as_f32(value: float) -> float:
    """The nearest binary32, which is what travels.

    Raises:
        OverflowError: the value is finite and beyond binary32.
    """
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def _to_map(message: Message) -> dict[int, Any]:
    out: dict[int, Any] = {}
    for field in message.FIELDS:
        value = getattr(message, field.name)
        where = f"{type(message).__name__}.{field.name}"
        if value is None:
            if not field.optional:
                raise WireError(f"{where} is missing")
            continue
        out[field.key] = _each(field, value, where, _encode_value)
    return out


def _from_map(kind: type[M], item: Any, where: str) -> M:
    if not isinstance(item, dict):
        raise WireError(f"{where} is no map")
    if not all(_is_int(key) and key >= 0 for key in item):
        raise WireError(f"{where} has a key that is no unsigned integer")
    values: dict[str, Any] = {}
    for field in kind.FIELDS:
        name = f"{where}.{field.name}"
        if field.key in item:
            values[field.name] = _each(field, item[field.key], name, _decode_value)
        elif field.optional:
            values[field.name] = None
        else:
            raise WireError(f"{name} is missing")
    return kind(**values)


def _each(field: Field, value: Any, where: str, convert: Callable[[Field, Any, str], Any]) -> Any:
    if field.array is None:
        return convert(field, value, where)
    low, high = field.array
    if not isinstance(value, list | tuple) or not low <= len(value) <= high:
        raise WireError(f"{where} is no array of {low} to {high} elements")
    return tuple(convert(field, v, where) for v in value)


def _encode_value(field: Field, value: Any, where: str) -> Any:
    if isinstance(field.kind, type) and issubclass(field.kind, Message):
        if not isinstance(value, field.kind):
            raise WireError(f"{where} is no {field.kind.__name__}")
        return _to_map(value)
    if field.kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    return _plain(_checked(field, value, where))


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, IntEnum) else value


def _decode_value(field: Field, value: Any, where: str) -> Any:
    if isinstance(field.kind, type) and issubclass(field.kind, Message):
        return _from_map(field.kind, value, where)
    checked = _checked(field, value, where)
    if field.kind in ("float", "properties") and checked != value and value == value:
        raise WireError(f"{where} holds a float of more than 32 bits")
    return checked


def _checked(field: Field, value: Any, where: str) -> Any:
    """The value as the dataclass holds it."""
    kind = field.kind
    if kind in ("uint", "int"):
        if not _is_int(value) or not field.low <= value <= field.high:
            raise WireError(f"{where} is no integer from {field.low} to {field.high}")
        return value
    if kind == "float":
        return _checked_float(value, where)
    if kind == "bool":
        if not isinstance(value, bool):
            raise WireError(f"{where} is not true or false")
        return value
    if kind in ("text", "bytes"):
        wanted = str if kind == "text" else bytes
        if not isinstance(value, wanted):
            raise WireError(f"{where} is no {kind}")
        size = len(value.encode()) if isinstance(value, str) else len(value)
        if not field.low <= size <= field.high:
            raise WireError(f"{where} has {size} bytes, not {field.low} to {field.high}")
        return value
    if kind == "properties":
        return _checked_properties(value, where)
    assert isinstance(kind, type) and issubclass(kind, IntEnum)
    if not _is_int(value):
        raise WireError(f"{where} is no {kind.__name__}")
    try:
        return kind(value)
    except ValueError:
        raise WireError(f"{where}: {value} is no {kind.__name__}") from None


def _checked_properties(value: Any, where: str) -> dict[str, int | float | bool | str]:
    if not isinstance(value, dict) or len(value) > MAX_PROPERTIES:
        raise WireError(f"{where} is no map of up to {MAX_PROPERTIES} properties")
    for name, one in value.items():
        if not isinstance(name, str) or not 1 <= len(name.encode()) <= _PROPERTY_NAME:
            raise WireError(f"{where}: a name has 1 to {_PROPERTY_NAME} bytes of text")
        if isinstance(one, str):
            if len(one.encode()) > _PROPERTY_TEXT:
                raise WireError(f"{where}.{name} has more than {_PROPERTY_TEXT} bytes")
        elif isinstance(one, float):
            _checked_float(one, f"{where}.{name}")
        elif not isinstance(one, bool) and not (_is_int(one) and -(2**31) <= one < 2**31):
            raise WireError(f"{where}.{name} is no 32-bit integer, number, bool or text")
    return {k: as_f32(v) if isinstance(v, float) else v for k, v in value.items()}


def _checked_float(value: Any, where: str) -> float:
    if not isinstance(value, float):
        raise WireError(f"{where} is no float")
    try:
        return value if math.isnan(value) else as_f32(value)
    except OverflowError:
        raise WireError(f"{where}: {value} does not fit 32 bits") from None


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
