# SPDX-License-Identifier: Apache-2.0
"""The report's pictures, as SVG text."""

from __future__ import annotations

import io
import math
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

_HISTOGRAM_COLUMNS = 4
_PALETTE = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#9d755d", "#bab0ac")


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # Text stays text, and nothing depends on the clock: equal reports are equal files.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tinyml"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def arena(report: dict[str, Any]) -> str:
    """Which bytes of the arena are live while each node runs."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots()
    nodes = 1 + max((b["last"] for b in report["arena"]), default=0)
    for index, block in enumerate(report["arena"]):
        first, last = max(block["first"], 0), min(block["last"], nodes - 1)
        patch = Rectangle(
            (first, block["offset"] / 1024),
            last - first + 1,
            block["bytes"] / 1024,
            facecolor=_PALETTE[index % len(_PALETTE)],
            edgecolor="white",
            linewidth=0.6,
        )
        axes.add_patch(patch)
    axes.axhline(report["memory"]["arena"] / 1024, color="#444", linewidth=0.8)
    axes.set(
        xlim=(0, nodes),
        ylim=(0, report["memory"]["arena"] / 1024 * 1.05),
        xlabel="node, in order of execution",
        ylabel="arena, KiB",
    )
    return _svg(figure)


def snr(report: dict[str, Any]) -> str:
    """SNR of every layer's output; empty text for a model without a float original."""
    layers = [(i, x["snr_db"]) for i, x in enumerate(report["layers"]) if x["snr_db"] is not None]
    if not layers:
        return ""
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots()
    axes.bar([i for i, _ in layers], [v for _, v in layers], color=_PALETTE[0], width=0.8)
    axes.set(xlabel="layer", ylabel="SNR, dB", xlim=(-1, len(report["layers"])))
    axes.grid(axis="y", alpha=0.3)
    return _svg(figure)


def sensitivity(report: dict[str, Any]) -> str:
    """Each layer's share of the output's noise; empty text where it was not measured."""
    rows = report["sensitivity"]
    if not rows:
        return ""
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots()
    for dtype, colour in (("int8", _PALETTE[0]), ("int16", _PALETTE[1])):
        shown = [(i, 100 * r["share"]) for i, r in enumerate(rows) if r["dtype"] == dtype]
        axes.bar([i for i, _ in shown], [v for _, v in shown], color=colour, width=0.8, label=dtype)
    axes.set(xlabel="layer", ylabel="share of noise, %", xlim=(-1, len(rows)))
    axes.legend()
    axes.grid(axis="y", alpha=0.3)
    return _svg(figure)


def instructions(report: dict[str, Any]) -> str:
    """Instructions of every layer; empty text where they were not counted."""
    layers = [(i, x["instructions"]) for i, x in enumerate(report["layers"]) if x["instructions"]]
    if not layers:
        return ""
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots()
    axes.bar([i for i, _ in layers], [v / 1e3 for _, v in layers], color=_PALETTE[1], width=0.8)
    axes.set(xlabel="layer", ylabel="thousand instructions", xlim=(-1, len(report["layers"])))
    axes.grid(axis="y", alpha=0.3)
    return _svg(figure)


def histograms(report: dict[str, Any]) -> str:
    """Float distribution of every activation, and the int8 range as a shaded band; empty text
    where nothing was calibrated."""
    shown = report["histograms"]
    if not shown:
        return ""
    rows = math.ceil(len(shown) / _HISTOGRAM_COLUMNS)
    figure = Figure(figsize=(11, 1.5 * rows), layout="constrained")
    grid = figure.subplots(rows, _HISTOGRAM_COLUMNS, squeeze=False).ravel()
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    for axes, item in zip(grid, shown, strict=False):
        width = (item["high"] - item["low"]) / len(item["counts"]) or 1.0
        edges = [item["low"] + i * width for i in range(len(item["counts"]) + 1)]
        axes.stairs([c + 0.5 for c in item["counts"]], edges, fill=True, color=_PALETTE[0])
        axes.axvspan(item["int8_low"], item["int8_high"], color=_PALETTE[1], alpha=0.15)
        axes.set_yscale("log")
        axes.set_yticks([])
        axes.tick_params(labelsize=6)
        axes.set_title(item["tensor"], fontsize=6)
    return _svg(figure)
