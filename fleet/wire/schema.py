# SPDX-License-Identifier: Apache-2.0
"""Reads protocol.cddl: the part of CDDL (RFC 8610) that its head describes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent / "protocol.cddl"


@dataclass(frozen=True)
class Value:
    """One value of an enumeration."""

    name: str
    number: int
    doc: str


@dataclass(frozen=True)
class Enumeration:
    """A rule of the form ``name = &( value: number, ... )``."""

    name: str
    doc: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Member:
    """One field of a message.

    Args:
        key: its integer key.
        name: from its comment.
        type: of CDDL: a base type, or the name of an enumeration or a message.
        low, high: bounds of the size of a text or byte string, else 0.
        count: largest number of elements of an array, 0 for a single value.
        least: smallest number of elements of an array.
        optional: whether it may be absent.
        doc: from its comment.
    """

    key: int
    name: str
    type: str
    low: int
    high: int
    count: int
    least: int
    optional: bool
    doc: str


@dataclass(frozen=True)
class MessageRule:
    """A rule of the form ``name = { key => type, ... }``."""

    name: str
    doc: str
    members: tuple[Member, ...]
    section: str


@dataclass(frozen=True)
class Schema:
    """The rules, in order."""

    enumerations: tuple[Enumeration, ...]
    messages: tuple[MessageRule, ...]


_SECTION = re.compile(r"^; -{4} (.+?) -+$")
_ENUM = re.compile(r"^(\w+) = &\($")
_VALUE = re.compile(r"^  (\w+): (\d+), ; (.+)$")
_MAP = re.compile(r"^(\w+) = \{$")
_MEMBER = re.compile(r"^  (\? )?(\d+) => (.+), ; (\w+): (.+)$")
_ARRAY = re.compile(r"^\[(\d+)\*(\d+) (.+)\]$")
_STRING = re.compile(r"^([bt]str) \.size (?:\((\d+)\.\.(\d+)\)|(\d+))$")
_ALIASES = {"id": "tstr .size (1..32)", "digest": "bstr .size 32"}


def read_schema(path: Path = SOURCE) -> Schema:
    """Parses the file.

    Raises:
        ValueError: a line inside a rule has another form.
    """
    enumerations: list[Enumeration] = []
    messages: list[MessageRule] = []
    comment: list[str] = []
    section = ""
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if found := _SECTION.match(line):
            section = found[1]
        elif line.startswith("; "):
            comment.append(line[2:])
            continue
        elif found := _ENUM.match(line):
            body = _body(lines, ")")
            values = tuple(Value(m[1], int(m[2]), m[3]) for m in (_must(_VALUE, b) for b in body))
            enumerations.append(Enumeration(found[1], " ".join(comment), values))
        elif found := _MAP.match(line):
            members = tuple(_member(_must(_MEMBER, b)) for b in _body(lines, "}"))
            messages.append(MessageRule(found[1], " ".join(comment), members, section))
        comment = []
    return Schema(tuple(enumerations), tuple(messages))


def _body(lines: object, end: str) -> list[str]:
    body: list[str] = []
    for line in lines:  # type: ignore[attr-defined]
        if line == end:
            break
        body.append(line)
    return body


def _must(pattern: re.Pattern[str], line: str) -> re.Match[str]:
    found = pattern.match(line)
    if found is None:
        raise ValueError(f"protocol.cddl: cannot read '{line}'")
    return found


def _member(found: re.Match[str]) -> Member:
    kind, least, count = found[3], 0, 0
    if array := _ARRAY.match(kind):
        least, count, kind = int(array[1]), int(array[2]), array[3]
    low = high = 0
    if string := _STRING.match(_ALIASES.get(kind, kind)):
        kind = string[1]
        low = int(string[2] or string[4] or 0)
        high = int(string[3] or string[4] or 0)
    optional = found[1] is not None
    return Member(int(found[2]), found[4], kind, low, high, count, least, optional, found[5])
