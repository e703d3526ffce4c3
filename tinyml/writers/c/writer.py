# SPDX-License-Identifier: Apache-2.0
"""Writes an int8 Graph as C: NAME.h, NAME.c, NAME_weights.c and the weights blob."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinyml.ir.graph import Graph
from tinyml.ir.tensor import DType
from tinyml.plan import MemoryPlan
from tinyml.writers.c.emitter import CEmitter
from tinyml.writers.c.rows import write_rows

_LICENCE = "/* SPDX-License-Identifier: Apache-2.0 */\n"
_BYTES_PER_LINE = 20


@dataclass(frozen=True)
class CModel:
    """The generated sources.

    Args:
        files: text by file name.
        weights: the blob; also compiled in by NAME_weights.c.
        kernels: names of the kernel functions called.
        abi: hash of everything but the blob; blobs of equal abi and size are interchangeable.
    """

    files: dict[str, str]
    weights: bytes
    kernels: frozenset[str]
    abi: int


def write_c(
    graph: Graph,
    plan: MemoryPlan,
    isa: str = "portable",
    regions: Sequence[str] = (),
    *,
    slow_weights: bool = False,
) -> CModel:
    """Translates a graph whose activations ``plan`` has placed.

    Args:
        isa: the instruction set that ``plan`` was made for, see `Target.isa`. The C runs on every
            core; on this one it is fastest.
        regions: names of the regions that ``plan`` was made for.
        slow_weights: whether the blob lies in section .rodata.tml_slow.
    """
    extra = dict(zip(regions[1:], plan.extra_bytes, strict=False))
    memories = ["arena", *(f"memory_{r}" for r in extra)]
    emitter = CEmitter(plan, isa, memories)
    body: list[str] = []
    for group in plan.groups:
        for index in range(group.first, group.last + 1):
            node = graph.nodes[index]
            body.append(f"    /* {index}: {node.op.kind} {_comment(node.name)} */")
        if group.steps:
            body += write_rows(emitter, graph, plan, group)
        else:
            body += _whole(emitter, graph, group.first)
    body += _updates(emitter, graph)
    reset = _reset(emitter, graph)
    blob = emitter.finished_blob()
    structure = "\n".join([*_memories(extra), *emitter.shapes, *body, *reset])
    abi = int.from_bytes(hashlib.sha256(structure.encode()).digest()[:8], "little")
    files = {
        f"{graph.name}.h": _header(graph, plan, len(blob)),
        f"{graph.name}.c": _source(
            graph, plan, [*_memories(extra), *emitter.shapes], body, reset, abi
        ),
        f"{graph.name}_weights.c": _weights(graph.name, blob, slow=slow_weights),
    }
    return CModel(files, blob, frozenset(emitter.kernels), abi)


def _memories(extra: Mapping[str, int]) -> list[str]:
    """The arrays of the regions after the first; the linker script places their sections."""
    return [
        f'TML_ALIGNED __attribute__((section(".bss.tml_{name}"))) static uint8_t '
        f"memory_{name}[{size}];"
        for name, size in extra.items()
        if size
    ]


def _whole(emitter: CEmitter, graph: Graph, index: int) -> list[str]:
    node = graph.nodes[index]
    out = graph.out(node)
    emitter.begin(index, constants=[t.name for t in graph.ins(node) if t.is_constant])
    start = len(emitter.statements)
    node.op.to_c(emitter, graph.ins(node), out)
    lines = [f"    {s}" for s in (*emitter.take_copies(), *emitter.statements[start:])]
    return [*lines, f"    TML_TRACE({index}, {emitter.place(out)}, {out.bytes}u);"]


def _updates(emitter: CEmitter, graph: Graph) -> list[str]:
    """What variables take over when a run ends."""
    start = len(emitter.statements)
    for index, (name, value) in enumerate(graph.updates.items()):
        emitter.begin(len(graph.nodes) + index)
        variable = graph.tensors[name]
        source = emitter.read(graph.tensors[value], dtype=DType.INT8)
        target = emitter.write(variable, DType.INT8)
        emitter.call("tml_copy_rows_s8", _one_run(emitter, variable.bytes), source, target)
    return [f"    {s}" for s in emitter.statements[start:]]


def _reset(emitter: CEmitter, graph: Graph) -> list[str]:
    """What sets the variables to their first values."""
    start = len(emitter.statements)
    for index, (name, initial) in enumerate(graph.variables.items()):
        emitter.begin(len(graph.nodes) + len(graph.updates) + index)
        variable = graph.tensors[name]
        target = emitter.write(variable, DType.INT8)
        data = np.frombuffer(initial.tobytes(), np.int8)
        if np.all(data == data[:1]):
            emitter.call("tml_fill_s8", f"{data.size}u", str(int(data[0])), target)
        else:
            source = emitter.read(replace(variable, data=initial), dtype=DType.INT8)
            emitter.call("tml_copy_rows_s8", _one_run(emitter, variable.bytes), source, target)
    return [f"    {s}" for s in emitter.statements[start:]]


def _one_run(emitter: CEmitter, size: int) -> str:
    fields = {"rows": 1, "length": size, "input_offset": 0, "input_stride": size}
    fields |= {"output_offset": 0, "output_stride": size}
    return emitter.shape("tml_copy_rows_t", fields)


def _comment(text: str) -> str:
    return text.replace("*/", "* /")


def _header(graph: Graph, plan: MemoryPlan, blob_bytes: int) -> str:
    name = graph.name
    return f"""{_LICENCE}
