# SPDX-License-Identifier: Apache-2.0
"""Writes what is derived from protocol.cddl: Python classes, C header and tables, the document.

``python -m fleet.wire.generate`` rewrites the files; a test checks that they are current.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fleet.wire.schema import Enumeration, Member, MessageRule, Schema, read_schema
from fleet.wire.topics import MESSAGES

ROOT = Path(__file__).parent.parent.parent
_LIMITS = {
    "u8": (0, 2**8 - 1),
    "u16": (0, 2**16 - 1),
    "u32": (0, 2**32 - 1),
    "u64": (0, 2**64 - 1),
    "i32": (-(2**31), 2**31 - 1),
}
_GENERATED = "Generated from protocol.cddl by `python -m fleet.wire.generate`."


def generated_files(schema: Schema) -> dict[Path, str]:
    """Text by path."""
    firmware = ROOT / "firmware" / "agent"
    return {
        Path(__file__).parent / "messages.py": _python(schema),
        firmware / "protocol.h": _c_header(schema),
        firmware / "protocol.c": _c_tables(schema),
        ROOT / "docs" / "protocol.md": _document(schema),
    }


def main() -> None:
    """Writes the files."""
    for path, text in generated_files(read_schema()).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _wrap(text: str, width: int, prefix: str) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(prefix) + len(line) + 1 + len(word) > width:
            lines.append(prefix + line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, prefix + line]


# ---- Python


def _python(schema: Schema) -> str:
    enums = {e.name for e in schema.enumerations}
    out = [
        "# SPDX-License-Identifier: Apache-2.0",
        f'"""The protocol\'s messages. {_GENERATED}"""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Mapping",
        "from dataclasses import dataclass",
        "from enum import IntEnum",
        "from typing import ClassVar",
        "",
        "from fleet.wire.codec import Field, Message",
    ]
    for enum in schema.enumerations:
        doc = enum.doc or f"Values of {enum.name}."
        out += ["", "", f"class {_camel(enum.name)}(IntEnum):"]
        out += _docstring(doc, [])
        out.append("")
        for value in enum.values:
            out += _wrap(value.doc, 100, "    # ")
            out.append(f"    {value.name.upper()} = {value.number}")
    for message in schema.messages:
        out += ["", "", "@dataclass(frozen=True, kw_only=True)"]
        out.append(f"class {_camel(message.name)}(Message):")
        arguments = [f"{m.name}: {m.doc}." for m in message.members]
        out += _docstring(message.doc, arguments)
        out.append("")
        ordered = [m for m in message.members if not m.optional]
        ordered += [m for m in message.members if m.optional]
        for member in ordered:
            hint = _hint(member, enums)
            out.append(
                f"    {member.name}: {hint} | None = None"
                if member.optional
                else f"    {member.name}: {hint}"
            )
        out += ["", "    FIELDS: ClassVar[tuple[Field, ...]] = ("]
        out += [f"        {_python_field(m, enums)}," for m in message.members]
        out.append("    )")
    return _formatted("\n".join([*out, ""]))


def _formatted(source: str) -> str:
    """In the project's style, as its formatter writes it."""
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", "messages.py", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
    return done.stdout


def _docstring(doc: str, arguments: list[str]) -> list[str]:
    summary, _, rest = doc.partition(". ")
    if not arguments and not rest and len(doc) < 90:
        return [f'    """{doc}"""']
    text = [f'    """{summary.rstrip(".")}.']
    if rest:
        text += ["", *_wrap(rest, 98, "    ")]
    if arguments:
        text += ["", "    Args:"]
        for argument in arguments:
            first, *more = _wrap(argument, 88, "")
            text.append(f"        {first}")
            text += [f"            {m}" for m in more]
    return [*text, '    """']


