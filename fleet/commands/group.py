# SPDX-License-Identifier: Apache-2.0
"""fleet group."""

from __future__ import annotations

from typing import Annotated

import typer

from fleet.commands.common import (
    HomeOption,
    JsonOption,
    TenantOption,
    WhereOption,
    actor,
    open_home,
    print_table,
    tenant_of,
)
from fleet.service import groups

group_app = typer.Typer(help="Groups of devices.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The group.")]
Devices = Annotated[list[str] | None, typer.Argument(help="Devices.")]


@group_app.command("create")
def create(
    name: Name,
    members: Devices = None,
    where: WhereOption = None,
    home: HomeOption = None,
    tenant: TenantOption = None,
) -> None:
    """Make a group of these devices, or of all that fulfil conditions, now or later."""
    here = open_home(home)
    groups.create(here, tenant_of(here, tenant), name, where or [], members or [], actor())
    print(f"Made group {name}.")


@group_app.command("list")
def list_(
    home: HomeOption = None, tenant: TenantOption = None, as_json: JsonOption = False
) -> None:
    """Show groups."""
    here = open_home(home)
    rows = groups.listed(here, tenant_of(here, tenant))
    print_table(rows, ("group", "devices", "conditions"), "There are no groups.", as_json)


@group_app.command("add")
def add(
    name: Name, members: Devices = None, home: HomeOption = None, tenant: TenantOption = None
) -> None:
    """Put devices into a group."""
    here = open_home(home)
    groups.change(here, tenant_of(here, tenant), name, members or [], [], actor())


@group_app.command("remove")
def remove(
    name: Name, members: Devices = None, home: HomeOption = None, tenant: TenantOption = None
) -> None:
    """Take devices out of a group; without devices, remove the group."""
    here = open_home(home)
    if members:
        groups.change(here, tenant_of(here, tenant), name, [], members, actor())
    else:
        groups.remove(here, tenant_of(here, tenant), name, actor())
