# SPDX-License-Identifier: Apache-2.0
"""Flash, RAM and exact instruction counts of zoo models on every emulated target.

python bench/models.py --out bench/results.md
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tinyml.errors import TargetError
from tinyml.export import check_fit, compile_model, write_c_folder
from tinyml.measure import count_instructions
from tinyml.runtimes.build import build_program
from tinyml.samples import quantised_feeds
from tinyml.source import need_samples, open_samples, open_source
from tinyml.targets import Target, list_targets, load_target

MODELS = ("zoo:tinynet-mnist", "zoo:tinynet-e-10")
HEADINGS = ("model", "target", "flash, B", "code, B", "RAM, B", "instructions", "per MAC")


def measure(spec: str, targets: list[Target]) -> list[list[str]]:
    """One row per target; a target the model does not fit says by how much."""
    samples = need_samples(open_samples(None, spec, "calibration"), spec).take(32)
    source = open_source(spec, None)
    rows = []
    # The host takes any model: compile once, then ask each board.
    made = compile_model(source, load_target("host"), samples)
    macs = sum(made.graph.macs(n) for n in made.graph.nodes)
    feed = quantised_feeds(made.graph, samples.take(1).fit(made.float_graph))[0]
    for target in targets:
        name = source.name
        with tempfile.TemporaryDirectory() as folder:
            c_dir, build = Path(folder) / "c", Path(folder) / "build"
            write_c_folder(made.c_model, name, c_dir)
            try:
                check_fit(made.c_graph, made.plan, len(made.c_model.weights), target)
            except TargetError:
                needs = f"{len(made.c_model.weights):,}+", "", f"{made.plan.arena_bytes:,}+"
                rows.append([name, target.name, *needs, "does not fit", ""])
                continue
            memory = build_program(c_dir, name, target, build / "size").memory
            counted = count_instructions(made.c_graph, c_dir, target, feed, build)
        assert counted.inference is not None
        ram = memory.arena + (counted.stack_bytes or 0)
        numbers = [memory.flash, memory.code, ram, counted.inference]
        rows.append(
            [name, target.name, *(f"{n:,}" for n in numbers), f"{counted.inference / macs:.2f}"]
        )
        print(" ".join(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    targets = [t for t in list_targets() if t.qemu]
    rows = [row for spec in MODELS for row in measure(spec, targets)]
    lines = [
        "# Measured",
        "",
        "Made by `make bench`. Instructions are exact counts of one inference under QEMU; they",
        "carry no timing. Flash and RAM are of the model alone, from the linker map: weights and",
        "code; arena and deepest stack.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|" + "---|" * len(HEADINGS),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
    out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
