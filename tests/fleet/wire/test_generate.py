# SPDX-License-Identifier: Apache-2.0
"""The contract: what is derived from protocol.cddl is current, and the CDDL itself is valid."""

from __future__ import annotations

import cbor2
import pycddl
import pytest

from fleet.wire import generate, messages
from fleet.wire.schema import SOURCE, read_schema
from fleet.wire.topics import MESSAGES
from tests.fleet.wire.golden import read_vectors


def test_generated_files_are_current():
    for path, text in generate.generated_files(read_schema()).items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: make the files again"


@pytest.mark.parametrize(
    ("name", "data"),
    [(n, d) for v, n, d in read_vectors() if v == "valid"],
    ids=lambda v: v if isinstance(v, str) else v.hex()[:16],
)
def test_golden_bytes_match_the_cddl(name: str, data: bytes):
    text = SOURCE.read_text(encoding="utf-8")
    pycddl.Schema(f"start = {name}\n{text}").validate_cbor(data)


def test_the_cddl_refuses_what_it_should():
    schema = pycddl.Schema(f"start = presence\n{SOURCE.read_text(encoding='utf-8')}")
    with pytest.raises(pycddl.ValidationError):
        schema.validate_cbor(cbor2.dumps({1: 1}))


def test_keys_and_values_are_unique_and_ascending():
    schema = read_schema()
    for message in schema.messages:
        keys = [m.key for m in message.members]
        assert keys == sorted(set(keys)) and keys[0] == 1, message.name
        assert len({m.name for m in message.members}) == len(keys), message.name
    for enum in schema.enumerations:
        numbers = [v.number for v in enum.values]
        assert numbers == sorted(set(numbers)) and numbers[0] == 0, enum.name


def test_every_channel_carries_a_message_and_every_upward_one_names_itself():
    rules = {m.name: m for m in read_schema().messages}
    for (direction, channel), name in MESSAGES.items():
        fields = [m.name for m in rules[name].members]
        if direction == "up" and channel != "presence":
            assert fields[:2] == ["boot_id", "seq"], name


def test_the_reasons_of_python_are_those_of_the_cddl():
    reasons = next(e for e in read_schema().enumerations if e.name == "reason")
    assert {v.name.upper(): v.number for v in reasons.values} == {
        r.name: r.value for r in messages.Reason
    }


def test_a_line_in_another_form_is_named(tmp_path):
    path = tmp_path / "bad.cddl"
    path.write_text("thing = {\n  one: uint,\n}\n")
    with pytest.raises(ValueError, match="cannot read '  one: uint,'"):
        read_schema(path)