def _hint(member: Member, enums: set[str]) -> str:
    base = {
        "f32": "float",
        "bool": "bool",
        "tstr": "str",
        "bstr": "bytes",
        "properties": "Mapping[str, int | float | bool | str]",
    }.get(member.type) or ("int" if member.type in _LIMITS else _camel(member.type))
    return f"tuple[{base}, ...]" if member.count else base


def _python_field(member: Member, enums: set[str]) -> str:
    kinds = {"f32": "float", "tstr": "text", "bstr": "bytes", "i32": "int"}
    if member.type in _LIMITS:
        low, high = _LIMITS[member.type]
        parts = [f'"{kinds.get(member.type, "uint")}"', str(low), f"{high:_}"]
    elif member.type in ("tstr", "bstr"):
        parts = [f'"{kinds[member.type]}"', str(member.low), str(member.high)]
    elif member.type in ("f32", "bool", "properties"):
        parts = [f'"{kinds.get(member.type, member.type)}"']
    else:
        parts = [_camel(member.type)]
    if member.count:
        parts.append(f"array=({member.least}, {member.count})")
    if member.optional:
        parts.append("optional=True")
    return f'Field({member.key}, "{member.name}", {", ".join(parts)})'


# ---- C

_C_NOTE = f"/* SPDX-License-Identifier: Apache-2.0\n *\n * {_GENERATED}\n */\n"


def _c_type(member: Member, enums: set[str]) -> str:
    if member.type in _LIMITS:
        return f"{'int' if member.type == 'i32' else 'uint'}{member.type[1:]}_t"
    if member.type in enums:
        return "uint8_t"
    if member.type in ("tstr", "bstr", "properties"):
        return "tml_bytes_t"
    return {"f32": "float", "bool": "bool"}.get(member.type, f"tml_{member.type}_t")


def _c_header(schema: Schema) -> str:
    enums = {e.name for e in schema.enumerations}
    out = [_C_NOTE, "#ifndef TINYML_AGENT_PROTOCOL_H", "#define TINYML_AGENT_PROTOCOL_H", ""]
    out += ['#include "codec.h"', ""]
    for enum in schema.enumerations:
        out += _c_comment(enum.doc)
        out.append("typedef enum {")
        for value in enum.values:
            name = f"TML_{enum.name}_{value.name}".upper()
            out.append(f"    {name} = {value.number}, /* {value.doc} */")
        out += [f"}} tml_{enum.name}_t;", ""]
    for message in schema.messages:
        out += _c_comment(message.doc)
        optional = [m for m in message.members if m.optional]
        if optional:
            out.append("enum {")
            for index, member in enumerate(message.members):
                if member.optional:
                    name = f"TML_{message.name}_HAS_{member.name}".upper()
                    out.append(f"    {name} = 1 << {index},")
            out += ["};", ""]
        out.append("typedef struct {")
        out.append("    uint32_t has; /* which optional fields are there */")
        for member in message.members:
            suffix = f"[{member.count}]" if member.count else ""
            out.append(f"    {_c_type(member, enums)} {member.name}{suffix}; /* {member.doc} */")
            if member.count:
                out.append(f"    uint32_t {member.name}_count;")
        out += [f"}} tml_{message.name}_t;", ""]
    out.append("enum {")
    out += [f"    TML_MESSAGE_{m.name.upper()} = {i}," for i, m in enumerate(schema.messages)]
    out += ["};", "", "/* By TML_MESSAGE_*. */"]
    out += ["extern const tml_message_t tml_messages[];", "", "#endif"]
    return "\n".join(["/* clang-format off */", *out, ""]).replace(
        "/* clang-format off */\n" + _C_NOTE, _C_NOTE + "/* clang-format off */"
    )


def _c_comment(text: str) -> list[str]:
    if not text:
        return []
    if len(text) < 90:
        return [f"/* {text} */"]
    return ["/*", *_wrap(text, 100, " * "), " */"]


