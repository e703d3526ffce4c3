# SPDX-License-Identifier: Apache-2.0
"""The story of an export: one model in, float or int8; three equal int8 models out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinyml.errors import LearnError, TargetError, TinymlError
from tinyml.importers.onnx import import_onnx
from tinyml.ir.graph import Graph
from tinyml.kernels import OPTIMISE, narrowed
from tinyml.learn import Learner, LearnOptions
from tinyml.learn.export import LearnData, export_learner, learner_of
from tinyml.learn.weights import Learned, with_learned
from tinyml.measure import (
    count_instructions,
    float_accuracy,
    forecast_quality,
    int8_accuracy,
    layer_snr,
)
from tinyml.opened import open_export
from tinyml.ops.layers import weighted_layers
from tinyml.passes import FLOAT_PASSES, attach_scaling, c_passes, run_passes
from tinyml.plan import MemoryPlan, plan_memory
from tinyml.progress import Progress, silent
from tinyml.quantize import Quantised, QuantiseOptions, choose
from tinyml.quantize.quantizer import check_finite
from tinyml.quantize.stated import settle_grids
from tinyml.report import build_report, render_html
from tinyml.runtimes.build import build_program, firmware_root
from tinyml.runtimes.compiled import Feed, run_program
from tinyml.samples import Samples, random_samples
from tinyml.series import c_integers, restored, standardised, with_unit
from tinyml.source import Source
from tinyml.targets import Target, load_target
from tinyml.text.device import TEXT_FOLDER, write_text_model
from tinyml.verify import (
    Check,
    reference_outputs,
    verify_c,
    verify_file,
    verify_interpreters,
)
from tinyml.writers.c import CModel, worth_copying, write_c
from tinyml.writers.onnx import write_onnx
from tinyml.writers.tflite import write_tflite

REPORT = "report.json"
# Samples beyond these change neither ranges nor confidence, only waiting time.
CALIBRATION_SAMPLES = 256
VERIFICATION_SAMPLES = 200
# Enough to compare gradients, and to tell which channels are worth training.
LEARN_SAMPLES = 16
RANDOM_SAMPLES = 16
SNR_SAMPLES = 32
FORECAST_SAMPLES = 1000


@dataclass(frozen=True)
class CodeOptions:
    """What a user can ask of the generated C.

    Args:
        keep_channels: keeps channels that these weights make constant, so that weights trained
            later fit the same code.
        learned: weights that devices trained take the place of the source's.
        patches: in how many patches of columns the first layers are made, where that makes the
            arena smaller; their seams are computed twice.
        optimise: what kernels are chosen for, a key of `tinyml.kernels.OPTIMISE`.
    """

    keep_channels: bool = False
    learned: Learned | None = None
    patches: int = 1
    optimise: str = "balanced"

    def __post_init__(self) -> None:
        """Raises TinymlError: unknown ``optimise``."""
        if self.optimise not in OPTIMISE:
            raise TinymlError(
                f"--optimise cannot be '{self.optimise}'", f"Known: {', '.join(OPTIMISE)}."
            )


@dataclass(frozen=True)
class Compiled:
    """The compiler's results before anything is written.

    Args:
        float_graph: after the float passes; None for a model that came as int8.
        graph: int8, the contract.
        c_graph: int8, as the C writer takes it; equal to ``graph``, with the instance scaling
            of a forecaster around it.
        quantised: ranges and types; None for a model that came as int8.
        plan: the arena of ``c_graph``.
        c_model: the generated C.
        code: what was asked of it.
        isa: what its kernels were chosen for, see `tinyml.kernels.choose`.
    """

    float_graph: Graph | None
    graph: Graph
    c_graph: Graph
    quantised: Quantised | None
    plan: MemoryPlan
    c_model: CModel
    code: CodeOptions
    isa: str


def compile_model(
    source: Source,
    target: Target,
    calibration: Samples | None,
    options: QuantiseOptions | None = None,
    progress: Progress = silent,
    code: CodeOptions | None = None,
) -> Compiled:
    """From the source to int8 graph, memory plan and C, all in memory.

    Args:
        calibration: real samples that choose the ranges; None for a model that is int8 already.
        options: how ranges and types are chosen; the defaults where None.
        code: what is asked of the C.

    Raises:
        ImportModelError, CalibrationError, QuantisationError: see the rooms that raise them.
        TargetError: activations or weights alone exceed the target.
    """
    code = code or CodeOptions()
    float_graph, quantised = None, None
    if source.int8 is not None:
        graph = source.int8
    else:
        assert calibration is not None
        imported = import_onnx(source.onnx, source.name)
        check_finite(imported)
        float_graph = with_unit(run_passes(imported, FLOAT_PASSES), calibration)
        settle_grids(float_graph)
        if code.learned is not None:
            float_graph = with_learned(float_graph, code.learned)
        feeds = calibration.fit(float_graph)
        quantised = choose(float_graph, feeds, options or QuantiseOptions(), progress)
        graph, float_graph = quantised.graph, quantised.float_graph
    made = _to_c(float_graph, graph, quantised, target, code)
    check_fit(made.c_graph, made.plan, len(made.c_model.weights), target)
    return made


def _to_c(
    float_graph: Graph | None,
    graph: Graph,
    quantised: Quantised | None,
    target: Target,
    code: CodeOptions,
) -> Compiled:
    passes = c_passes(keep_channels=code.keep_channels, patches=code.patches, isa=target.isa)
    c_graph = attach_scaling(run_passes(graph, passes))
    sizes = [r.bytes for r in target.regions]
    slow = target.slow_weights
    isa = model_isa(c_graph, target, code.optimise)
    copies = None if slow is None else worth_copying(c_graph, isa, slow.copy_bytes)
    plan = plan_memory(c_graph, isa, regions=sizes, copies=copies)
    names = [r.name for r in target.regions]
    c_model = write_c(c_graph, plan, isa, names, slow_weights=slow is not None)
    return Compiled(float_graph, graph, c_graph, quantised, plan, c_model, code, isa)


def model_isa(c_graph: Graph, target: Target, optimise: str = "balanced") -> str:
    """What a model's kernels are chosen for on a target, see `tinyml.kernels.choose`."""
    return narrowed([layer for _, layer in weighted_layers(c_graph)], target.isa, optimise)


