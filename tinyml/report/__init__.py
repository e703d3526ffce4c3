# SPDX-License-Identifier: Apache-2.0
"""The report of an export: plain data, a terminal page, and one self-contained HTML page."""

from tinyml.report.build import build_report
from tinyml.report.page import render_html
from tinyml.report.terminal import print_report

__all__ = ["build_report", "print_report", "render_html"]
