# SPDX-License-Identifier: Apache-2.0
"""Many independent layers in one graph, so that one compilation and one run covers them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinyml.export import write_c_folder
from tinyml.ir import Graph, Node, Operator, Tensor
from tinyml.ir.execute import outputs
from tinyml.plan import plan_memory
from tinyml.runtimes.build import build_program
from tinyml.runtimes.compiled import Feed, run_program
from tinyml.targets import Target
from tinyml.writers.c import write_c


def add_layer(graph: Graph, op: Operator, ins: Sequence[Tensor], out: Tensor) -> None:
    """A node with inputs of its own, and an output of the graph with the type and grid of out."""
    number = len(graph.nodes)
    names = [graph.add(replace(t, name=f"{t.name}{number}")) for t in ins]
    shape = op.infer([t.shape for t in ins])
    made = graph.add(replace(out, name=f"{out.name}{number}", shape=shape))
    graph.inputs += [n for n in names if not graph.tensors[n].is_constant]
    graph.outputs.append(made)
    graph.nodes.append(Node(op, tuple(names), made, f"{op.kind} {number}"))


def assert_layers_equal(
    graph: Graph, target: Target, folder: Path, feeds: Sequence[Feed]
) -> set[str]:
    """The generated C gives the reference's integers; returns its kernels."""
    graph.check()
    made = write_c(graph, plan_memory(graph, target.isa), target.isa)
    write_c_folder(made, graph.name, folder / "c")
    program = build_program(folder / "c", graph.name, target, folder / "b")
    for feed, seen in zip(feeds, run_program(program, target, graph, feeds).outputs, strict=True):
        for node, a, b in zip(graph.nodes, seen, outputs(graph, feed), strict=True):
            np.testing.assert_array_equal(a, b, node.name)
    return set(made.kernels)
