# SPDX-License-Identifier: Apache-2.0
"""Options and output that commands share."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fleet.errors import InvalidError
from fleet.home import Home, home_folder

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="The fleet's home; default FLEET_HOME or ./fleet-home."),
]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", help="Whose; default the home's own tenant.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        help="Condition, may be repeated: class=cortex-m4, tag.site=hall-3, online=true, "
        "sequence<7, sensor=microphone, group=NAME.",
    ),
]


PIPE_COLUMNS = 200


def open_home(folder: Path | None) -> Home:
    """The home that a command means."""
    return Home(home_folder(folder))


def tenant_of(home: Home, chosen: str | None) -> str:
    """The tenant that a command means."""
    return chosen or home.config.tenant


def actor() -> str:
    """Who runs the command, for the audit trail."""
    try:
        return getpass.getuser()[:64]
    except (KeyError, OSError):
        return "unknown"


def console() -> Console:
    """For people."""
    # A pipe or a file has no width: tables must not be cut for it.
    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    return Console(highlight=False, markup=False, width=width)


def print_json(data: Any) -> None:
    """For programs."""
    print(json.dumps(data, indent=1, default=str))


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Iterable[str], empty: str, as_json: bool
) -> None:
    """Rows, as JSON or as a table of ``columns``."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        print(empty)
        return
    table = Table()
    for name in columns:
        table.add_column(name.replace("_", " "))
    for row in rows:
        table.add_row(*(text(name, row.get(name)) for name in columns))
    console().print(table)


def text(name: str, value: Any) -> str:
    """One value of a table."""
    if value is None:
        return "-"
    if name.endswith(("_at", "last_seen")):
        return ago(float(value))
    if name in ("digest", "model", "previous"):
        return str(value)[:12]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}={v}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def ago(at: float) -> str:
    """A time in the past."""
    seconds = max(time.time() - at, 0)
    if seconds < 120:
        return f"{seconds:.0f} s ago"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min ago"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def pairs(texts: Iterable[str], what: str) -> dict[str, str]:
    """NAME=VALUE options.

    Raises:
        InvalidError: there is no "=".
    """
    found = {}
    for one in texts:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise InvalidError(f"{one!r} is no {what}: write NAME=VALUE")
        found[name] = value
    return found
