# SPDX-License-Identifier: Apache-2.0
"""Reading an export folder back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinyml.errors import TinymlError
from tinyml.importers.tflite import import_tflite
from tinyml.ir.graph import Graph
from tinyml.ir.scaling import scaling_from_json
from tinyml.passes import attach_scaling, c_passes, run_passes
from tinyml.runtimes.compiled import Feed
from tinyml.series import standardised
from tinyml.targets import Target, target_from_json


@dataclass(frozen=True)
class Export:
    """An export folder.

    Args:
        report: report.json.
        target: the board it was made for.
        graph: the int8 graph, read from model.tflite.
        c_graph: the same as the C writer takes it.
        feeds: the stored samples, integers by input name.
        c_feeds: the same as the C is given them: for a forecaster raw series.
    """

    report: dict[str, Any]
    target: Target
    graph: Graph
    c_graph: Graph
    feeds: list[Feed]
    c_feeds: list[Feed]


def read_report(folder: Path) -> dict[str, Any]:
    """The report of an export: see `tinyml.report.build_report` for its contents.

    Raises:
        TinymlError: the folder is no export, or its report is damaged.
    """
    path = folder / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TinymlError(
            f"{folder} is no export: it has no report.json", "Make one with tinyml export."
        ) from None
    except (OSError, ValueError) as error:
        raise TinymlError(f"{path} is damaged: {error}", "Export the model again.") from None
    if not isinstance(report, dict) or not {"files", "memory", "model", "target"} <= set(report):
        raise TinymlError(f"{path} is no report of an export", "Export the model again.")
    return report


def open_export(folder: Path) -> Export:
    """Reads an export and checks that no file was changed since it was made.

    Raises:
        TinymlError: it is no export, or a file is missing, damaged or changed.
    """
    report = read_report(folder)
    name, target = report["model"]["name"], target_from_json(report["target"])
    for relative, facts in report["files"].items():
        file = folder / relative
        if not file.is_file():
            raise TinymlError(f"{file} is missing", "Export the model again.")
        if hashlib.sha256(file.read_bytes()).hexdigest() != facts["sha256"]:
            raise TinymlError(f"{file} was changed after the export", "Export the model again.")
    graph = import_tflite(folder / "model.tflite", name)
    with np.load(folder / "samples.npz", allow_pickle=False) as stored:
        columns = {n: stored[n] for n in graph.inputs}
    batch = {n: graph.tensors[n].shape[0] for n in columns}
    count = min(len(a) // batch[n] for n, a in columns.items())
    c_feeds: list[Feed] = [
        {n: a[i * batch[n] : (i + 1) * batch[n]] for n, a in columns.items()} for i in range(count)
    ]
    if report.get("scaling") is not None:
        graph.scaling = scaling_from_json(report["scaling"])
    asked = report["model"].get("code", {})
    passes = c_passes(
        keep_channels=asked.get("keep_channels", False),
        patches=asked.get("patches", 1),
        isa=target.isa,
    )
    c_graph = attach_scaling(run_passes(graph, passes))
    feeds: list[Feed] = [standardised(graph, c_graph, f) for f in c_feeds]
    return Export(report, target, graph, c_graph, feeds, c_feeds)
