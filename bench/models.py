# SPDX-License-Identifier: Apache-2.0
"""Instructions, RAM and flash of whole models on every emulated target, by layer, against what
the core can do.

python bench/models.py --out bench/models          # all models, all targets
python bench/models.py --out /tmp/m --target cortex-m4 --model person_detect.tflite

Writes OUT.md, OUT.json and OUT.svg.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from tinyml.errors import TargetError, TinymlError
from tinyml.export import check_fit, compile_model, model_isa, write_c_folder
from tinyml.ir.graph import Graph
from tinyml.measure import Counted, count_instructions
from tinyml.plan import plan_memory
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import Feed, run_program
from tinyml.samples import integer_feeds, quantised_feeds, random_samples
from tinyml.source import Source, open_samples, open_source
from tinyml.targets import Target, list_targets, load_target
from tinyml.writers.c import write_c

ZOO = ("tinynet-mnist", "tinynet-e-10", "mlperf-kws", "mlperf-vww", "mlperf-ic", "mlperf-ad")
# Other people's int8 files, measured where the folder is there.
FOREIGN = Path(__file__).parent.parent.parent / "shared" / "data" / "models"
NOT_MEASURED = "does not fit"


@dataclass(frozen=True)
class Core:
    """What an instruction of a core can do at most.

    Args:
        macs: int8 multiply-accumulates.
        bytes: loaded from memory.
    """

    macs: float
    bytes: float


# Dual 16-bit multiplication and word loads; 16 lanes of MVE; multiply, then add.
CORES = {
    "dsp": Core(2.0, 4.0),
    "mve": Core(16.0, 16.0),
    "rv32": Core(0.5, 4.0),
    "portable": Core(0.5, 4.0),
}


@dataclass(frozen=True)
class Layer:
    """One node of the generated C. Bytes are of activations and constants that it touches."""

    name: str
    op: str
    shape: tuple[int, ...]
    macs: int
    bytes: int
    instructions: int


@dataclass(frozen=True)
class Measured:
    """A model on a target; ``problem`` says why the numbers are missing."""

    model: str
    target: str
    isa: str
    macs: int
    instructions: int = 0
    arena: int = 0
    unfused: int = 0
    bound: int = 0
    static: int = 0
    stack: int = 0
    code: int = 0
    weights: int = 0
    layers: tuple[Layer, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Prepared:
    """A model compiled as far as it does not depend on the target."""

    source: Source
    graph: Graph
    c_graph: Graph
    feed: Feed


def prepare(spec: str) -> Prepared:
    """Compiles for the host, which takes any model."""
    samples = open_samples(None, spec, "calibration")
    few = samples.take(16) if samples else None
    source = open_source(spec, few.shapes if few else None)
    made = compile_model(source, load_target("host"), few)
    if made.float_graph is not None and few is not None:
        feed = quantised_feeds(made.graph, few.take(1).fit(made.float_graph))[0]
    else:
        feed = integer_feeds(made.graph, random_samples(made.graph, 4))[-1]
    return Prepared(source, made.graph, made.c_graph, feed)


def measure(model: Prepared, target: Target, *, layers: bool = True) -> Measured:
    """Builds and runs the model on a target; ``layers`` takes a second run."""
    graph, name = model.c_graph, model.source.name
    macs = sum(model.graph.macs(n) for n in model.graph.nodes)
    facts = Measured(name, target.name, target.isa, macs)
    isa = model_isa(graph, target)
    plan = plan_memory(graph, isa)
    written = write_c(graph, plan, isa)
    try:
        check_fit(graph, plan, len(written.weights), target)
        with tempfile.TemporaryDirectory() as folder:
            c_dir, build = Path(folder) / "c", Path(folder) / "build"
            write_c_folder(written, name, c_dir)
            memory = build_program(c_dir, name, target, build / "size").memory
            if not layers:
                program = build_program(c_dir, name, target, build / "plain")
                result = run_program(program, target, graph, [model.feed], count=True)
                counted = Counted(result.instructions[0], {}, result.stack_bytes)
            else:
                counted = count_instructions(graph, c_dir, target, model.feed, build)
    except TargetError as error:
        return replace(
            facts,
            problem=f"{NOT_MEASURED}: {error.message}",
            arena=plan.total_bytes,
            weights=len(written.weights),
        )
    assert counted.inference is not None
    return Measured(
        name,
        target.name,
        target.isa,
        macs,
        counted.inference,
        memory.arena,
        plan.unfused_bytes,
        plan.lower_bound,
        memory.static,
        counted.stack_bytes or 0,
        memory.code,
        memory.weights,
        tuple(
            Layer(
                n.name,
                n.op.kind,
                graph.out(n).shape,
                graph.macs(n),
                graph.out(n).bytes + sum(t.bytes for t in graph.ins(n)),
                counted.nodes[n.output],
            )
            for n in (graph.nodes if layers else ())
        ),
    )


def table(headings: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    """A Markdown table; all columns but the first two hold numbers."""
    rule = "|" + "---|" * 2 + "---:|" * (len(headings) - 2)
    lines = ["| " + " | ".join(cells) + " |" for cells in (list(headings), *rows)]
    return [lines[0], rule, *lines[1:], ""]


def summary(results: list[Measured]) -> list[str]:
    """The table of models."""
    rows = []
    for r in results:
        if r.problem:
            rows.append([r.model, r.target, "does not fit", *[""] * 9])
            continue
        per_mac = r.instructions / r.macs if r.macs else 0.0
        limit = 1 / CORES[r.isa].macs
        ram = r.arena + r.static + r.stack
        numbers = [ram, r.arena, r.unfused, r.static, r.stack, r.code, r.weights]
        rows.append(
            [r.model, r.target, f"{r.instructions:,}", f"{per_mac:.2f}", f"{limit:.2f}"]
            + [f"{n:,}" for n in numbers]
        )
    headings = (
        *("model", "target", "instructions", "per MAC", "limit"),
        *("RAM", "arena", "whole tensors", "static", "stack", "code", "weights"),
    )
    return table(headings, rows)


def by_layer(result: Measured) -> list[str]:
    """The table of a model's layers."""
    rows = []
    for index, layer in enumerate(result.layers):
        per_mac = f"{layer.instructions / layer.macs:.2f}" if layer.macs else "-"
        share = 100 * layer.instructions / result.instructions
        shape = "x".join(str(d) for d in layer.shape)
        counts = f"{layer.macs:,}", f"{layer.instructions:,}", per_mac, f"{share:.1f} %"
        rows.append([str(index), f"{layer.op} {shape}", *counts])
    headings = ("#", "layer", "MACs", "instructions", "per MAC", "share")
    return [
        f"### {result.model} on {result.target}",
        "",
        *table(headings, rows),
        f"Per MAC, all layers of a kind together: {by_kind(result)}.",
        "",
    ]


