# SPDX-License-Identifier: Apache-2.0
"""fleet model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fleet.artifacts.release import GOLDEN_INPUTS, from_export
from fleet.commands.common import (
    HomeOption,
    JsonOption,
    TenantOption,
    actor,
    console,
    open_home,
    print_json,
    print_table,
    tenant_of,
    text,
)
from fleet.domain.names import check_id
from fleet.service import models

model_app = typer.Typer(help="Publish and show releases of models.", no_args_is_help=True)

COLUMNS = ("name", "version", "sequence", "digest", "size", "classes", "created_at", "created_by")
Release = Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")]


@model_app.command("publish")
def publish(
    folder: Annotated[Path, typer.Argument(help="A folder made by `tinyml export`.")],
    version: Annotated[str, typer.Option(help="Default: the sequence number.")] = "",
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Hardware class; default the export's target; repeatable."),
    ] = None,
    golden: Annotated[
        int, typer.Option(help="Samples that devices must reproduce before they believe.")
    ] = GOLDEN_INPUTS,
    sensor: Annotated[
        list[str] | None, typer.Option(help="Kind of sensor it needs; repeatable.")
    ] = None,
    task: Annotated[str, typer.Option(help="What it does, for example image-classification.")] = "",
    description: Annotated[str, typer.Option(help="For people.")] = "",
    home: HomeOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign an exported model and keep it as a release, which never changes."""
    here = open_home(home)
    draft = replace(
        from_export(folder, classes or (), golden),
        sensors=tuple(check_id("kind of sensor", s) for s in sensor or ()),
        task=task,
        description=description,
    )
    made = models.publish(here, tenant_of(here, tenant), draft, version, actor())
    if as_json:
        print_json(made)
        return
    print(
        f"Published {made['name']}@{made['version']}, sequence {made['sequence']}: "
        f"{made['size']:,} B, SHA-256 {made['digest'][:16]}..., "
        f"{draft.golden_inputs} golden inputs, for {text('classes', made['classes'])}"
    )


@model_app.command("list")
def list_(
    home: HomeOption = None, tenant: TenantOption = None, as_json: JsonOption = False
) -> None:
    """Show releases, newest first."""
    here = open_home(home)
    rows = models.listed(here, tenant_of(here, tenant))
    print_table(rows, COLUMNS, "Nothing is published yet.", as_json)


@model_app.command("show")
def show(
    release: Release,
    home: HomeOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one release."""
    here = open_home(home)
    shown = models.shown(here, tenant_of(here, tenant), release)
    if as_json:
        print_json(shown)
        return
    facts = {k: v for k, v in shown.items() if k != "report"}
    for key, value in {**facts, **facts.pop("requirements")}.items():
        if key != "requirements" and value not in ("", []):
            console().print(f"{key.replace('_', ' '):18}{text('', value)}")


@model_app.command("flag")
def flag(
    release: Release,
    advisory: Annotated[str, typer.Option(help="Identifier, for example CVE-2026-1234.")],
    summary: Annotated[str, typer.Option(help="What is wrong.")],
    home: HomeOption = None,
    tenant: TenantOption = None,
) -> None:
    """Mark a release as faulty; queries then find the devices that run it."""
    here = open_home(home)
    models.flag(here, tenant_of(here, tenant), release, advisory, summary, actor())
    print(f"{release} is marked by {advisory}.")
