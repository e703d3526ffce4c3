# SPDX-License-Identifier: Apache-2.0
"""Instructions of every kernel on every core, counted under QEMU, against the core's limit.

python bench/kernels.py --out bench/kernels       # kernels.md and kernels.svg
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from matplotlib.figure import Figure
from operators import PLAIN, Plain

from tinyml.export import write_c_folder
from tinyml.ir import DType, Graph, Node, Operator, Quantisation, Tensor
from tinyml.ir.random_feed import random_feed
from tinyml.ir.tensor import Array
from tinyml.kernels import DEPTHWISE, FULLY_CONNECTED, Layer, Variant, applicable, choose
from tinyml.measure import count_instructions
from tinyml.ops import (
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Window,
)
from tinyml.ops.weighted import Weighted
from tinyml.plan import plan_memory
from tinyml.targets import Target, load_target
from tinyml.writers.c import write_c

if TYPE_CHECKING:
    from tinyml.writers.c.emitter import CEmitter
    from tinyml.writers.onnx.builder import OnnxBuilder
    from tinyml.writers.tflite.builder import TfliteBuilder

CORES = ("cortex-m4", "cortex-m7", "cortex-m55", "riscv32")
# The most multiply-accumulates and the most bytes loaded that one instruction can do.
LIMITS = {"dsp": (2.0, "SMLAD"), "mve": (16.0, "VMLADAVA.S8"), "rv32": (0.5, "MUL and ADD")}
LOAD_BYTES = {"dsp": 8, "mve": 16, "rv32": 1}
PART = 12  # cases in one program


@dataclass(frozen=True)
class Case:
    """One layer to measure.

    Args:
        op: the operator.
        inputs: shapes of its activations.
        weights: shape of its weights.
        dtype: of the activations.
    """

    op: Operator
    inputs: tuple[tuple[int, ...], ...]
    weights: tuple[int, ...]
    dtype: DType = DType.INT8


def conv(size: int, c: int, out: int, kernel: int, stride: int = 1) -> Case:
    pads = (kernel // 2,) * 4
    window = Window((kernel, kernel), (stride, stride), (1, 1), pads)
    return Case(Conv2D(window), ((1, size, size, c),), (out, kernel, kernel, c))


def depthwise(size: int, c: int, kernel: int = 3, stride: int = 1, multiplier: int = 1) -> Case:
    window = Window((kernel, kernel), (stride, stride), (1, 1), (kernel // 2,) * 4)
    return Case(DepthwiseConv2D(window), ((1, size, size, c),), (1, kernel, kernel, c * multiplier))


def column(length: int, c: int, kernel: int) -> Case:
    window = Window((kernel, 1), padding=(kernel - 1, 0, 0, 0))
    return Case(DepthwiseConv2D(window), ((1, length, 1, c),), (1, kernel, 1, c))


def dense(rows: int, inputs: int, outputs: int) -> Case:
    return Case(FullyConnected(), ((rows, inputs),), (outputs, inputs))


WIDE = (
    *(conv(12, 16, 32, 1), conv(6, 64, 48, 1), conv(8, 16, 16, 3), conv(4, 64, 32, 3)),
    *(conv(12, 3, 8, 3, 2), conv(7, 5, 7, 5), conv(9, 24, 18, 1), conv(16, 8, 8, 3)),
    *(depthwise(8, 16), depthwise(12, 32), depthwise(3, 128), depthwise(12, 16, 3, 2)),
    *(depthwise(6, 24, 5), depthwise(9, 12, 7)),
    *(dense(8, 64, 64), dense(1, 128, 128), dense(1, 640, 32), dense(1, 64, 10), dense(3, 30, 5)),
    *(dense(4, 16, 48), dense(2, 320, 6)),
)
CASES = (
    *(conv(16, 8, 16, 1), conv(12, 16, 32, 1), conv(12, 32, 32, 1), conv(12, 64, 64, 1)),
    *(conv(6, 128, 64, 1), conv(3, 256, 64, 1), conv(1, 256, 10, 1), conv(9, 24, 18, 1)),
    *(conv(12, 16, 16, 3), conv(8, 32, 32, 3), conv(4, 64, 32, 3), conv(24, 3, 8, 3, 2)),
    *(conv(24, 1, 8, 3, 2), conv(10, 16, 32, 1, 2), conv(7, 5, 7, 5)),
    *(depthwise(32, 8), depthwise(16, 32), depthwise(12, 64), depthwise(6, 64)),
    *(depthwise(3, 128), depthwise(24, 16, 3, 2), depthwise(12, 32, 3, 2), depthwise(12, 16, 5)),
    *(depthwise(32, 1, 3, 2, 8), depthwise(6, 72, 7), depthwise(9, 22)),
    *(column(48, 128, 32), column(20, 16, 5)),
    *(dense(1, 640, 32), dense(1, 128, 128), dense(1, 64, 128), dense(1, 64, 10), dense(1, 30, 5)),
    *(dense(8, 64, 64), dense(32, 128, 32)),
    *(replace(case, dtype=DType.INT16) for case in WIDE),
)


@dataclass(frozen=True)
class Measured:
    """A kernel on a layer.

    Args:
        name: the operator and its sizes.
        kernel: the C function, empty for operators with one kernel.
        variant: the kernel's description, None for operators with one kernel.
        chosen: whether the compiler gives the layer to this kernel.
        instructions, macs, outputs: of one run.
        loaded: bytes of weights and inputs that must be read at least once.
        layer: as kernels see it, None for operators with one kernel.
    """

    name: str
    kernel: str
    variant: Variant | None
    chosen: bool
    instructions: int
    macs: int
    outputs: int
    loaded: int
    layer: Layer | None


def measure(target: Target, cases: Sequence[Case | Plain] = (*CASES, *PLAIN)) -> list[Measured]:
    """Cases with all kernels of a core, in parts that fit the board."""
    count = PART if target.ram_bytes > 1 << 16 else 1
    parts = [cases[i : i + count] for i in range(0, len(cases), count)]
    return [row for part in parts for row in measure_part(target, part)]


def measure_part(target: Target, cases: Sequence[Case | Plain]) -> list[Measured]:
    """Cases with all kernels of a core: nodes of one graph, counted in one run."""
    rng = np.random.default_rng(0)
    graph = Graph("kernels", {}, [], [], [])
    about: dict[str, Callable[[int], Measured]] = {}

    def place(op: Operator, tensors: Sequence[Tensor], out: Tensor) -> str:
        index = len(graph.nodes)
        names = [graph.add(replace(t, name=f"{t.name}{index}")) for t in tensors]
        state = {names[i]: tensors[i] for i in op.mutates}
        for name, t in state.items():
            graph.variables[name] = np.full(t.shape, t.q.z, t.dtype.numpy)
        graph.inputs += [n for n in names if not graph.tensors[n].is_constant and n not in state]
        name = graph.add(replace(out, name=f"{out.name}{index}"))
        graph.outputs.append(name)
        graph.nodes.append(Node(op, tuple(names), name, f"{op.kind} {index}"))
        return name

    for case in cases:
        if isinstance(case, Plain):
            shapes = [t.shape for t in case.ins]
            out = Tensor("y", case.op.infer(shapes), case.dtype, case.out)
            macs = case.op.macs(shapes, out.shape)
            name = place(case.op, case.ins, out)
            about[name] = lambda n, c=case, e=out.elements, m=macs: Measured(  # type: ignore[misc]
                *(plain_title(c), "", None, True, n, m, e, 0, None)
            )
            continue
        ins, out = tensors(case, rng)
        assert isinstance(case.op, Weighted)
        layer = case.op.c_layer(ins, out)
        best = choose(layer, target.isa)
        loaded = sum(t.bytes for t in ins)
        for variant in applicable(layer, target.isa):
            name = place(forced(case.op, variant), ins, out)
            about[name] = lambda n, c=case, v=variant, b=best, o=out, x=layer, w=loaded: Measured(  # type: ignore[misc]
                *(title(c), v.kernel, v, v is b, n, x.macs, o.elements, w, x)
            )
    graph.check()
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_memory(graph, target.isa, by_rows=False)
        write_c_folder(write_c(graph, plan, target.isa), graph.name, Path(folder) / "c")
        feed = random_feed(graph, rng)
        roomy = replace(target, flash_bytes=1 << 30, ram_bytes=1 << 30)
        counted = count_instructions(graph, Path(folder) / "c", roomy, feed, Path(folder))
    return [make(counted.nodes[name]) for name, make in about.items()]


def tensors(case: Case, rng: np.random.Generator) -> tuple[list[Tensor], Tensor]:
    """Inputs with random weights, and the output."""
    int8 = case.dtype is DType.INT8
    grid, out = Quantisation.per_tensor(0.05, -3), Quantisation.per_tensor(0.3, -128)
    if not int8:
        grid, out = Quantisation.per_tensor(0.001, 0), Quantisation.per_tensor(0.02, 0)
    ins = [Tensor("x", s, case.dtype, grid) for s in case.inputs] + constants(rng, case)
    return ins, Tensor("y", case.op.infer([t.shape for t in ins]), case.dtype, out)


def activation(name: str, shape: tuple[int, ...], scale: float) -> Tensor:
    return Tensor(name, shape, DType.INT8, Quantisation.per_tensor(scale, -3))


def constants(rng: np.random.Generator, case: Case) -> list[Tensor]:
    axis = 3 if isinstance(case.op, DepthwiseConv2D) else 0
    channels = case.weights[axis]
    scale = rng.uniform(0.002, 0.02, channels)
    weights = rng.integers(-127, 128, case.weights).astype(np.int8)
    dtype = DType.INT32 if case.dtype is DType.INT8 else DType.INT64
    bias = rng.integers(-20000, 20000, channels).astype(dtype.numpy)
    return [
        Tensor("w", case.weights, DType.INT8, Quantisation.per_channel(scale, axis), weights),
        Tensor(
            "b",
            (channels,),
            dtype,
            Quantisation.per_channel(scale * 0.05, 0),
            bias,
        ),
    ]


def forced(op: Operator, variant: Variant) -> Operator:
    """The operator computed by a given kernel."""
    made = type(type(op).__name__, (type(op),), {"c_variant": lambda self, layer, isa: variant})
    result = made(**op.attributes())
    assert isinstance(result, Operator)
    return result


def title(case: Case) -> str:
    sizes = dims(case.inputs[0])
    of = " int16" if case.dtype is DType.INT16 else ""
    if isinstance(case.op, FullyConnected):
        return f"fully_connected {case.inputs[0][0]} x {case.weights[1]} to {case.weights[0]}{of}"
    window = getattr(case.op, "window")  # noqa: B009
    outputs = case.weights[3 if isinstance(case.op, DepthwiseConv2D) else 0]
    stride = f" / {window.stride[0]}" if window.stride[0] > 1 else ""
    name = "depthwise" if isinstance(case.op, DepthwiseConv2D) else "conv"
    return f"{name} {window.kernel[0]}x{window.kernel[1]}{stride}, {sizes} to {outputs}{of}"


def plain_title(case: Plain) -> str:
    shapes = [t.shape for t in case.ins if not t.is_constant][:2]
    return " ".join(filter(None, [case.op.kind, " + ".join(map(dims, shapes)), case.of]))


def dims(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape if n > 1)


# Of one output: rounding, multiplication, shift, saturation, store.
FINISH = 5


def at_least(row: Measured) -> float | None:
    """Instructions that no kernel of dual multiplications can do without on a layer: products and
    the ends of outputs, without loads of inputs, loops and set-up. Weights that are used once (of
    a fully connected layer of one row) are loaded and widened: 3 instructions for four."""
    layer = row.layer
    if layer is None:
        return None
    ends = FINISH * row.outputs
    if layer.kind == DEPTHWISE or layer.rows.shape[1] * layer.outputs == layer.weights.shape[-1]:
        height, width = layer.shape["kernel_h"], layer.shape["kernel_w"]
        return row.outputs * height * math.ceil(width / 2) + ends
    once = layer.kind == FULLY_CONNECTED and layer.shape["rows"] == 1
    return row.macs * (1.25 if once else 0.5) + ends


SMALL = """*At least* is what products and ends of outputs take alone, per MAC: half an instruction
for a product, five for an output (round, multiply, shift, saturate, store). Short sums share an end
between few products: a pointwise layer of 16 inputs takes no less than 0.81, of 32 no less than
0.66. The tile of two channels by four pixels adds 0.31 a product for loads and widening and about
five an output: biases, constants and pointers that fourteen registers do not hold, one doubling for
the exact rounding, and the widening of inputs. A fully connected layer of one row loads and widens
each weight for one product: 1.25 and no less. A row of a depthwise 3x3 kernel is two instructions
for three products; what small maps and stride 2 take beyond is the spreading of inputs to planes
and the set-up of tiles of two or three outputs."""


def write_table(
    results: dict[str, list[Measured]], requantise: dict[str, float], path: Path
) -> None:
    lines = [
        "# Kernels",
        "",
        "Made by `make bench-kernels`. Instructions are exact counts under QEMU of one call, with",
        "requantisation, zero points and borders; they carry no timing. The kernel of the fewest",
        "predicted instructions is in bold. MACs count padding. The limit is what the best",
        "instruction of the core can do.",
        "",
    ]
    for core, rows in results.items():
        target = load_target(core)
        peak, instruction = LIMITS[target.isa]
        dual = target.isa == "dsp"
        lines += [
            f"## {core}",
            "",
            f"Limit: {1 / peak:.3g} instructions a MAC ({instruction}).",
            "",
            *per_output(rows, requantise[core]),
            "",
            *([SMALL, ""] if dual else ()),
            "| layer | kernel | instructions | per MAC | per output | of the limit |"
            + (" at least |" if dual else ""),
            "|---|---|---|---|---|---|" + ("---|" if dual else ""),
        ]
        for row in rows:
            star = "**" if row.chosen and row.kernel else ""
            per_mac = f"{row.instructions / row.macs:.2f}" if row.macs else ""
            share = f"{100 * row.macs / row.instructions / peak:.0f} %" if row.macs else ""
            cells = [row.name, f"{star}{row.kernel}{star}", f"{row.instructions:,}", per_mac]
            cells += [f"{row.instructions / row.outputs:.1f}", share]
            least = at_least(row)
            cells += [f"{least / row.macs:.2f}" if least else ""] if dual else []
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


@dataclass(frozen=True)
class Requantise(Operator):
    """The requantisation of kernels by itself: bytes of int32 sums to int8, through requantise.c.

    Args:
        channels: of a pixel.
    """

    channels: int
    kind: ClassVar[str] = "requantise_sums"

    def infer(self, inputs: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return (1, inputs[0][1] // 4)

    def macs(self, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]) -> int:
        return 0

    def run_float(self, inputs: Sequence[Array]) -> Array:
        raise NotImplementedError

    def run_int(self, inputs: Sequence[Array], ins: Sequence[Tensor], out: Tensor) -> Array:
        raise NotImplementedError

    def to_tflite(self, b: TfliteBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError

    def to_onnx(self, b: OnnxBuilder, ins: Sequence[Tensor], out: Tensor) -> None:
        raise NotImplementedError

    def to_c(self, c: CEmitter, ins: Sequence[Tensor], out: Tensor) -> None:
        data = np.tile(np.array([1518500250, 9, 1 << 8], np.int32), self.channels)
        arguments = [c.read(ins[0]), c.shared(data), f"{self.channels}"]
        arguments += [f"{out.elements // self.channels}", c.write(out)]
        types = "const int8_t *, const uint8_t *, int32_t, int32_t, int8_t *"
        c.statements.append(f"extern void bench_requantise({types});")
        c.call("bench_requantise", *arguments)


def requantise_cost(target: Target) -> float:
    """Instructions of a kernel's requantisation for each output, with the load of the sum, of the
    channel's constants, the store and the loop."""
    op = Requantise(32)
    graph = Graph("requantise", {}, [], [], [])
    x = graph.add(activation("x", (1, 4 * 4096), 0.05))
    y = graph.add(activation("y", op.infer([(1, 4 * 4096)]), 0.05))
    graph.inputs, graph.outputs = [x], [y]
    graph.nodes = [Node(op, (x,), y, "sums")]
    with tempfile.TemporaryDirectory() as folder:
        c_dir = Path(folder) / "c"
        plan = plan_memory(graph, target.isa, by_rows=False)
        write_c_folder(write_c(graph, plan, target.isa), graph.name, c_dir)
        shutil.copy(Path(__file__).parent / "requantise.c", c_dir / "kernels")
        feed = random_feed(graph, np.random.default_rng(0))
        counted = count_instructions(graph, c_dir, target, feed, Path(folder) / "build")
    return counted.nodes[y] / graph.tensors[y].elements


