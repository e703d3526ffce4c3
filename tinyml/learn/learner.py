# SPDX-License-Identifier: Apache-2.0
"""A learner: the story from a float graph to C that trains."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tinyml.errors import LearnError
from tinyml.ir.graph import Graph
from tinyml.ir.tensor import Array, DType
from tinyml.learn.budget import Activity, fit_ram
from tinyml.learn.options import LearnOptions, Standardise
from tinyml.learn.program import Program, build_program
from tinyml.learn.split import Split, split
from tinyml.learn.writer import Backbone, CLearner, write_learner
from tinyml.passes import C_PASSES, run_passes
from tinyml.plan import plan_memory
from tinyml.runtimes.build import firmware_root
from tinyml.writers.c import write_c


@dataclass(frozen=True)
class Learner:
    """A network that learns on the device.

    Args:
        name: a C identifier.
        options: as asked.
        cut: where the float part begins.
        program: the float part.
        backbone: the int8 part and its graph as C has it, None without one.
        c: the generated sources.
    """

    name: str
    options: LearnOptions
    cut: Split
    program: Program
    backbone: Backbone | None
    backbone_graph: Graph | None
    c: CLearner

    @property
    def ram_bytes(self) -> int:
        """State and work."""
        return self.c.state_bytes + self.c.work_bytes

    @property
    def inputs(self) -> int:
        """Values of one sample."""
        return self.program.elements(0) if self.backbone is None else self.backbone.inputs


def make_learner(
    float_graph: Graph,
    options: LearnOptions,
    quantised: Graph | None = None,
    activity: Activity | None = None,
) -> Learner:
    """A learner of a float graph.

    Args:
        float_graph: after the float passes.
        options: what learns, how, in how much RAM.
        quantised: the int8 graph of the same network; needed when layers stay frozen in int8.
        activity: real samples that tell which channels are worth training, for ``options.ram``.

    Raises:
        LearnError: see `split`, `build_program`, `fit_ram`; or a choice that does not go together.
    """
    cut = split(float_graph, options.layers)
    program = build_program(float_graph, cut, options)
    backbone, backbone_graph = None, None
    if cut.backbone:
        if quantised is None:
            raise LearnError("layers before the first trained one need the int8 graph")
        if options.standardise is not Standardise.OFF:
            raise LearnError(
                "standardisation on the device needs a network that learns from its input on",
                "Use --learn all, or standardise before the model.",
            )
        backbone, backbone_graph = _backbone(quantised, cut)
    if options.ram is not None:
        program = fit_ram(program, options, backbone, activity)
    c = write_learner(float_graph.name, program, options, backbone)
    return Learner(float_graph.name, options, cut, program, backbone, backbone_graph, c)


def _backbone(quantised: Graph, cut: Split) -> tuple[Backbone, Graph]:
    """The nodes of the int8 graph up to the features, as C."""
    graph = quantised.copy()
    graph.name = f"{quantised.name}_backbone"
    graph.outputs = [cut.features]
    graph.sweep()
    features = graph.tensors[cut.features]
    if features.dtype is not DType.INT8 or graph.tensors[graph.inputs[0]].dtype is not DType.INT8:
        raise LearnError(
            f"the tensor '{cut.features}' before the first trained layer, or the input, is not "
            "int8",
            "Train from an earlier or later layer.",
        )
    c_graph = run_passes(graph, C_PASSES)
    plan = plan_memory(c_graph)
    model = write_c(c_graph, plan)
    at = plan.offsets[cut.features]
    inputs = c_graph.tensors[c_graph.inputs[0]].elements
    made = Backbone(model, c_graph.name, plan.arena_bytes, (at, at + features.bytes), inputs)
    return made, c_graph


def write_learn_folder(learner: Learner, folder: Path) -> None:
    """A folder of C that compiles by itself: the learner, its backbone, the runtime."""
    root = firmware_root()
    (folder / "tinyml").mkdir(parents=True)
    (folder / "runtime").mkdir()
    for header in sorted((root / "include" / "tinyml").glob("*.h")):
        shutil.copy(header, folder / "tinyml")
    for source in sorted((root / "learn").glob("*.[ch]")):
        shutil.copy(source, folder / "runtime")
    for shared in sorted((root / "kernels").glob("*/*.h")):
        shutil.copy(shared, folder / "runtime")
    files = dict(learner.c.files)
    if learner.backbone is not None:
        model = learner.backbone.model
        files |= model.files
        for kernel in sorted((root / "kernels").glob("*/*.c")):
            text = kernel.read_text(encoding="utf-8")
            if any(f"void {called}(" in text for called in model.kernels):
                shutil.copy(kernel, folder / "runtime" / f"kernel_{kernel.name}")
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\n"
        f"project({learner.name}_learn C)\n"
        "set(here ${CMAKE_CURRENT_SOURCE_DIR})\n"
        "file(GLOB sources ${here}/*.c ${here}/runtime/*.c)\n"
        f"add_library({learner.name}_learn STATIC ${{sources}})\n"
        f"target_include_directories({learner.name}_learn PUBLIC ${{here}})\n"
        f"target_compile_features({learner.name}_learn PUBLIC c_std_11)\n",
        encoding="utf-8",
    )


def features_of(learner: Learner, sample: Array) -> Array:
    """What the float part reads for one float input of the graph's layout: the sample itself, or
    the dequantised output of the backbone's integer reference."""
    if learner.backbone_graph is None:
        return sample
    from tinyml.ir.execute import run

    graph = learner.backbone_graph
    name = graph.inputs[0]
    quantised = graph.tensors[name].q.quantise(sample)
    out = graph.tensors[learner.cut.features]
    return out.q.dequantise(run(graph, {name: quantised})[out.name])
