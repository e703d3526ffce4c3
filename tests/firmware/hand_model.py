# SPDX-License-Identifier: Apache-2.0
"""A model written by hand, to see what the harness and the ports make of known code."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.tinyml.single_op import activation
from tinyml.ir import Graph, Node
from tinyml.ir.tensor import Array
from tinyml.ops import Softmax
from tinyml.runtimes.build import firmware_root
from tinyml.targets import Target, list_targets

NAME = "hand"
BYTES = 16
emulated = pytest.mark.parametrize(
    "target", [t for t in list_targets() if t.qemu], ids=lambda t: t.name
)


def need(target: Target) -> None:
    """Skips where the target's tools are not installed."""
    for program in (target.compiler, *([target.qemu.program] if target.qemu else [])):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def graph() -> Graph:
    """The shapes of the model: input, and the outputs of its two nodes, 16 bytes each."""
    tensors = [activation(n, (1, BYTES), 1 / 256, -128) for n in ("input", "middle", "output")]
    nodes = [
        Node(Softmax(), ("input",), "middle", "first"),
        Node(Softmax(), ("middle",), "output", "second"),
    ]
    return Graph(NAME, {t.name: t for t in tensors}, nodes, ["input"], ["output"])


def feed(*values: int) -> dict[str, Array]:
    """One sample: the given bytes, then zeros."""
    sample = np.zeros((1, BYTES), np.int8)
    sample[0, : len(values)] = values
    return {"input": sample}


def write_hand_model(
    folder: Path,
    *,
    first: str = "",
    second: str = "",
    functions: str = "",
    arena_bytes: int = 64,
    weights_bytes: int = 16,
) -> Path:
    """Writes the C folder of a model that copies its input to middle and to output.

    Args:
        first, second: statements of its nodes; ``in``, ``middle`` and ``out`` are int8_t pointers.
        functions: C before the model.
    """
    folder.mkdir(parents=True)
    (folder / "kernels").mkdir()
    shutil.copytree(firmware_root() / "include" / "tinyml", folder / "tinyml")
    (folder / f"{NAME}.h").write_text(
        f"""#include "tinyml/model.h"
enum {{ {NAME}_arena_bytes = {arena_bytes}, {NAME}_weights_bytes = {weights_bytes} }};
extern const uint8_t {NAME}_weights[{NAME}_weights_bytes];
extern const tml_model_t {NAME}_model;
"""
    )
    (folder / f"{NAME}_weights.c").write_text(
        f'#include "{NAME}.h"\nTML_ALIGNED const uint8_t {NAME}_weights[{weights_bytes}] = {{1}};\n'
    )
    (folder / f"{NAME}.c").write_text(
        f"""#include "{NAME}.h"
{functions}
static void run(uint8_t *arena, const uint8_t *weights) {{
    (void)weights;
    const int8_t *in = (const int8_t *)arena;
    int8_t *middle = (int8_t *)arena + {BYTES}, *out = (int8_t *)arena + {2 * BYTES};
    for (int i = 0; i < {BYTES}; ++i) middle[i] = in[i];
    {first}
    TML_TRACE(0, middle, {BYTES}u);
    for (int i = 0; i < {BYTES}; ++i) out[i] = middle[i];
    {second}
    TML_TRACE(1, out, {BYTES}u);
}}
static const tml_io_t inputs[] = {{{{"input", 0u, {BYTES}u, 1.0f, 0}}}};
static const tml_io_t outputs[] = {{{{"output", {2 * BYTES}u, {BYTES}u, 1.0f, 0}}}};
const tml_model_t {NAME}_model = {{
    .name = "{NAME}", .arena_bytes = {NAME}_arena_bytes, .weights_bytes = {NAME}_weights_bytes,
    .node_count = 2, .input_count = 1, .output_count = 1, .inputs = inputs, .outputs = outputs,
    .weights = {NAME}_weights, .run = run,
}};
"""
    )
    return folder
