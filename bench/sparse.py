# SPDX-License-Identifier: Apache-2.0
"""Dense and sparse kernels on pruned layers, counted on the emulated boards.

python bench/sparse.py      # dense against sparse by density on Cortex-M4, as in docs/learning.md

`make tune` (bench/tune.py) measures the costs by which the compiler chooses on the same layers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from tinyml.export import write_c_folder
from tinyml.ir import DType, Graph, Node, Operator, Quantisation, Tensor
from tinyml.ir.tensor import Array
from tinyml.kernels import choose, included
from tinyml.kernels.layer import Layer
from tinyml.kernels.sparse import SPARSE
from tinyml.kernels.variants import VARIANTS, Variant
from tinyml.measure import count_instructions
from tinyml.ops import Conv2D, FullyConnected, Window
from tinyml.ops import weighted as weighted_module
from tinyml.ops.layers import weighted_layers
from tinyml.plan import plan_memory
from tinyml.targets import Target, load_target
from tinyml.writers.c import write_c

DENSITIES = (0.02, 0.06, 0.12, 0.3)
FULLY_CONNECTED_SIZES = ((64, 32), (200, 16), (128, 128), (33, 10), (600, 4))


def pruned(shape: tuple[int, ...], keep: float, block: int, rng: np.random.Generator) -> Array:
    """Random int8 weights of which a part is kept, in blocks along the last axis."""
    taps = shape[-1] if len(shape) == 2 else int(np.prod(shape[1:]))
    rows = rng.integers(-127, 128, (shape[0], taps))
    groups = -(-taps // block)
    kept = np.repeat(rng.random((shape[0], groups)) < keep, block, axis=1)[:, :taps]
    return np.where(kept, rows, 0).reshape(shape).astype(np.int8)


def layers(kind: str, block: int, seed: int = 0) -> Graph:
    """One graph of many layers side by side."""
    rng = np.random.default_rng(seed)
    graph = Graph("layers", {}, [], [], [])
    if kind == "fully_connected":
        shapes = [((1, i), (o, i)) for i, o in FULLY_CONNECTED_SIZES]
        sizes: list[tuple[Operator, tuple[int, ...], tuple[int, ...]]] = [
            (FullyConnected(), x, w) for x, w in shapes
        ]
    else:
        same = Window((3, 3), padding=(1, 1, 1, 1))
        sizes = [
            (Conv2D(Window((1, 1))), (1, 2, 3, 32), (24, 1, 1, 32)),
            (Conv2D(Window((1, 1))), (1, 2, 3, 100), (16, 1, 1, 100)),
            (Conv2D(same), (1, 4, 4, 8), (12, 3, 3, 8)),
            (Conv2D(same), (1, 3, 4, 16), (8, 3, 3, 16)),
            (Conv2D(same), (1, 3, 4, 16), (40, 3, 3, 16)),
            (Conv2D(same), (1, 3, 3, 40), (4, 3, 3, 40)),
        ]
    for op, x_shape, w_shape in sizes:
        for keep in DENSITIES:
            add_layer(graph, op, x_shape, pruned(w_shape, keep, block, rng))
    return graph


def add_layer(graph: Graph, op: Operator, x_shape: tuple[int, ...], weights: Array) -> None:
    """A layer with its own input."""
    channels = weights.shape[0]
    scale = Quantisation.per_channel(np.full(channels, 0.01), 0)
    bias_scale = Quantisation.per_channel(np.full(channels, 0.0005), 0)
    x = graph.add(Tensor("x", x_shape, DType.INT8, Quantisation.per_tensor(0.05, 3)))
    w = graph.add(Tensor("w", weights.shape, DType.INT8, scale, weights))
    bias = np.arange(channels, dtype=np.int32)
    b = graph.add(Tensor("b", (channels,), DType.INT32, bias_scale, bias))
    shape = op.infer([x_shape, weights.shape, (channels,)])
    out = graph.add(Tensor("y", shape, DType.INT8, Quantisation.per_tensor(0.3, -5)))
    graph.nodes.append(Node(op, (x, w, b), out, out))
    graph.inputs.append(x)
    graph.outputs.append(out)


def counted(graph: Graph, target: Target, variant: Variant) -> list[tuple[Layer, int]]:
    """Each layer with its instructions through one kernel."""
    with (
        mock.patch.object(weighted_module, "choose", lambda layer, isa: variant),
        tempfile.TemporaryDirectory() as folder,
    ):
        c_dir = Path(folder) / "c"
        plan = plan_memory(graph, target.isa)
        write_c_folder(write_c(graph, plan, target.isa), graph.name, c_dir)
        rng = np.random.default_rng(0)
        feed = {
            n: rng.integers(-128, 128, graph.tensors[n].shape).astype(np.int8) for n in graph.inputs
        }
        result = count_instructions(graph, c_dir, target, feed, Path(folder) / "build")
    return [(layer, result.nodes[node.output]) for node, layer in weighted_layers(graph)]


def kernels_for(core: str, kind: str) -> list[Variant]:
    """Dense and sparse kernels of one kind that a core runs."""
    every = [*VARIANTS, *SPARSE]
    return [v for v in every if v.kind == kind and v.isa in included(core)]


def measure_sparse(target: Target) -> Iterator[tuple[Variant, Layer, int]]:
    """Layers of many densities with their instructions through every sparse kernel of a core."""
    for variant in SPARSE:
        if variant.isa in included(target.isa):
            graph = layers(variant.kind, variant.multiple)
            yield from ((variant, layer, n) for layer, n in counted(graph, target, variant))


def print_table(board: str) -> None:
    """Dense against sparse, by density, of one fully connected and one convolution layer."""
    target = load_target(board)
    print(f"On {board}, instructions and bytes of the record:\n")
    print("| layer | density | dense | bitmap | gaps | blocks of 4 | chosen |")
    print("|---|---|---|---|---|---|---|")
    same = Window((3, 3), padding=(1, 1, 1, 1))
    shapes: list[tuple[str, Operator, tuple[int, ...], tuple[int, ...]]] = [
        ("dense 128-128", FullyConnected(), (1, 128), (128, 128)),
        ("conv 3x3, 16-16, 8x8", Conv2D(same), (1, 8, 8, 16), (16, 3, 3, 16)),
    ]
    core = target.isa.partition("/")[0]
    for label, op, x_shape, w_shape in shapes:
        for block in (1, 4):
            for keep in (0.02, 0.05, 0.1, 0.2):
                graph = Graph("layers", {}, [], [], [])
                weights = pruned(w_shape, keep, block, np.random.default_rng(1))
                add_layer(graph, op, x_shape, weights)
                assert isinstance(op, weighted_module.Weighted)
                layer = op.c_layer(graph.ins(graph.nodes[0]), graph.out(graph.nodes[0]))
                cells: dict[str, str] = {}
                for variant in kernels_for(core, layer.kind):
                    form = next(
                        (f for f in ("bitmap", "gaps", "blocks") if f in variant.kernel), "dense"
                    )
                    if form in cells or not variant.applies(layer):
                        continue
                    count = counted(graph, target, variant)[0][1]
                    cells[form] = f"{count:,} / {variant.record_bytes(layer):,} B"
                chosen = choose(layer, core).kernel
                how = "blocks" if block == 4 else "single"
                row = [cells.get(f, "-") for f in ("dense", "bitmap", "gaps", "blocks")]
                print(
                    f"| {label} | {layer.density:.2f} {how} | {' | '.join(row)} | {chosen} |",
                    flush=True,
                )


if __name__ == "__main__":
    print_table("cortex-m4")
