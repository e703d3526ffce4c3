# SPDX-License-Identifier: Apache-2.0
"""Networks that nobody here made: converted by TensorFlow, compiled, checked and counted.

python bench/unseen.py --out bench/unseen              # all of bench/unseen_models.py
python bench/unseen.py --out /tmp/u --model u_net

Every row is a file whose C on the emulated cores gave the integers of the reference. That equals
TFLite-Micro's interpreter on the same file; where TFLite-Micro cannot run it, each layer is
compared with LiteRT's. The ONNX model of the same integers runs in onnxruntime. Writes OUT.md.
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
from tinyml.ir.graph import Graph
from tinyml.ir.random_feed import random_feed
from tinyml.ir.tensor import DType
from tinyml.ops import Add, BatchMatMul, Conv2D, DepthwiseConv2D, FullyConnected, Sub
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import run_program
from tinyml.runtimes.interpreters import TfliteMicro
from tinyml.source import Source, open_source
from tinyml.targets import load_target
from tinyml.verify import reference_outputs, verify_file, verify_interpreters
from tinyml.writers.onnx import write_onnx
from tinyml.writers.tflite import write_tflite

# TFLite-Micro with CMSIS-NN on a Cortex-M4, measured on person_detect and single kernels:
# instructions per MAC, and per element of an addition. Where the image has few channels, a
# convolution gathers more than it multiplies.
_POINTWISE, _DEPTHWISE, _DENSE, _CONVOLUTION, _FIRST, _ADDITION = 2.1, 7.8, 2.2, 1.9, 2.8, 81
_FEW_CHANNELS = 4
_COLUMNS = (
    *("network", "judge", "ONNX LSB", "MMAC", "M4 instructions", "per MAC", "CMSIS-NN est."),
    *("ratio", "M55 instructions", "RAM B", "TFLM arena B", "ratio", "code B", "weights B"),
)
_PREAMBLE = """\
`python bench/unseen.py --out bench/unseen` (`make bench-unseen`): networks of
`bench/unseen_models.py` with random weights, converted by TensorFlow, read, compiled and run under
QEMU. The C gave the integers of the numpy reference on both cores on every sample.

- *Judge*: what the reference was compared with on the file itself. TFLite-Micro: its outputs are
  equal. LiteRT, where TFLite-Micro cannot run the file: every layer whose input and output the file
  names, each on LiteRT's own input, and the largest difference: it rounds some operators otherwise
  (`tinyml/verify.py`).
- *ONNX LSB*: the model that is written of the same integers, in onnxruntime with and without its
  optimisations: largest difference of a layer / of an output.
- *CMSIS-NN est.*: an estimate, no measurement, of TFLite-Micro with CMSIS-NN on the M4: its package
  holds a library for the host alone. From costs measured once: 2.1 instructions per MAC of a 1 x 1
  convolution, 1.9 of others (2.8 up to 4 channels), 7.8 depthwise, 2.2 dense, 81 per element of an
  addition; all else counts nothing, so that it is rather too low. Of person_detect it gives
  20.53 M, 10 % below the 22.93 M measured.
- *RAM* is arena and static data, without the stack. *TFLM arena* is what TFLite-Micro's interpreter
  reports on a 64-bit host, in all / activations alone: its records are larger there than on a
  32-bit core, so that the second figure bounds the saving from below.
- *Code* includes what it links, *weights* are the blob.
"""
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
        judge: whose integers on the file were compared, and how.
        onnx: largest difference of a layer, and of an output, in onnxruntime.
        macs: multiply-accumulates of the graph as read.
        estimate: `cmsis_estimate` of it.
        arena: TFLite-Micro's, whole and of activations, on a 64-bit host; None where it
            cannot run the file.
    """

    name: str
    judge: str
    onnx: tuple[int, int]
    macs: int
    estimate: int | None
    arena: tuple[int, int] | None
    targets: dict[str, OnTarget]


def cmsis_estimate(graph: Graph) -> int | None:
    """Instructions of TFLite-Micro with CMSIS-NN on a Cortex-M4, at least: of its weighted layers
    and additions alone; None for int16, of which nothing was measured."""
    total = 0.0
    for node in graph.nodes:
        ins, out = graph.ins(node), graph.out(node)
        if out.dtype is DType.INT16:
            return None
        op, macs = node.op, graph.macs(node)
        if isinstance(op, Conv2D):
            few = ins[0].shape[-1] <= _FEW_CHANNELS
            each = _FIRST if few else _CONVOLUTION
            total += macs * (_POINTWISE if op.window.kernel == (1, 1) else each)
        elif isinstance(op, DepthwiseConv2D):
            total += macs * _DEPTHWISE
        elif isinstance(op, FullyConnected | BatchMatMul):
            total += macs * _DENSE
        elif isinstance(op, Add | Sub):
            total += out.elements * _ADDITION
    return round(total)


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
    with captured():
        again = verify_interpreters(graph, write_tflite(graph), write_onnx(graph), feeds, expected)
    by_onnx = [c for c in again if c.runtime.startswith("onnxruntime")]
    apart = [
        max(c.max_lsb for c in by_onnx if (c.scope == "outputs") is outputs)
        for outputs in (False, True)
    ]
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
    micro = check.runtime.startswith("TFLite-Micro")
    judge = "TFLite-Micro: equal" if micro else f"LiteRT: {check.scope}, {check.max_lsb} LSB"
    arena = micro_arena(source) if micro else None
    onnx = (apart[0], apart[1])
    return Row(name, judge, onnx, macs, cmsis_estimate(graph), arena, found)


def table(rows: list[Row], refused: dict[str, str]) -> str:
    """The page."""
    lines = [
        "# Networks nobody here made",
        "",
        *_PREAMBLE.splitlines(),
        "",
        "| " + " | ".join(_COLUMNS) + " |",
        "|---" * len(_COLUMNS) + "|",
    ]
    for row in rows:
        m4, m55 = row.targets["cortex-m4"], row.targets["cortex-m55"]
        per = f"{m4.instructions / row.macs:.2f}" if row.macs else "-"
        arena, ratio, guess = "-", "-", "- | -"
        if row.estimate is not None:
            guess = f"{row.estimate:,} | {row.estimate / m4.instructions:.1f}"
        if row.arena:
            arena = f"{row.arena[0]:,} / {row.arena[1]:,}"
            ratio = f"{row.arena[0] / m4.ram:.1f} / {row.arena[1] / m4.ram:.1f}"
        lines.append(
            f"| {row.name} | {row.judge} | {row.onnx[0]} / {row.onnx[1]} | {row.macs / 1e6:.2f} "
            f"| {m4.instructions:,} | {per} "
            f"| {guess} | {m55.instructions:,} | {m4.ram:,} | {arena} | {ratio} | {m4.code:,} "
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
