# SPDX-License-Identifier: Apache-2.0
"""A learner: the story from a float graph to C that trains."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tinyml.errors import LearnError
from tinyml.ir.execute import run
from tinyml.ir.graph import Graph
from tinyml.ir.tensor import Array, DType
from tinyml.learn.budget import fit_ram
from tinyml.learn.options import LearnOptions, Loss, Standardise
from tinyml.learn.program import Program, build_program
from tinyml.learn.split import Split, split
from tinyml.learn.weights import initial_weights
from tinyml.learn.writer import Backbone, CLearner, write_learner
from tinyml.passes import C_PASSES, run_passes
from tinyml.plan import plan_memory
from tinyml.runtimes.build import firmware_root
from tinyml.writers.c import write_c


@dataclass(frozen=True)
class Facts:
    """What a program that drives a learner must know of it.

    Args:
        name: a C identifier.
        loss: decides what a target is.
        inputs: values of one sample, in the graph's layout.
        outputs, capacity: of the network, and with room for more classes.
        weight_count: trained values.
        state_bytes, work_bytes: RAM.
        abi: of saved states and weights.
    """

    name: str
    loss: Loss
    inputs: int
    outputs: int
    capacity: int
    weight_count: int
    state_bytes: int
    work_bytes: int
    abi: int

    @property
    def ram_bytes(self) -> int:
        """State and work."""
        return self.state_bytes + self.work_bytes

    def to_json(self) -> dict[str, Any]:
        """For report.json."""
        return {**asdict(self), "loss": self.loss.value, "abi": f"{self.abi:016x}"}

    @staticmethod
    def from_json(table: dict[str, Any]) -> Facts:
        """The inverse of `to_json`; other keys are passed over."""
        known = {f.name: table[f.name] for f in fields(Facts)}
        return Facts(**{**known, "loss": Loss(table["loss"]), "abi": int(table["abi"], 16)})


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
    def facts(self) -> Facts:
        """What programs that drive it need."""
        inputs = self.program.elements(0) if self.backbone is None else self.backbone.inputs
        return Facts(
            self.name,
            self.program.loss,
            inputs,
            self.program.outputs,
            self.program.capacity,
            self.c.weight_count,
            self.c.state_bytes,
            self.c.work_bytes,
            self.c.abi,
        )


def make_learner(
    float_graph: Graph,
    options: LearnOptions,
    quantised: Graph | None = None,
    activity: Sequence[Array] | None = None,
    isa: str = "portable",
) -> Learner:
    """A learner of a float graph.

    Args:
        float_graph: after the float passes.
        options: what learns, how, in how much RAM.
        quantised: the int8 graph of the same network; needed when layers stay frozen in int8.
        activity: real samples in the graph's layout that tell which channels are worth training,
            for ``options.ram``; a few are enough.
        isa: of the target, for the backbone's kernels.

    Raises:
        LearnError: see `split`, `build_program`, `fit_ram`; or a choice that does not go together.
    """
    cut = split(float_graph, options.layers)
    program = build_program(float_graph, cut, options)
    backbone, backbone_graph = None, None
    if cut.backbone:
        if quantised is None:
            raise LearnError("layers before the first trained one need the int8 graph")
        if quantised.variables:
            raise LearnError(
                f"'{float_graph.name}' keeps state from one sample to the next, which the work "
                "memory of a learner does not",
                "Train networks without state.",
            )
        if options.standardise is not Standardise.OFF:
            raise LearnError(
                "standardisation on the device needs a network that learns from its input on",
                "Use --learn all, or standardise before the model.",
            )
        backbone, backbone_graph = _backbone(quantised, cut, isa)
    if options.ram is not None:
        samples = [features_of(cut, backbone_graph, s) for s in activity or ()]
        program = fit_ram(program, options, backbone, samples)
    c = write_learner(float_graph.name, program, options, backbone)
    return Learner(float_graph.name, options, cut, program, backbone, backbone_graph, c)


def _backbone(quantised: Graph, cut: Split, isa: str) -> tuple[Backbone, Graph]:
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
    plan = plan_memory(c_graph, isa)
    model = write_c(c_graph, plan, isa)
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
    start = initial_weights(learner.program).astype("<f4")
    (folder / f"{learner.name}_learn.f32").write_bytes(start.tobytes())
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


def features_of(cut: Split, backbone: Graph | None, sample: Array) -> Array:
    """What the float part reads for one float input of the graph's layout: the sample itself, or
    the dequantised output of the backbone's integer reference."""
    if backbone is None:
        return sample
    name = backbone.inputs[0]
    quantised = backbone.tensors[name].q.quantise(sample)
    out = backbone.tensors[cut.features]
    return out.q.dequantise(run(backbone, {name: quantised})[out.name])
