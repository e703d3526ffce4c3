# SPDX-License-Identifier: Apache-2.0
"""Streams samples through an export's learner, on this machine or the emulated board."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyml.errors import LearnError, TargetError
from tinyml.ir.tensor import Array
from tinyml.learn.firmware import Session, build_learner
from tinyml.learn.learner import Facts
from tinyml.learn.native import State, Stepped
from tinyml.learn.options import Loss
from tinyml.opened import read_report
from tinyml.samples import Samples
from tinyml.targets import load_target, target_from_json


@dataclass(frozen=True)
class Stream:
    """A learner's way through a stream; each sample is tested before it is learned.

    Args:
        model, place: what ran, and where.
        loss: its loss.
        learning, static: by sample, 1 where right (losses for MSE); with the weights of the
            moment, and with those exported. NaN where a sample was refused.
        statuses: how often each status was returned, in order of first appearance.
        drifts: how many the detector reported.
        predict, step: instructions of one sample; None on this machine.
        ram_bytes: of the learner.
    """

    model: str
    place: str
    loss: Loss
    learning: list[float]
    static: list[float]
    statuses: dict[str, int]
    drifts: int
    predict: int | None
    step: int | None
    ram_bytes: int

    @property
    def measures_errors(self) -> bool:
        """Whether smaller is better."""
        return self.loss is Loss.MSE

    def windows(self, size: int) -> list[tuple[int, float, float]]:
        """For each ``size`` samples: how many were seen by its end, means of learning and
        static."""
        found = []
        for start in range(0, len(self.learning), size):
            parts = self.learning[start : start + size], self.static[start : start + size]
            learning, static = (
                float(np.nanmean(p)) if np.isfinite(p).any() else float("nan") for p in parts
            )
            found.append((start + len(parts[0]), learning, static))
        return found


def play(
    folder: Path,
    samples: Samples,
    *,
    on_target: bool,
    rate: float | None = None,
    outlier: float = 0.0,
    limit: int | None = None,
) -> Stream:
    """Runs a stream.

    Args:
        folder: an export made with --learn.
        samples: in order, with labels (or, for MSE, targets) ``y``.
        on_target: on the emulated board instead of this machine.
        rate: learning rate; the export's default when left out.
        outlier: standard deviations beyond which samples are guarded; 0: none.
        limit: at most so many samples.

    Raises:
        LearnError: the export has no learner, or the data do not fit it.
        TargetError: the target is not emulated.
    """
    report = read_report(folder)
    if "learn" not in report:
        raise LearnError(f"{folder} has no learner", "Export with --learn head, or --learn all.")
    facts = Facts.from_json(report["learn"])
    target = target_from_json(report["target"]) if on_target else load_target("host")
    if on_target and target.qemu is None:
        raise TargetError(f"{target.name} is not emulated", "Use --on host.")
    inputs, targets = _pairs(report["inputs"][0], facts, samples, limit)
    session = Session(facts)
    used = report["learn"]["rate"] if rate is None else rate
    session.settings(used, report["learn"].get("momentum", 0.9), outlier)
    before = [session.predict(x) for x in inputs]
    steps = [session.step(x, y) for x, y in zip(inputs, targets, strict=True)]
    state = session.state()
    with tempfile.TemporaryDirectory(prefix="tinyml-learn-") as build:
        built = build_learner(facts, folder / "learn", target, Path(build))
        played = session.run(built, target, count=on_target)
    learning = [_score(facts, played.stepped(n), y) for n, y in zip(steps, targets, strict=True)]
    static = [_score(facts, played.stepped(n), y) for n, y in zip(before, targets, strict=True)]
    statuses: dict[str, int] = {}
    for number in steps:
        status = played.stepped(number).status
        statuses[status] = statuses.get(status, 0) + 1
    last = played.replies[state]
    assert isinstance(last, State)
    place = f"{target.name} ({target.qemu.machine}, QEMU)" if target.qemu else target.name
    return Stream(
        facts.name,
        place,
        facts.loss,
        learning,
        static,
        statuses,
        int(last.drifts),
        _median(played.instructions, before),
        _median(played.instructions, steps),
        facts.ram_bytes,
    )


def _pairs(
    port: dict[str, object], facts: Facts, samples: Samples, limit: int | None
) -> tuple[list[Array], list[int | Array]]:
    """Samples in the graph's layout, and targets."""
    if samples.labels is None:
        raise LearnError(f"{samples.source} has no labels 'y' to learn from")
    array = next(iter(samples.inputs.values()))
    permutation = port.get("permuted_from_source")
    if isinstance(permutation, list):
        array = array.transpose([int(i) for i in permutation])
    count = len(array) if limit is None else min(limit, len(array))
    rows = np.asarray(array, np.float32).reshape(len(array), -1)
    if rows.shape[1] != facts.inputs:
        raise LearnError(
            f"a sample of {samples.source} has {rows.shape[1]} values, '{facts.name}' takes "
            f"{facts.inputs}"
        )
    labels = np.asarray(samples.labels, np.float32)
    inputs = [rows[i] for i in range(count)]
    if facts.loss is Loss.CROSS_ENTROPY:
        return inputs, [int(labels[i]) for i in range(count)]
    wide = labels.reshape(len(array), -1)
    if wide.shape[1] != facts.outputs:
        raise LearnError(
            f"targets of {samples.source} have {wide.shape[1]} values, '{facts.name}' has "
            f"{facts.outputs} outputs"
        )
    return inputs, [wide[i] for i in range(count)]


def _score(facts: Facts, stepped: Stepped, target: int | Array) -> float:
    if stepped.status not in ("OK", "GUARDED"):
        return float("nan")
    if facts.loss is Loss.CROSS_ENTROPY:
        # Later classes count only once they were added; here none is.
        return float(np.argmax(stepped.outputs[: facts.outputs]) == target)
    outputs = stepped.outputs[: facts.outputs]
    if facts.loss is Loss.BCE:
        return float(np.all((outputs > 0.5) == (np.asarray(target) > 0.5)))
    return float(np.mean((outputs - target) ** 2))


def _median(instructions: dict[int, int], numbers: list[int]) -> int | None:
    known = [instructions[n] for n in numbers if n in instructions]
    return int(np.median(known)) if known else None