# Layers that differ in the length of their sums only, half and whole.
HALVES = (
    ("1x1 convolution", "conv 1x1, 12x12x16 to 32", "conv 1x1, 12x12x32 to 32"),
    ("fully connected", "fully_connected 1 x 64 to 128", "fully_connected 1 x 128 to 128"),
)


def per_output(rows: Sequence[Measured], requantise: float) -> list[str]:
    """What an output costs that does not grow with its sum: requantisation by itself, and
    extrapolated from layers to no products."""
    chosen = {r.name: r.instructions / r.outputs for r in rows if r.chosen}
    costs = [f"{name} {2 * chosen[half] - chosen[whole]:.1f}" for name, half, whole in HALVES]
    return [
        f"Requantisation by itself (`bench/requantise.c`): {requantise:.1f} instructions an output",
        "with the load of its sum, its part of the loads of a channel's constants, and the store.",
        "In layers, all that an output costs beside its products (bias, clamp and its part of all",
        f"loops too), which is the cost at sums of no length: {', '.join(costs)}.",
    ]


def write_roofline(results: dict[str, list[Measured]], path: Path) -> None:
    """MACs an instruction over MACs a byte: the chosen kernels under the roof of their core."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    for color, (core, rows) in zip(("C0", "C1", "C2", "C3"), results.items(), strict=False):
        isa = load_target(core).isa
        peak, instruction = LIMITS[isa]
        x = np.geomspace(0.3, 600, 200)
        roof = np.minimum(peak, x * LOAD_BYTES[isa])
        axes.plot(x, roof, color=color, linewidth=1, label=f"{core}: {instruction}")
        for kind, marker in (("conv", "o"), ("depthwise", "^"), ("fully", "s")):
            mine = [r for r in rows if r.chosen and r.macs and r.name.startswith(kind)]
            axes.scatter(
                [r.macs / (r.loaded + r.outputs) for r in mine],
                [r.macs / r.instructions for r in mine],
                color=color,
                marker=marker,
                s=18,
                alpha=0.8,
            )
    for kind, marker in (("convolution", "o"), ("depthwise", "^"), ("fully connected", "s")):
        axes.scatter([], [], color="0.4", marker=marker, s=18, label=kind)
    axes.set(xscale="log", yscale="log", xlabel="MACs per byte of weights, inputs and outputs")
    axes.set_ylabel("MACs per instruction")
    axes.set_ylim(0.05, 30)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="upper left")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measures, and writes what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="without suffix: .md and .svg")
    parser.add_argument("--core", action="append", choices=CORES, help="only this core")
    arguments = parser.parse_args()
    results: dict[str, list[Measured]] = {}
    requantise: dict[str, float] = {}
    for core in arguments.core or CORES:
        target = load_target(core)
        results[core], requantise[core] = measure(target), requantise_cost(target)
        print(f"{core}: {len(results[core])} kernels and layers measured", flush=True)
    write_table(results, requantise, arguments.out.with_suffix(".md"))
    write_roofline(results, arguments.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