def export(
    source: Source,
    target: Target,
    calibration: Samples | None,
    test: Samples | None,
    out: Path,
    options: QuantiseOptions | None = None,
    progress: Progress = silent,
    learn: LearnOptions | None = None,
    code: CodeOptions | None = None,
) -> dict[str, Any]:
    """Compiles, writes, verifies and reports.

    Args:
        source: the model.
        target: the board.
        calibration: real samples that choose the ranges; None for a model that is int8 already.
        test: held-out samples for verification and, when labelled, accuracy. Without them the
            calibration samples are verified on; without those, random integers.
        out: folder to make. It appears only when everything was verified.
        options: how ranges and types are chosen; the defaults where None.
        progress: told of each stage.
        learn: also write C that goes on learning on the device.
        code: what is asked of the C.

    Returns:
        The report, as written to report.json.

    Raises:
        TinymlError: anything wrong with input, target or tools; ``out`` is left as it was.
    """
    check_replaceable(out)
    used = None if calibration is None else calibration.take(CALIBRATION_SAMPLES)
    options = options or QuantiseOptions()
    made = compile_model(source, target, used, options, progress, code)
    if test is not None:
        test.check_targets(made.graph)
    learner = None if learn is None else make_learner_of(made, learn, test or used, target)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        report = _write_and_verify(
            source, target, used, test, made, learner, options, work, progress
        )
        (work / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (work / "report.html").write_text(render_html(report), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        work.chmod(0o755)
        work.replace(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return report


def check_replaceable(out: Path) -> None:
    """Raises TinymlError unless ``out`` is free, empty or an earlier export."""
    if out.exists() and not out.is_dir():
        raise TinymlError(f"{out} is a file", "Choose another --out.")
    if out.is_dir() and any(out.iterdir()) and not (out / REPORT).is_file():
        raise TinymlError(f"{out} holds files that are no earlier export", "Choose another --out.")


def _write_and_verify(
    source: Source,
    target: Target,
    calibration: Samples | None,
    test: Samples | None,
    made: Compiled,
    learner: Learner | None,
    options: QuantiseOptions,
    work: Path,
    progress: Progress,
) -> dict[str, Any]:
    tflite = write_tflite(made.graph)
    (work / "model.tflite").write_bytes(tflite)
    # ONNX has nothing that keeps state between runs.
    onnx = None if made.graph.variables else write_onnx(made.graph)
    if onnx is not None:
        (work / "model.onnx").write_bytes(onnx)
    write_c_folder(made.c_model, made.graph.name, work / "c")
    text = None if source.text is None else write_text_model(source.text, work / TEXT_FOLDER)

    real = (test or calibration or random_samples(made.graph, RANDOM_SAMPLES)).take(
        VERIFICATION_SAMPLES
    )
    snr = {}
    if made.float_graph is not None:
        few = real.fit(made.float_graph)[:SNR_SAMPLES]
        snr = layer_snr(made.float_graph, made.graph, few, progress)
    c_feeds = c_integers(made.graph, real)
    columns: dict[str, Any] = {
        n: np.concatenate([f[n] for f in c_feeds]) for n in made.graph.inputs
    }
    np.savez_compressed(work / "samples.npz", **columns)

    feeds = [standardised(made.graph, made.c_graph, f) for f in c_feeds]
    expected = reference_outputs(made.graph, feeds, progress)
    c_expected = [
        restored(made.graph, made.c_graph, f, e) for f, e in zip(c_feeds, expected, strict=True)
    ]
    checks = verify_interpreters(made.graph, tflite, onnx, feeds, expected, progress)
    if source.tflite is not None:
        name = source.provenance["file"]
        checks.insert(
            0,
            verify_file(
                made.graph, source.tflite, source.not_micro, feeds, expected, progress, name
            ),
        )
    with tempfile.TemporaryDirectory(prefix="tinyml-build-") as folder:
        build = Path(folder)
        for board in boards(target):
            checks.append(
                verify_c(
                    made.c_graph,
                    work / "c",
                    board,
                    c_feeds,
                    c_expected,
                    build / board.name,
                    progress,
                )
            )
        patched = without_patches(made, target, c_feeds[0], build / "unpatched")
        program = build_program(work / "c", made.graph.name, target, build / "size")
        counted = count_instructions(made.c_graph, work / "c", target, c_feeds[0], build / "count")
        learned = None
        if learner is not None:
            data = _learn_data(made, test or calibration)
            learned = export_learner(
                learner,
                data,
                target,
                work / "learn",
                build / "learn",
                counted.inference,
                progress,
            )
        accuracy = None
        if test is not None and test.labels is not None:
            accuracy = {
                "data": test.source,
                "samples": test.count,
                "float": float_accuracy(source.onnx, test, progress)
                if source.onnx and made.code.learned is None
                else None,
                "int8": int8_accuracy(made.c_graph, work / "c", test, build / "accuracy", progress),
            }
        forecast = None
        if test is not None and test.targets is not None and source.onnx:
            some = test.take(FORECAST_SAMPLES)
            forecast = forecast_quality(
                source.onnx, made.graph, made.c_graph, work / "c", some, build / "f", progress
            )
    _check_linked(target, program.memory.flash, program.memory.ram + (counted.stack_bytes or 0))
    report = build_report(
        source=source,
        target=target,
        compiled=made,
        options=options,
        calibration=calibration,
        verified_on=real.source,
        snr=snr,
        checks=checks,
        memory=program.memory,
        counted=counted,
        accuracy=accuracy,
        forecast=forecast,
        without_patches=patched,
        files=_digests(work),
    )
    report |= {} if text is None else {"text": text}
    return report if learned is None else {**report, "learn": learned}


def without_patches(
    made: Compiled, target: Target, feed: Feed, build: Path
) -> dict[str, Any] | None:
    """What the model takes in one piece: arena and instructions, None where they are not known;
    nothing where no patches were asked for or made."""
    if made.code.patches == 1:
        return None
    code = replace(made.code, patches=1)
    try:
        whole = _to_c(made.float_graph, made.graph, made.quantised, target, code)
    except TargetError:  # the memories of the target do not hold it
        return {"arena": None, "instructions": None}
    if len(whole.c_graph.nodes) == len(made.c_graph.nodes):
        return None
    found: dict[str, Any] = {"arena": whole.plan.total_bytes, "instructions": None}
    if target.qemu is not None:
        name = made.graph.name
        write_c_folder(whole.c_model, name, build / "c")
        with contextlib.suppress(TargetError):  # larger than the board
            program = build_program(build / "c", name, target, build / "program")
            run = run_program(program, target, whole.c_graph, [feed], count=True)
            found["instructions"] = run.instructions[0]
    return found


def make_learner_of(
    made: Compiled, options: LearnOptions, samples: Samples | None, target: Target
) -> Learner:
    """The learner of a compiled model.

    Raises:
        LearnError: it cannot be made as asked, or the model came as int8.
        TargetError: it needs more RAM than the target has.
    """
    if made.float_graph is None:
        raise LearnError(
            "an int8 .tflite holds no float weights to train", "Export the float model."
        )
    data = _learn_data(made, samples)
    return learner_of(made.float_graph, made.graph, options, data, target, made.isa)


def _learn_data(made: Compiled, samples: Samples | None) -> LearnData:
    assert made.float_graph is not None and samples is not None
    some = samples.take(LEARN_SAMPLES)
    name = made.float_graph.inputs[0]
    return LearnData([f[name] for f in some.fit(made.float_graph)], some.labels)


def boards(target: Target) -> Sequence[Target]:
    """Where the C is verified: on this machine, and on the emulated target."""
    host = load_target("host")
    return (host,) if target.qemu is None else (host, target)


def verify_export(folder: Path, progress: Progress = silent) -> tuple[dict[str, Any], list[Check]]:
    """Repeats the verification of an export from its files alone.

    Returns:
        The stored report and the new checks.

    Raises:
        TinymlError: a file is missing or was changed, or a runtime disagrees.
    """
    opened = open_export(folder)
    expected = reference_outputs(opened.graph, opened.feeds, progress)
    c_expected = [
        restored(opened.graph, opened.c_graph, f, e)
        for f, e in zip(opened.c_feeds, expected, strict=True)
    ]
    tflite = (folder / "model.tflite").read_bytes()
    onnx = None if opened.graph.variables else (folder / "model.onnx").read_bytes()
    checks = verify_interpreters(opened.graph, tflite, onnx, opened.feeds, expected, progress)
    with tempfile.TemporaryDirectory(prefix="tinyml-build-") as build:
        for board in boards(opened.target):
            checks.append(
                verify_c(
                    opened.c_graph,
                    folder / "c",
                    board,
                    opened.c_feeds,
                    c_expected,
                    Path(build) / board.name,
                    progress,
                )
            )
    return opened.report, checks


def write_c_folder(model: CModel, name: str, folder: Path) -> None:
    """The generated sources with the headers and kernels they need: a folder that compiles by
    itself."""
    root = firmware_root()
    (folder / "tinyml").mkdir(parents=True)
    (folder / "kernels").mkdir()
    for header in sorted((root / "include" / "tinyml").glob("*.h")):
        shutil.copy(header, folder / "tinyml")
    for shared in sorted((root / "kernels").glob("*/*.h")):
        shutil.copy(shared, folder / "kernels")
    for kernel in sorted((root / "kernels").glob("*/*.c")):
        text = kernel.read_text(encoding="utf-8")
        if any(f"void {called}(" in text for called in model.kernels):
            shutil.copy(kernel, folder / "kernels")
    for file_name, text in model.files.items():
        (folder / file_name).write_text(text, encoding="utf-8")
    (folder / f"{name}_weights.bin").write_bytes(model.weights)
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\n"
        f"project({name} C)\n"
        "file(GLOB kernels ${CMAKE_CURRENT_SOURCE_DIR}/kernels/*.c)\n"
        f"add_library({name} STATIC {name}.c {name}_weights.c ${{kernels}})\n"
        f"target_include_directories({name} PUBLIC ${{CMAKE_CURRENT_SOURCE_DIR}})\n"
        f"target_compile_features({name} PUBLIC c_std_11)\n",
        encoding="utf-8",
    )


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        found[str(path.relative_to(folder))] = {"bytes": len(data), "sha256": digest}
    return found


def check_fit(graph: Graph, plan: MemoryPlan, weights: int, target: Target) -> None:
    """Raises TargetError when activations or weights alone exceed the target."""
    if plan.total_bytes > target.ram_bytes:
        node = graph.nodes[plan.peak_node]
        raise TargetError(
            f"the model needs {plan.total_bytes:,} B of RAM for activations, {target.name} has "
            f"{target.ram_bytes:,} B: {plan.total_bytes - target.ram_bytes:,} B too many; the "
            f"peak is at {node.op.kind} '{node.name}'",
            "Lower the input resolution or that layer's channels, or choose a larger target.",
        )
    if weights > target.flash_bytes:
        layer = max(graph.nodes, key=lambda n: sum(t.bytes for t in graph.ins(n) if t.is_constant))
        raise TargetError(
            f"the model needs {weights:,} B of flash for weights, {target.name} has "
            f"{target.flash_bytes:,} B: {weights - target.flash_bytes:,} B too many; the largest "
            f"layer is {layer.op.kind} '{layer.name}'",
            "Use a narrower model or a larger target.",
        )


def _check_linked(target: Target, flash: int, ram: int) -> None:
    for label, used, limit in (
        ("flash", flash, target.flash_bytes),
        ("RAM", ram, target.ram_bytes),
    ):
        if used > limit:
            raise TargetError(
                f"the linked model takes {used:,} B of {label}, {target.name} has {limit:,} B: "
                f"{used - limit:,} B too many",
                "Use a smaller model or a larger target.",
            )