def _c_tables(schema: Schema) -> str:
    enums = {e.name: e for e in schema.enumerations}
    links = {m.name: i for i, m in enumerate(schema.messages)}
    out = [
        _C_NOTE,
        "/* clang-format off */",
        '#include "protocol.h"',
        "",
        "#include <stddef.h>",
        "",
    ]
    for message in schema.messages:
        out.append(f"static const tml_field_t {message.name}_fields[] = {{")
        out += [f"    {_c_field(message, m, enums, links)}," for m in message.members]
        out += ["};", ""]
    out.append("const tml_message_t tml_messages[] = {")
    for message in schema.messages:
        name = message.name
        out.append(f"    {{{name}_fields, sizeof(tml_{name}_t), {len(message.members)}}},")
    return "\n".join([*out, "};", ""])


def _c_field(
    message: MessageRule, member: Member, enums: dict[str, Enumeration], links: dict[str, int]
) -> str:
    low, high = member.low, member.high
    struct = f"tml_{message.name}_t"
    kinds = {"f32": "FLOAT", "bool": "BOOL", "tstr": "TEXT", "bstr": "BYTES", "i32": "INT32"}
    if member.type in links:
        kind, low = "MESSAGE", links[member.type]
    elif member.type in enums:
        kind, high = "ENUM", max(v.number for v in enums[member.type].values)
    elif member.type in _LIMITS and member.type != "i32":
        kind = f"UINT{member.type[1:]}"
    else:
        kind = kinds.get(member.type, "PROPERTIES")
    optional = " | TML_KIND_OPTIONAL" if member.optional else ""
    return (
        f"{{{member.key}, TML_KIND_{kind}{optional}, {member.count}, {low}, {high}, "
        f"offsetof({struct}, {member.name})}}"
    )


# ---- document


def _document(schema: Schema) -> str:
    out = [
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        "# The protocol between devices and the fleet",
        "",
        f"<!-- {_GENERATED} -->",
        "",
        "Payloads are deterministic CBOR (RFC 8949 §4.2.1): maps with integer keys, ascending.",
        "The transport is MQTT 5, QoS 1. The source of this page, of the Python classes and of the",
        "C codec is `fleet/wire/protocol.cddl`.",
        "",
        "## Topics",
        "",
        "`tinyml/v1/{tenant}/{device}/{up|down}/{channel}`; names are 1 to 32 of `a-z 0-9 -`.",
        "A device publishes only below its own `up/` and reads only its own `down/`.",
        "",
        "| topic | message | retained |",
        "|---|---|---|",
    ]
    for (direction, channel), kind in MESSAGES.items():
        retained = "yes, and last will" if channel == "presence" else ""
        out.append(f"| `{direction}/{channel}` | [{kind}](#{kind}) | {retained} |")
    section = ""
    for message in schema.messages:
        if message.section != section:
            section = message.section
            out += ["", f"## {_sentence(section)}"]
        out += ["", f"### {message.name}", "", message.doc, ""]
        out += ["| key | field | type | |", "|---|---|---|---|"]
        for member in message.members:
            star = ", optional" if member.optional else ""
            out.append(
                f"| {member.key} | `{member.name}` | {_shown(member)}{star} | {member.doc} |"
            )
    out += ["", "## Enumerations"]
    for enum in schema.enumerations:
        out += ["", f"### {enum.name}", ""]
        if enum.doc:
            out += [enum.doc, ""]
        out += ["| value | name | meaning |", "|---|---|---|"]
        out += [f"| {v.number} | `{v.name}` | {v.doc} |" for v in enum.values]
    return "\n".join([*out, ""])


def _shown(member: Member) -> str:
    text = member.type
    if member.type in ("tstr", "bstr"):
        size = str(member.low) if member.low == member.high else f"{member.low} to {member.high}"
        text = f"{member.type}, {size} bytes"
    return f"{member.least} to {member.count} of {text}" if member.count else text


if __name__ == "__main__":
    main()
