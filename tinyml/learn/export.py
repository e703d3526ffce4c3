# SPDX-License-Identifier: Apache-2.0
"""The learner of an export: written, verified against its definition, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinyml.errors import TargetError, VerificationError
from tinyml.ir.graph import Graph
from tinyml.ir.tensor import Array
from tinyml.learn.firmware import Session, build_learner
from tinyml.learn.learner import Learner, features_of, make_learner, write_learn_folder
from tinyml.learn.options import LearnOptions, Loss
from tinyml.learn.reference import gradient
from tinyml.progress import Progress, silent
from tinyml.targets import Target, load_target

# Float32 sums against float64, of the largest entry. A sample that meets a corner of a ReLU or a
# tie of a maximum within rounding may take the other side: the median sample must hold the first
# bound, every sample the second.
GRADIENT_BOUND = 1e-5
CORNER_BOUND = 1e-2
_SAMPLES = 8


@dataclass(frozen=True)
class LearnData:
    """Samples to verify on, and to choose channels by.

    Args:
        samples: float, in the graph's layout, batch 1 each.
        labels: by sample, None where there are none.
    """

    samples: Sequence[Array]
    labels: Array | None


def learner_of(
    float_graph: Graph,
    quantised: Graph,
    options: LearnOptions,
    data: LearnData,
    target: Target,
    isa: str,
) -> Learner:
    """The learner of a compiled model.

    Args:
        isa: what the model's kernels were chosen for; the backbone's are the same.

    Raises:
        LearnError: it cannot be made as asked.
        TargetError: it needs more RAM than the target has.
    """
    learner = make_learner(float_graph, options, quantised, data.samples[:16], isa=isa)
    needed = learner.facts.ram_bytes
    if needed > target.ram_bytes:
        raise TargetError(
            f"learning needs {needed:,} B of RAM, {target.name} has {target.ram_bytes:,} B: "
            f"{needed - target.ram_bytes:,} B too many",
            f"Train less: --learn head, or --learn-ram {target.ram_bytes}.",
        )
    return learner


def export_learner(
    learner: Learner,
    data: LearnData,
    target: Target,
    folder: Path,
    build: Path,
    inference: int | None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Writes the C, compares its gradients with the definition on every board, and counts.

    Args:
        folder: to be made.
        build: for objects and programs.
        inference: instructions of one int8 inference, for comparison.

    Returns:
        The ``learn`` part of the report.

    Raises:
        VerificationError: a gradient differs.
    """
    write_learn_folder(learner, folder)
    samples = list(data.samples[:_SAMPLES])
    targets = _targets(learner, data, len(samples))
    boards = [load_target("host")]
    if target.qemu is not None:
        boards.append(target)
    advance = progress("Verify learning", len(boards))
    checks = []
    facts = learner.facts
    expected = [_expected(learner, s, t) for s, t in zip(samples, targets, strict=True)]
    instructions: dict[str, int] = {}
    stack = None
    for board in boards:
        built = build_learner(facts, folder, board, build / board.name)
        session = Session(facts)
        numbers = [session.gradient(s, t) for s, t in zip(samples, targets, strict=True)]
        predicted = session.predict(samples[0])
        stepped = session.step(samples[0], targets[0])
        played = session.run(built, board, count=board.qemu is not None)
        errors = [_error(played.replies[n], e) for n, e in zip(numbers, expected, strict=True)]
        _check(board, errors)
        checks.append(
            {
                "runtime": f"gradient, C on {board.name}",
                "samples": len(samples),
                "median_error": float(np.median(errors)),
                "max_error": max(errors),
            }
        )
        if played.instructions:
            instructions = {
                "predict": played.instructions[predicted],
                "step": played.instructions[stepped],
            }
            stack = played.stack_bytes
        memory = built.memory
        advance()
    if inference is not None:
        instructions["int8_inference"] = inference
    return {
        **facts.to_json(),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind.value,
                "rows": list(layer.rows),
                "of": len(layer.weights),
                "biases": list(layer.biases),
                "trained": layer.trained_weights,
            }
            for layer in learner.program.layers
        ],
        "backbone_nodes": learner.cut.backbone,
        "optimizer": learner.options.optimizer.value,
        "standardise": learner.options.standardise.value,
        "rate": learner.options.rate,
        "momentum": learner.options.momentum,
        "code_bytes": memory.code,
        "weights_bytes": memory.weights,
        "stack_bytes": stack,
        "instructions": instructions,
        "checks": checks,
    }


def _targets(learner: Learner, data: LearnData, count: int) -> list[int | Array]:
    """Labels where they fit, otherwise arbitrary but fixed targets."""
    outputs = learner.program.outputs
    rng = np.random.default_rng(0)
    labels = data.labels
    if learner.program.loss is Loss.CROSS_ENTROPY:
        fit = labels is not None and np.all((labels >= 0) & (labels < outputs))
        return [
            int(labels[i]) if fit and labels is not None else int(rng.integers(outputs))
            for i in range(count)
        ]
    return [np.asarray(rng.random(outputs), np.float32) for _ in range(count)]


def _expected(learner: Learner, sample: Array, target: int | Array) -> Array:
    features = features_of(learner.cut, learner.backbone_graph, sample)
    vector = learner.program.vector().astype(float)
    return gradient(learner.program, vector, features, target).gradient


def _error(reply: object, expected: Array) -> float:
    """Largest difference as a part of the largest entry; infinite where the sample was refused."""
    assert isinstance(reply, tuple)
    status, _, seen = reply
    if status != "OK" or not np.all(np.isfinite(seen)):
        return float("inf")
    scale = float(np.abs(expected).max(initial=0.0))
    return float(np.abs(seen - expected).max(initial=0.0)) / (scale or 1.0)


def _check(board: Target, errors: Sequence[float]) -> None:
    if np.median(errors) > GRADIENT_BOUND or max(errors) > CORNER_BOUND:
        raise VerificationError(
            f"gradients of the generated C on {board.name} differ from the definition by up to "
            f"{max(errors):.2g} of their largest entry (median {np.median(errors):.2g})",
            f"Allowed: {GRADIENT_BOUND:g}. This is a fault of the compiler; please report it with "
            "the model.",
        )