/* Generated by tinyml. The contract is in tinyml/model.h. */
#ifndef TINYML_MODEL_{name.upper()}_H
#define TINYML_MODEL_{name.upper()}_H

#include "tinyml/model.h"

enum {{ {name}_arena_bytes = {plan.arena_bytes}, {name}_weights_bytes = {blob_bytes} }};

extern const uint8_t {name}_weights[{name}_weights_bytes];
extern const tml_model_t {name}_model;

void {name}_run(uint8_t *arena, const uint8_t *weights);
{_reset_declaration(graph, plan)}
#endif
"""


def _reset_declaration(graph: Graph, plan: MemoryPlan) -> str:
    if not graph.variables:
        return ""
    name = graph.name
    return f"""
/* The model keeps state in the first bytes of the arena. Leave them alone between runs; reset
 * before the first one and wherever a new sequence begins. */
enum {{ {name}_state_bytes = {plan.state_bytes} }};
void {name}_reset(uint8_t *arena, const uint8_t *weights);
"""


def _source(
    graph: Graph,
    plan: MemoryPlan,
    shapes: Sequence[str],
    body: Sequence[str],
    reset: Sequence[str],
    abi: int,
) -> str:
    name = graph.name
    resets = [f"void {name}_reset(uint8_t *arena, const uint8_t *weights) {{", *reset]
    resets += ["    (void)arena;", "    (void)weights;", "}", ""]
    return "\n".join(
        [
            _LICENCE,
            "/* Generated by tinyml. */",
            f'#include "{name}.h"',
            "",
            '#include "tinyml/kernels.h"',
            "",
            *shapes,
            "",
            f"void {name}_run(uint8_t *arena, const uint8_t *weights) {{",
            *([] if any("weights" in line for line in body) else ["    (void)weights;"]),
            *body,
            "}",
            "",
            *(resets if graph.variables else []),
            *_ports("inputs", graph, graph.inputs, plan),
            *_ports("outputs", graph, graph.outputs, plan),
            "",
            f"const tml_model_t {name}_model = {{",
            f'    .name = "{name}",',
            f"    .abi = UINT64_C(0x{abi:016x}),",
            f"    .arena_bytes = {name}_arena_bytes,",
            f"    .weights_bytes = {name}_weights_bytes,",
            f"    .node_count = {len(graph.nodes)},",
            f"    .input_count = {len(graph.inputs)},",
            f"    .output_count = {len(graph.outputs)},",
            "    .inputs = inputs,",
            "    .outputs = outputs,",
            f"    .weights = {name}_weights,",
            f"    .run = {name}_run,",
            *([f"    .reset = {name}_reset,"] if graph.variables else []),
            "};",
            "",
        ]
    )


def _ports(label: str, graph: Graph, names: Sequence[str], plan: MemoryPlan) -> list[str]:
    lines = [f"static const tml_io_t {label}[] = {{"]
    for name in names:
        tensor = graph.tensors[name]
        # Ids have no quantisation: they are their own values.
        scale, zero = (tensor.quant.s, tensor.quant.z) if tensor.quant else (1.0, 0)
        lines.append(
            f'    {{"{name}", {plan.offsets[name]}u, {tensor.bytes}u, {scale!r}f, {zero}}},'
        )
    return [*lines, "};"]


def _weights(name: str, blob: bytes, *, slow: bool) -> str:
    section = '__attribute__((section(".rodata.tml_slow"))) ' if slow else ""
    rows = [
        "    " + ",".join(str(b) for b in blob[i : i + _BYTES_PER_LINE]) + ","
        for i in range(0, len(blob), _BYTES_PER_LINE)
    ]
    return "\n".join(
        [
            _LICENCE,
            "/* Generated by tinyml. */",
            f'#include "{name}.h"',
            "",
            f"TML_ALIGNED {section}const uint8_t {name}_weights[{name}_weights_bytes] = {{",
            *rows,
            "};",
            "",
        ]
    )
