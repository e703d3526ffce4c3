# SPDX-License-Identifier: Apache-2.0
"""The report in a terminal."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table

MOST_COSTS = 12
NAIVE = ("repeat last value", "mean of context", "one context ago")


def print_report(report: dict[str, Any], console: Console) -> None:
    """Prints what a user wants to know first: does it fit, is it right, what does it cost."""
    target, memory, model = report["target"], report["memory"], report["model"]
    console.print(
        f"[bold]{model['name']}[/] for {target['name']}: {model['parameters']:,} parameters, "
        f"{model['macs']:,} MACs"
    )
    if model["provenance"].get("weights", "").startswith("seeded"):
        console.print("[yellow]The weights are random: this shows cost, not accuracy.[/]")

    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_row(
        "Flash",
        _used(memory["flash"], target["flash_bytes"]),
        f"weights {memory['weights']:,} B, code {memory['code']:,} B",
    )
    stack = memory["stack"]
    held = memory["regions"] or {"arena": memory["arena"]}
    parts = ", ".join(
        f"{n} {b:,} B" for n, b in (held | ({"stack": stack} if stack else {})).items()
    )
    facts.add_row("RAM", _used(memory["ram"], target["ram_bytes"]), parts)
    facts.add_row("", "", plan_text(memory))
    asked = model["code"]["patches"]
    if asked > 1:
        facts.add_row("Patches", f"{asked}", _patches(report))
    if report["instructions"] is not None:
        per_mac = report["instructions"] / max(model["macs"], 1)
        facts.add_row(
            "Instructions", f"{report['instructions']:,}", f"{per_mac:.2f} per MAC, exact"
        )
    if report["output_snr_db"] is not None:
        facts.add_row("Output SNR", f"{report['output_snr_db']:.1f} dB", "integers against float")
    if report["accuracy"]:
        accuracy = report["accuracy"]
        facts.add_row(
            "Accuracy",
            f"int8 {100 * accuracy['int8']:.2f} %"
            + (f", float {100 * accuracy['float']:.2f} %" if accuracy["float"] is not None else ""),
            f"{accuracy['samples']:,} samples of {accuracy['data']}",
        )
    if report.get("forecast"):
        _forecast_rows(facts, report["forecast"])
    sparse = report.get("sparse") or []
    if sparse:
        stored, dense = (sum(x[k] for x in sparse) for k in ("bytes", "dense_bytes"))
        facts.add_row(
            "Pruned", f"{len(sparse)} layers", f"{stored:,} B stored, {dense:,} B if dense"
        )
    console.print(facts)
    if report.get("sensitivity"):
        print_sensitivity(report["sensitivity"], console)
    print_checks(report["checks"], report["verified_on"], console)
    if "learn" in report:
        print_learning(report["learn"], report["target"], console)


def _patches(report: dict[str, Any]) -> str:
    """What patches save and cost, against the same model in one piece."""
    whole, memory = report["without_patches"], report["memory"]
    if whole is None:
        return "none made: no saving"
    if whole["arena"] is None:
        return "the target does not hold the model in one piece"
    arena = _planned(memory)
    text = f"arena {whole['arena']:,} B to {arena:,} B"
    if whole["instructions"] and report["instructions"]:
        more = 100 * (report["instructions"] / whole["instructions"] - 1)
        text += f", instructions {whole['instructions']:,} to {report['instructions']:,}"
        text += f" ({more:+.1f} %)"
    return text


def print_learning(learn: dict[str, Any], target: dict[str, Any], console: Console) -> None:
    """Prints what learning on the device takes."""
    trained = [x["name"] for x in learn["layers"] if x["trained"]]
    console.print(
        f"[bold]Learning[/] {learn['weight_count']:,} weights of {', '.join(trained)}: "
        f"{learn['loss']}, {learn['optimizer']}"
    )
    facts = Table(show_header=False, box=None, pad_edge=False)
    ram = learn["state_bytes"] + learn["work_bytes"]
    facts.add_row(
        "RAM",
        _used(ram, target["ram_bytes"]),
        f"state {learn['state_bytes']:,} B, work {learn['work_bytes']:,} B",
    )
    facts.add_row(
        "Flash",
        f"{learn['code_bytes'] + learn['weights_bytes']:,} B",
        f"weights {learn['weights_bytes']:,} B, code {learn['code_bytes']:,} B",
    )
    counted = learn["instructions"]
    if counted:
        more = ""
        if counted.get("int8_inference") and learn["backbone_nodes"]:
            more = (
                f", {100 * (counted['step'] / counted['int8_inference'] - 1):+.1f} % against int8"
            )
            more += " inference alone"
        facts.add_row(
            "Instructions",
            f"{counted['step']:,}",
            f"to learn one sample; to predict {counted['predict']:,}{more}",
        )
    worst = max(c["max_error"] for c in learn["checks"])
    where = ", ".join(c["runtime"].removeprefix("gradient, C on ") for c in learn["checks"])
    facts.add_row("Gradient", f"{worst:.1e}", f"largest relative difference, C on {where}")
    console.print(facts)


def plan_text(memory: dict[str, Any]) -> str:
    """How good the arena's plan is."""
    whole, arena, bound = memory["arena_unfused"], _planned(memory), memory["arena_lower_bound"]
    parts = []
    if whole > arena:
        parts.append(f"{whole:,} B with whole tensors")
    if memory["arena_proven"]:
        parts.append("no smaller plan exists for these steps")
    else:
        parts.append(f"{100 * (arena - bound) / bound:.1f} % above the live-set bound {bound:,} B")
    return "arena: " + "; ".join(parts)


