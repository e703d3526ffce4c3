# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.wire import WireError, decode, messages
from fleet.wire.codec import Field, Message, as_f32
from tests.fleet.wire.golden import EXAMPLES, message_name, read_vectors

KINDS: dict[str, type[Message]] = {
    "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.__name__)[1:]: kind
    for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message
}
VECTORS = read_vectors()


def by_verdict(verdict: str) -> list[tuple[str, bytes]]:
    return [(name, data) for v, name, data in VECTORS if v == verdict]


def test_every_message_has_a_golden_vector():
    top = {"model_info", "learning_info", "model_target"}  # inside others
    assert {name for name, _ in by_verdict("valid")} == set(KINDS) - top


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda m: message_name(m))
def test_examples_have_the_golden_bytes(example: Message):
    data = example.encode()
    assert (message_name(example), data) in by_verdict("valid")
    again = decode(type(example), data)
    assert again.encode() == data
    for field in example.FIELDS:
        before, after = getattr(example, field.name), getattr(again, field.name)
        if field.kind == "float" and before is not None:
            before = tuple(map(as_f32, before)) if field.array else as_f32(before)
        assert before == after, field.name


@pytest.mark.parametrize(("name", "data"), by_verdict("invalid"))
def test_invalid_vectors_are_refused(name: str, data: bytes):
    with pytest.raises(WireError):
        decode(KINDS[name], data)


@pytest.mark.parametrize(("name", "data"), by_verdict("skipped"))
def test_unknown_keys_are_skipped(name: str, data: bytes):
    assert len(decode(KINDS[name], data).encode()) < len(data)


def values(field: Field) -> st.SearchStrategy[Any]:
    kind = field.kind
    single: st.SearchStrategy[Any]
    if kind in ("uint", "int"):
        single = st.integers(field.low, field.high)
    elif kind == "float":
        single = st.floats(width=32)
    elif kind == "bool":
        single = st.booleans()
    elif kind == "bytes":
        single = st.binary(min_size=field.low, max_size=min(field.high, 300))
    elif kind == "text":
        single = st.text("a-z0é", min_size=max(field.low, 1), max_size=field.high // 2)
    elif kind == "properties":
        number = st.integers(-(2**31), 2**31 - 1) | st.floats(width=32, allow_nan=False)
        one = number | st.booleans() | st.text(max_size=16)
        single = st.dictionaries(st.text("ab", min_size=1, max_size=9), one, max_size=5)
    elif isinstance(kind, type) and issubclass(kind, Message):
        single = instances(kind)
    else:
        assert isinstance(kind, type)
        single = st.sampled_from(list(kind))  # type: ignore[call-overload]
    if field.array:
        single = st.lists(single, min_size=field.array[0], max_size=field.array[1]).map(tuple)
    return st.none() | single if field.optional else single


def instances(kind: type[Message]) -> st.SearchStrategy[Message]:
    return st.builds(kind, **{f.name: values(f) for f in kind.FIELDS})


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, Message):
        return all(equal(getattr(a, f.name), getattr(b, f.name)) for f in a.FIELDS)
    return bool(a == b)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(KINDS.values())).flatmap(instances))
def test_any_message_survives_the_wire(message: Message):
    assert equal(decode(type(message), message.encode()), message)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(KINDS)), st.binary(max_size=200))
def test_random_bytes_give_a_message_or_a_wire_error(name: str, data: bytes):
    try:
        message = decode(KINDS[name], data)
    except WireError:
        return
    message.encode()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_messages_give_a_message_or_a_wire_error(data: st.DataObject):
    name, good = data.draw(st.sampled_from(by_verdict("valid")))
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    with suppress(WireError):
        decode(KINDS[name], bytes(bad)).encode()


ITEMS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(KINDS)), st.dictionaries(st.integers(1, 26), ITEMS, max_size=12))
def test_wrongly_typed_fields_give_a_message_or_a_wire_error(name: str, item: dict[int, Any]):
    with suppress(WireError):
        decode(KINDS[name], cbor2.dumps(item, canonical=True))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"seq": -1}, "Presence|BlobRequest.seq is no integer from 0 to 4294967295"),
        ({"digest": b"short"}, "BlobRequest.digest has 5 bytes, not 32 to 32"),
        ({"count": True}, "BlobRequest.count is no integer"),
        ({"size": None}, "BlobRequest.size is missing"),
    ],
)
def test_what_a_message_cannot_hold_is_named(change: dict[str, Any], complaint: str):
    fields = {"boot_id": 1, "seq": 1, "digest": bytes(32), "offset": 0, "size": 1, "count": 1}
    with pytest.raises(WireError, match=complaint):
        messages.BlobRequest(**(fields | change)).encode()


def test_floats_beyond_32_bits_are_refused():
    with pytest.raises(WireError, match="does not fit 32 bits"):
        messages.Report(
            boot_id=1, seq=1, uptime_s=1, model_sequence=1, inferences=1, score=1e300
        ).encode()
