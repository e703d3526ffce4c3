# SPDX-License-Identifier: Apache-2.0
"""Networks that nobody here made: converted by TensorFlow, compiled, checked and counted.

python bench/unseen.py --out bench/unseen              # all of bench/unseen_models.py
python bench/unseen.py --out /tmp/u --model u_net

Every row is a file whose C on the emulated core gave the integers of TFLite-Micro's interpreter
on the same file, or of LiteRT where TFLite-Micro cannot run it. Writes OUT.md.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from rich.progress import track

from bench.unseen_models import UNSEEN, convert
from tinyml.errors import TinymlError, VerificationError
from tinyml.export import compile_model, write_c_folder
from tinyml.ir.random_feed import random_feed
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.runtimes.interpreters import TfliteMicro
from tinyml.source import Source, open_source
from tinyml.targets import load_target
from tinyml.verify import reference_outputs, verify_file

TARGETS = ("cortex-m4", "cortex-m55")
SAMPLES = 2


@dataclass(frozen=True)
class OnTarget:
    """Instructions of one run and bytes, all of RAM but the stack."""

    instructions: int
    ram: int
    code: int
    weights: int


@dataclass(frozen=True)
class Row:
    """One network.

    Args:
        judge: what its integers were compared with, or why it is refused.
        macs: multiply-accumulates of the graph as read.
        arena: TFLite-Micro's, whole and of activations, on a 64-bit host; None where it
            cannot run the file.
    """

    name: str
    judge: str
    macs: int
    arena: tuple[int, int] | None
    targets: dict[str, OnTarget]


@contextmanager
def captured() -> Iterator[list[str]]:
    """What C++ prints to both outputs meanwhile."""
    text: list[str] = []
    with tempfile.TemporaryFile() as sink:
        saved = [os.dup(1), os.dup(2)]
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield text
        finally:
            for number, old in enumerate(saved, 1):
                os.dup2(old, number)
                os.close(old)
            sink.seek(0)
            text.append(sink.read().decode(errors="replace"))


def micro_arena(source: Source) -> tuple[int, int] | None:
    """Bytes of TFLite-Micro's arena: in all, and of its head, which holds activations."""
    assert source.tflite is not None and source.int8 is not None
    with captured() as text:
        try:
            TfliteMicro(source.tflite, source.int8)._interpreter.print_allocations()
        except TinymlError:
            return None
    total = re.search(r"Arena allocation total (\d+)", text[0])
    head = re.search(r"Arena allocation head (\d+)", text[0])
    return (int(total[1]), int(head[1])) if total and head else None


def measure(name: str, folder: Path) -> Row:
    """Compiles one network for both cores and compares its integers on them.

    Raises:
        TinymlError: it is refused, or something differs.
    """
    path = folder / f"{name}.tflite"
    path.write_bytes(convert(UNSEEN[name]))
    source = open_source(str(path), None)
    graph = source.int8
    assert graph is not None and source.tflite is not None
    rng = np.random.default_rng(0)
    feeds = [random_feed(graph, rng) for _ in range(SAMPLES)]
    expected = reference_outputs(graph, feeds)
    with captured():
        check = verify_file(graph, source.tflite, source.not_micro, feeds, expected, name=path.name)
    shapes = [([t.shape for t in graph.ins(n)], graph.out(n).shape, n.op) for n in graph.nodes]
    macs = sum(op.macs(ins, out) for ins, out, op in shapes)
    found = {}
    for target in map(load_target, TARGETS):
        made = compile_model(source, target, None)
        place = folder / f"{name}-{target.name}"
        write_c_folder(made.c_model, graph.name, place / "c")
        program = build_program(place / "c", graph.name, target, place / "build")
        ran = run_program(program, target, made.c_graph, feeds, count=True)
        for seen, wanted in zip(ran.outputs, expected, strict=True):
            if not all(np.array_equal(x, y) for x, y in zip(seen, wanted, strict=True)):
                raise VerificationError(f"{name}: the C on {target.name} differs")
        memory = program.memory
        found[target.name] = OnTarget(ran.instructions[0], memory.ram, memory.code, memory.weights)
    judge = "TFLite-Micro" if check.runtime.startswith("TFLite-Micro") else "LiteRT"
    arena = micro_arena(source) if judge == "TFLite-Micro" else None
    return Row(name, judge, macs, arena, found)


def table(rows: list[Row], refused: dict[str, str]) -> str:
    """The page."""
    lines = [
        "# Networks nobody here made",
        "",
        "`python bench/unseen.py --out bench/unseen`: networks of `bench/unseen_models.py` with",
        "random weights, converted by TensorFlow, read, compiled and run under QEMU.",
        "",
        "*Judge*: whose integers the C gave on every sample. LiteRT judges where TFLite-Micro",
        "cannot run the file. *RAM* is arena and static data, without the stack; *code* includes",
        "what it links, *weights* are the blob. *TFLM arena* is what TFLite-Micro's interpreter",
        "reports on a 64-bit host, in all and activations alone: its records are larger there than",
        "on a 32-bit core, so that the second figure bounds the saving from below.",
        "Instructions of TFLite-Micro are not compared: its package holds a library for the host",
        "alone, none for a Cortex-M.",
        "",
        "| network | judge | MMAC | M4 instructions | per MAC | M55 instructions | RAM B "
        "| TFLM arena B | ratio | code B | weights B |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        m4, m55 = row.targets["cortex-m4"], row.targets["cortex-m55"]
        per = f"{m4.instructions / row.macs:.2f}" if row.macs else "-"
        arena, ratio = "-", "-"
        if row.arena:
            arena = f"{row.arena[0]:,} / {row.arena[1]:,}"
            ratio = f"{row.arena[0] / m4.ram:.1f} / {row.arena[1] / m4.ram:.1f}"
        lines.append(
            f"| {row.name} | {row.judge} | {row.macs / 1e6:.2f} | {m4.instructions:,} | {per} "
            f"| {m55.instructions:,} | {m4.ram:,} | {arena} | {ratio} | {m4.code:,} "
            f"| {m4.weights:,} |"
        )
    if refused:
        lines += ["", "Refused, by name:", ""]
        lines += [f"- {name}: {why}" for name, why in refused.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", action="append", choices=sorted(UNSEEN))
    asked = parser.parse_args()
    rows, refused = [], {}
    with tempfile.TemporaryDirectory(prefix="tinyml-unseen-") as folder:
        for name in track(asked.model or list(UNSEEN), "Networks"):
            try:
                rows.append(measure(name, Path(folder)))
            except TinymlError as error:
                refused[name] = error.message.partition(": ")[2] or error.message
            asked.out.with_suffix(".md").write_text(table(rows, refused), encoding="utf-8")


if __name__ == "__main__":
    main()
