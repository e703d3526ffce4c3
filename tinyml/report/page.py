# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML page with nothing outside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tinyml.report import plots
from tinyml.report.terminal import bound_text, decibels_text, difference_text


def render_html(report: dict[str, Any]) -> str:
    """The page of a report made by `build_report`."""
    template = (Path(__file__).parent / "page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["thousands"] = lambda v: "-" if v is None else f"{v:,}"
    environment.filters["bound"] = bound_text
    environment.filters["difference"] = difference_text
    environment.filters["decibels"] = decibels_text
    pictures = {
        "arena": plots.arena(report),
        "snr": plots.snr(report),
        "sensitivity": plots.sensitivity(report),
        "instructions": plots.instructions(report),
        "histograms": plots.histograms(report),
    }
    safe = {k: Markup(v) for k, v in pictures.items()}
    return environment.from_string(template).render(r=report, pictures=safe)