def _planned(memory: dict[str, Any]) -> int:
    """Bytes of all activations, in however many memories."""
    return sum(memory["regions"].values()) or int(memory["arena"])


def _used(value: int, limit: int) -> str:
    return f"{value:,} B ({100 * value / limit:.0f} %)"


def _forecast_rows(facts: Table, forecast: dict[str, Any]) -> None:
    samples = f"{forecast['samples']:,} windows of {forecast['data']}"
    ratio = forecast["snr_db"]
    shown = "equal" if ratio is None else f"{ratio:.1f} dB"
    facts.add_row("Forecast SNR", shown, "C against float, in each series' own deviations")
    errors = f"C {forecast['c']['mse']:.4g}, float {forecast['float']['mse']:.4g}"
    facts.add_row("Forecast MSE", errors, samples)
    naive = (f"{name} {forecast[name]['mse']:.4g}" for name in NAIVE)
    facts.add_row("", ", ".join(naive), "naive rules on the same windows")


def print_sensitivity(rows: list[dict[str, Any]], console: Console) -> None:
    """Prints the layers that cost most, and what all layers come to."""
    table = Table(
        title="What layers cost, dearest first",
        title_justify="left",
        caption=f"All {len(rows)} layers and inputs as they are: {_together_text(rows)} on a few "
        "calibration samples",
        caption_justify="left",
    )
    for heading in (
        "layer",
        "operator",
        "type",
        "share",
        "alone",
        "weights alone",
        "all, if int16",
    ):
        left = heading in ("layer", "operator", "type")
        table.add_column(heading, justify="left" if left else "right", overflow="fold")
    dearest = sorted(rows, key=lambda r: -r["share"])[:MOST_COSTS]
    for row in dearest:
        table.add_row(
            row["name"],
            row["op"],
            row["dtype"],
            f"{100 * row['share']:.1f} %",
            decibels_text(_alone(row)),
            decibels_text(row["snr_weights_db"]),
            decibels_text(row["raised_output_db"]),
        )
    console.print(table)


def _alone(row: dict[str, Any]) -> float | None:
    """The ratio if the layer's output alone were rounded, to its type."""
    found: float | None = row["snr_int16_db"] if row["dtype"] == "int16" else row["snr_int8_db"]
    return found


def _together_text(rows: list[dict[str, Any]]) -> str:
    """The ratio of all layers' noise: noises of different layers add."""
    ratios = [r for row in rows for r in (_alone(row), row["snr_weights_db"]) if r is not None]
    return decibels_text(-10 * math.log10(sum(10 ** (-r / 10) for r in ratios)) if ratios else None)


def decibels_text(value: float | None) -> str:
    """A ratio, or a dash where there is none."""
    return "-" if value is None else f"{value:.1f} dB"


def difference_text(check: dict[str, Any]) -> str:
    """What a check found in words."""
    if check["max_lsb"] == 0:
        return "equal"
    mean = check.get("rms_lsb")
    return f"{check['max_lsb']} LSB" + ("" if mean is None else f", RMS {mean:.1f}")


def bound_text(check: dict[str, Any]) -> str:
    """A check's bound in words."""
    allowed = check["allowed_lsb"]
    if check.get("allowed_rms_lsb") is not None:
        return f"RMS {check['allowed_rms_lsb']:.1f} LSB"
    if allowed is None:
        return "reported"
    return "equal" if allowed == 0 else f"{allowed} LSB"


def print_checks(checks: list[dict[str, Any]], source: str, console: Console) -> None:
    """Prints the verification table."""
    table = Table(title=f"Verified against the integer reference on {source}", title_justify="left")
    for heading in ("runtime", "compared", "samples", "largest difference", "bound"):
        table.add_column(heading, justify="right" if heading == "samples" else "left")
    for check in checks:
        found = difference_text(check)
        table.add_row(
            check["runtime"],
            check["scope"],
            str(check["samples"]),
            "[green]equal[/]" if found == "equal" else found,
            bound_text(check),
        )
    console.print(table)