def by_kind(result: Measured) -> str:
    """Instructions per MAC of the layers of each kind."""
    sums: dict[str, tuple[int, int]] = {}
    for layer in result.layers:
        macs, instructions = sums.get(layer.op, (0, 0))
        sums[layer.op] = macs + layer.macs, instructions + layer.instructions
    return ", ".join(f"{op} {i / m:.2f}" for op, (m, i) in sums.items() if m)


def roofline(results: list[Measured]) -> Figure:
    """MACs per instruction of every layer over MACs per byte that it touches, and the roof: no
    instruction multiplies and loads more than the core can."""
    found = [r for r in results if r.layers]
    targets = list(dict.fromkeys(r.target for r in found))
    models = list(dict.fromkeys(r.model for r in found))
    figure = Figure(figsize=(4.2 * len(targets), 4.6), layout="constrained")
    for axes, target in zip(
        figure.subplots(1, len(targets), squeeze=False)[0], targets, strict=True
    ):
        own = [r for r in found if r.target == target]
        core = CORES[own[0].isa]
        xs = [10 ** (e / 20) for e in range(-30, 61)]
        axes.plot(xs, [min(core.macs, x * core.bytes) for x in xs], color="#444", linewidth=1)
        for r in own:
            layers = [x for x in r.layers if x.macs]
            axes.scatter(
                [x.macs / x.bytes for x in layers],
                [x.macs / x.instructions for x in layers],
                s=14,
                alpha=0.7,
                color=f"C{models.index(r.model) % 10}",
                label=r.model,
            )
        axes.set(xscale="log", yscale="log", title=target, xlabel="MACs per byte touched")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("MACs per instruction")
    handles, labels = [], []
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)
    return figure


def write(results: list[Measured], out: Path, command: str) -> None:
    """OUT.md, OUT.json, OUT.svg."""
    lines = [
        "# Models",
        "",
        f"Made by `{command}`. Instructions are exact counts of one inference under QEMU; they",
        "carry no timing. *limit* is what the core's best instruction allows: nothing but",
        "multiply-accumulates. RAM is arena + static + deepest stack; *whole tensors* is the arena",
        "without running layers by rows. Flash is code, with constants, + weights. Bytes. The",
        "mlperf models and tinynet-e-10 have random weights, which changes none of these numbers;",
        "files of other people are measured where `../shared/data/models` is there.",
        "",
        *summary(results),
        f"![Roofline]({out.name}.svg)",
        "",
        "## By layer",
        "",
    ]
    for result in results:
        if result.layers and result.target == "cortex-m4":
            lines += by_layer(result)
    out.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")
    plain: list[dict[str, Any]] = [asdict(r) for r in results]
    out.with_suffix(".json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tinyml"}):
        roofline(results).savefig(out.with_suffix(".svg"), metadata={"Date": None})


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="path without extension")
    parser.add_argument("--model", action="append", help="zoo:NAME or FILE (may repeat)")
    parser.add_argument("--target", action="append", help="name or .toml file (may repeat)")
    given = parser.parse_args()
    foreign = [str(p) for p in sorted(FOREIGN.glob("*.tflite"))]
    specs = given.model or [*foreign, *(f"zoo:{n}" for n in ZOO)]
    targets = [load_target(t) for t in given.target or []]
    targets = targets or [t for t in list_targets() if t.qemu]
    console, results = Console(stderr=True), list[Measured]()
    for spec in track(specs, "Models", console=console):
        try:
            model = prepare(spec)
        except TinymlError as error:
            console.print(f"{spec}: {error.message}", style="yellow")
            continue
        for target in targets:
            measured = measure(model, target)
            results.append(measured)
            said = measured.problem or f"{measured.instructions:,} instructions"
            console.print(f"{measured.model} on {target.name}: {said}", highlight=False)
    write(results, given.out, "make bench-models")


if __name__ == "__main__":
    main()
