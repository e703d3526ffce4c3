# SPDX-License-Identifier: Apache-2.0
"""Curves of a run as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def save_curves(rounds: Sequence[Any], path: Path, title: str) -> None:
    """Loss, and what else was measured, by round.

    Args:
        rounds: rows of `fleet.store.federated.rounds_of`.
    """
    names = sorted(
        {k for r in rounds for k in r["metrics"] if k not in ("devices", "num-examples")}
    )
    figure = Figure(figsize=(7, 2.6 * max(len(names), 1)), layout="constrained")
    axes = figure.subplots(max(len(names), 1), 1, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=False):
        points = [(r["number"], r["metrics"][name]) for r in rounds if name in r["metrics"]]
        axis.plot([p[0] for p in points], [p[1] for p in points], linewidth=1)
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[0].set_title(title)
    axes[-1].set_xlabel("round")
    figure.savefig(path)
