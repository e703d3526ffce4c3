# SPDX-License-Identifier: Apache-2.0
"""The costs by which the compiler chooses kernels, measured on the emulated boards.

python bench/tune.py --out tinyml/kernels/costs        # as `make tune` does
python bench/tune.py --out /tmp/costs --core cortex-m4

Counts the instructions of every kernel on layers of many shapes and, for pruned ones, densities;
fits what each unit of a kernel's work costs; and reads from the linker what its code takes.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from kernels import CASES, Case, forced, measure, tensors
from sparse import measure_sparse

from tinyml.export import write_c_folder
from tinyml.ir import Graph, Node
from tinyml.kernels import Layer, Variant
from tinyml.kernels.cost import cost_key
from tinyml.ops.weighted import Weighted
from tinyml.plan import plan_memory
from tinyml.runtimes.build import build_program
from tinyml.targets import Target, load_target
from tinyml.writers.c import write_c

# One for each of `tinyml.kernels.ISAS`.
CORES = ("cortex-m4", "cortex-m55", "riscv32", "cortex-m0")

Sample = tuple[Variant, Layer, int]


def samples(target: Target) -> Iterator[Sample]:
    """Kernels with layers and their instructions."""
    fit_board = [c for c in CASES if activations(c) <= target.ram_bytes // 4]
    for row in measure(target, fit_board):
        assert row.variant is not None and row.layer is not None
        yield row.variant, row.layer, row.instructions
    yield from measure_sparse(target)


def activations(case: Case) -> int:
    """Bytes of a layer's inputs and outputs."""
    ins, out = tensors(case, np.random.default_rng(0))
    return out.bytes + sum(t.bytes for t in ins if not t.is_constant)


def fit(rows: Sequence[Sample]) -> dict[str, float]:
    """Non-negative costs of a kernel's units: least squares of relative errors."""
    units = [v.units(layer) for v, layer, _ in rows]
    names = list(units[0])
    matrix = np.array(
        [[u[n] / count for n in names] for u, (*_, count) in zip(units, rows, strict=True)]
    )
    while True:
        solution = np.linalg.lstsq(matrix, np.ones(len(rows)), rcond=None)[0]
        if np.all(solution >= 0):
            return {n: round(float(c), 4) for n, c in zip(names, solution, strict=True)}
        worst = int(np.argmin(solution))
        matrix = np.delete(matrix, worst, axis=1)
        names.pop(worst)


def worst_factor(costs: Mapping[str, float], rows: Sequence[Sample]) -> float:
    """By how much a prediction is off at most."""
    off = 0.0
    for variant, layer, count in rows:
        units = variant.units(layer)
        guess = sum(cost * units[name] for name, cost in costs.items())
        off = max(off, abs(math.log(max(guess, 1.0) / count)))
    return math.exp(off)


def code_bytes(target: Target, variant: Variant) -> int:
    """Code of a kernel and its helpers as linked: of a program that calls it once, less what
    another call adds."""
    case = min((c for c in CASES if takes(variant, c)), key=activations)
    one, two = (linked_code(target, variant, case, calls) for calls in (1, 2))
    return 2 * one - two


def takes(variant: Variant, case: Case) -> bool:
    ins, out = tensors(case, np.random.default_rng(0))
    assert isinstance(case.op, Weighted)
    layer = case.op.c_layer(ins, out)
    return layer.kind == variant.kind and variant.applies(layer)


def linked_code(target: Target, variant: Variant, case: Case, calls: int) -> int:
    """Code of a program that runs a layer so many times."""
    rng = np.random.default_rng(0)
    graph = Graph("code", {}, [], [], [])
    for index in range(calls):
        ins, out = tensors(case, rng)
        names = [graph.add(replace(t, name=f"{t.name}{index}")) for t in (*ins, out)]
        graph.inputs.append(names[0])
        graph.outputs.append(names[-1])
        op = forced(case.op, variant)
        graph.nodes.append(Node(op, tuple(names[:-1]), names[-1], f"layer {index}"))
    with tempfile.TemporaryDirectory() as folder:
        c_dir = Path(folder) / "c"
        plan = plan_memory(graph, target.isa, by_rows=False)
        write_c_folder(write_c(graph, plan, target.isa), graph.name, c_dir)
        return build_program(c_dir, graph.name, target, Path(folder) / "build").memory.code


def tune(target: Target) -> dict[str, dict[str, float]]:
    """The table of a core: costs by kind and kernel, code by kernel; prints how well they fit."""
    rows: dict[str, list[Sample]] = {}
    for sample in samples(target):
        rows.setdefault(cost_key(sample[0]), []).append(sample)
    table: dict[str, dict[str, float]] = {"code": {}}
    for key, mine in rows.items():
        variant = mine[0][0]
        table[key] = fit(mine)
        table["code"].setdefault(variant.kernel, code_bytes(target, variant))
        print(
            f"{target.name:10s} {key:48s} {table['code'][variant.kernel]:5d} B, "
            f"predictions within a factor {worst_factor(table[key], mine):.2f}",
            flush=True,
        )
    return table


def write(table: Mapping[str, Mapping[str, float]], path: Path) -> None:
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# Made by `make tune` (tinyml/kernels/cost.py): bytes of code of each kernel, and",
        "# instructions for each unit of its work.",
    ]
    for key, values in table.items():
        name = key if key.isidentifier() else f'"{key}"'
        lines += ["", f"[{name}]", *(f"{unit} = {v}" for unit, v in values.items())]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--core", action="append", choices=CORES, help="only this one")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.core or CORES:
        target = load_target(name)
        write(tune(target), given.out / f"{target.isa}.toml")


if __name__ == "__main__":
    main()
