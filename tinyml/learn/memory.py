# SPDX-License-Identifier: Apache-2.0
"""Which floats of the work memory each value, delta and row owns, and when.

Times: step i runs at i, the loss at n, the derivative of step i at 2n - i.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tinyml.learn.program import Function, Layer, Program
from tinyml.ops import Window

_SWAPS = 400


@dataclass(frozen=True)
class Interval:
    """A buffer of ``size`` floats, live from ``first`` to ``last`` inclusive."""

    name: str
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class FloatPlan:
    """Offsets in floats.

    Args:
        values: of each value's buffer.
        deltas: of the delta of each value that has one.
        output, row: of the results after softmax or sigmoid, and of one row of a gradient.
        size: of all.
    """

    values: dict[int, int]
    deltas: dict[int, int]
    output: int
    row: int
    size: int


def plan_floats(program: Program) -> FloatPlan:
    """Places everything a step of learning needs."""
    steps, count = program.steps, len(program.steps)
    learning = program.learning()
    owner = list(range(len(program.shapes)))
    for step in steps:
        if program.in_place(step):
            owner[step.output] = owner[step.inputs[0]]

    first: dict[int, int] = {owner[0]: -1}
    last: dict[int, int] = {owner[0]: -1}

    def live(value: int, time: int) -> None:
        root = owner[value]
        first[root] = min(first.get(root, time), time)
        last[root] = max(last.get(root, time), time)

    delta_first: dict[int, int] = {}
    delta_last: dict[int, int] = {}

    def delta_live(value: int, time: int) -> None:
        root = owner[value]
        delta_first[root] = min(delta_first.get(root, time), time)
        delta_last[root] = max(delta_last.get(root, time), time)

    for index, step in enumerate(steps):
        live(step.output, index)
        for value in step.inputs:
            live(value, index)
        if step.output not in learning:
            continue
        back = 2 * count - index
        delta_live(step.output, back)
        for value in step.inputs:
            if value in learning:
                delta_live(value, back)
        if isinstance(step.op, Layer) and step.op.is_trained:
            live(step.inputs[0], back)
        elif isinstance(step.op, Function):
            live(step.output, back)
        elif isinstance(step.op, Window) and step.is_max:
            live(step.inputs[0], back)
    live(program.output, count)
    delta_live(program.output, count)

    intervals = [
        Interval(f"value {v}", program.elements(v), first[v], last[v]) for v in sorted(first)
    ]
    intervals += [
        Interval(f"delta {v}", program.elements(v), delta_first[v], delta_last[v])
        for v in sorted(delta_first)
    ]
    # Results stay readable after the step.
    intervals.append(Interval("output", program.capacity, count, 2 * count + 1))
    row = max((x.row_length for x in program.layers if x.rows[0] < x.rows[1]), default=0)
    if row:
        intervals.append(Interval("row", row, count + 1, 2 * count))
    offsets, size = place(intervals)
    return FloatPlan(
        values={v: offsets[f"value {owner[v]}"] for v in range(len(owner))},
        deltas={v: offsets[f"delta {owner[v]}"] for v in sorted(learning | {program.output})},
        output=offsets["output"],
        row=offsets.get("row", 0),
        size=size,
    )


def place(intervals: Sequence[Interval]) -> tuple[dict[str, int], int]:
    """Offsets such that no two live buffers overlap, and the total.

    First fit by several orders, the best improved by seeded swaps until it meets the bound that
    the live sizes set.
    """
    times = {t for i in intervals for t in (i.first, i.last)}
    bound = max(sum(i.size for i in intervals if i.first <= t <= i.last) for t in times)
    orders = (
        sorted(intervals, key=lambda i: (-i.size, i.first)),
        sorted(intervals, key=lambda i: (i.first - i.last, -i.size)),
        sorted(intervals, key=lambda i: (i.first, -i.size)),
    )
    fits = [_fit(order) for order in orders]
    best = min(fits, key=lambda f: f[1])
    order = list(orders[fits.index(best)])
    rng = random.Random(0)
    for _ in range(_SWAPS):
        if best[1] <= bound:
            break
        i, j = rng.sample(range(len(order)), 2)
        order[i], order[j] = order[j], order[i]
        tried = _fit(order)
        if tried[1] <= best[1]:
            best = tried
        else:
            order[i], order[j] = order[j], order[i]
    return best


def _fit(order: Sequence[Interval]) -> tuple[dict[str, int], int]:
    placed: list[tuple[Interval, int]] = []
    for interval in order:
        taken = sorted(
            (offset, offset + other.size)
            for other, offset in placed
            if other.first <= interval.last and interval.first <= other.last
        )
        at = 0
        for low, high in taken:
            if at + interval.size <= low:
                break
            at = max(at, high)
        placed.append((interval, at))
    return {i.name: at for i, at in placed}, max(at + i.size for i, at in placed)
