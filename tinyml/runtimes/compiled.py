# SPDX-License-Identifier: Apache-2.0
"""Runs a compiled model: as a process of this machine, or on an emulated board."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyml.errors import TinymlError
from tinyml.ir.graph import Graph
from tinyml.ir.tensor import Array, Tensor
from tinyml.runtimes.build import Program, firmware_root
from tinyml.runtimes.process import require_tool, run_tool
from tinyml.targets import Target

Feed = Mapping[str, Array]
# TML_FROM_LAST of tinyml/model.h.
_FROM_LAST = 0x8000


@dataclass(frozen=True)
class Run:
    """What a run produced.

    Args:
        outputs: for each sample, each graph output.
        instructions: executed by each inference; empty unless counted.
        node_instructions: of the first sample's nodes; empty unless counted in a traced program.
        traces: for each sample, the output of each node; empty unless the program is traced. A
            flat beginning of it where a node that runs by rows leaves out what nothing reads.
        stack_bytes: deepest stack use, None where the port does not know it.
    """

    outputs: list[list[Array]]
    instructions: list[int]
    node_instructions: list[int]
    traces: list[list[Array]]
    stack_bytes: int | None


def run_program(
    program: Program,
    target: Target,
    graph: Graph,
    feeds: Sequence[Feed],
    *,
    trace: bool = False,
    count: bool = False,
) -> Run:
    """Runs samples through a program.

    Args:
        program: built for ``target``, with trace if ``trace``.
        graph: the int8 graph that the C was written from.
        feeds: arrays by input name.
        count: whether to count instructions (emulated targets only).

    Raises:
        ToolMissingError: the emulator is not installed.
        TinymlError: the program fails, hangs, or writes less than it should.
    """
    with tempfile.TemporaryDirectory(prefix="tinyml-run-") as folder:
        work = Path(folder)
        packed = b"".join(f[n].tobytes() for f in feeds for n in graph.inputs)
        (work / "input.bin").write_bytes(packed)
        marks = work / "marks.txt"
        run_tool(run_command(program, target, marks if count else None), cwd=work, timeout=3600)
        produced = (work / "output.bin").read_bytes()
        shapes = [graph.tensors[n] for n in graph.outputs]
        outputs = _split(produced, shapes, len(feeds), "output.bin")
        pieces: list[tuple[int, bytes]] = []
        if trace:
            pieces = _pieces((work / "trace.bin").read_bytes())
        stack = work / "stack.bin"
        stack_bytes = struct.unpack("<I", stack.read_bytes())[0] if stack.exists() else None
        counts = [int(line) for line in marks.read_text().split()] if count else []
    each = pieces[: len(pieces) // max(len(feeds), 1)]
    instructions, node_instructions = _deltas(
        counts, [n & ~_FROM_LAST for n, _ in each], len(graph.nodes)
    )
    traces = _traces(pieces, graph, len(feeds)) if trace else []
    return Run(outputs, instructions, node_instructions if trace else [], traces, stack_bytes)


def run_command(program: Program, target: Target, marks: Path | None) -> list[str]:
    """The command that runs a program in its working directory; ``marks``: count into this
    file."""
    if target.qemu is None:
        return [str(program.path.resolve())]
    qemu = require_tool(target.qemu.program, target.packages)
    command = [qemu, "-M", target.qemu.machine, *target.qemu.arguments]
    command += ["-display", "none", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native"]
    command += ["-kernel", str(program.path.resolve())]
    if marks is not None:
        plugin = _counting_plugin(program.path.parent)
        command += ["-plugin", str(plugin), "-d", "plugin", "-D", str(marks)]
    return command


def _counting_plugin(folder: Path) -> Path:
    """The instruction-counting plugin, compiled for this machine next to the program."""
    plugin = (folder / "count.so").resolve()
    if not plugin.exists():
        compiler = require_tool("cc", ["gcc"])
        source = firmware_root() / "ports" / "qemu" / "count.c"
        run_tool([compiler, "-O2", "-shared", "-fPIC", str(source), "-o", str(plugin)])
    return plugin


def _split(data: bytes, tensors: Sequence[Tensor], samples: int, label: str) -> list[list[Array]]:
    """Cuts a file of ``samples`` records, each the given tensors back to back."""
    sizes = [t.bytes for t in tensors]
    if len(data) != samples * sum(sizes):
        raise TinymlError(
            f"{label} holds {len(data)} bytes, {samples * sum(sizes)} were expected: "
            "the program stopped early"
        )
    records, offset = [], 0
    for _ in range(samples):
        record = []
        for tensor, size in zip(tensors, sizes, strict=True):
            values = np.frombuffer(data[offset : offset + size], tensor.dtype.numpy)
            record.append(values.reshape(tensor.shape))
            offset += size
        records.append(record)
    return records


def _pieces(data: bytes) -> list[tuple[int, bytes]]:
    """The records of trace.bin: node index and bytes of its output, or of rows of it."""
    found, at = [], 0
    while at + 8 <= len(data):
        node, size = struct.unpack_from("<II", data, at)
        found.append((node, data[at + 8 : at + 8 + size]))
        at += 8 + size
    if at != len(data):
        raise TinymlError("trace.bin ends inside a record: the program stopped early")
    return found


def _traces(pieces: Sequence[tuple[int, bytes]], graph: Graph, samples: int) -> list[list[Array]]:
    """Whole outputs from records: rows of a node follow each other in order. Where the last rows
    were not made, what there is, flat."""
    per_sample = len(pieces) // max(samples, 1)
    made = []
    for sample in range(samples):
        joined: dict[int, bytes] = {}
        for number, data in pieces[sample * per_sample : (sample + 1) * per_sample]:
            before = joined.get(number & ~_FROM_LAST, b"")
            joined[number & ~_FROM_LAST] = data + before if number & _FROM_LAST else before + data
        outputs = []
        for index, node in enumerate(graph.nodes):
            out = graph.out(node)
            found = joined.get(index, b"")
            # Rows that nothing reads are not made.
            values = np.frombuffer(found, out.dtype.numpy)
            outputs.append(values.reshape(out.shape) if len(found) == out.bytes else values)
        made.append(outputs)
    return made


def _deltas(
    counts: Sequence[int], traced: Sequence[int], nodes: int
) -> tuple[list[int], list[int]]:
    """Instructions between marks, less what a mark costs: by sample, and by node of the first.

    The marks are: two for their own cost, then for each sample one before, for each traced piece
    one before and one after writing it, and one after.

    Args:
        traced: the node of each piece of a sample.
    """
    if not counts:
        return [], []
    cost = counts[1] - counts[0]
    rest, per_sample = counts[2:], 2 + 2 * len(traced)
    inferences: list[int] = []
    first: list[int] = []
    for start in range(0, len(rest), per_sample):
        marks = rest[start : start + per_sample]
        pieces = [b - a - cost for a, b in zip(marks[::2], marks[1::2], strict=True)]
        inferences.append(sum(pieces))
        if not first:
            first = [0] * nodes
            for node, count in zip(traced, pieces, strict=False):
                first[node] += count
    return inferences, first
