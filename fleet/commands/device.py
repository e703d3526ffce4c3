# SPDX-License-Identifier: Apache-2.0
"""fleet device, fleet twin, fleet telemetry."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.commands.common import (
    HomeOption,
    JsonOption,
    TenantOption,
    WhereOption,
    actor,
    console,
    open_home,
    pairs,
    print_json,
    print_table,
    tenant_of,
    text,
)
from fleet.errors import FleetError, InvalidError
from fleet.keys import write_private
from fleet.service import devices, telemetry, twins
from fleet.service.devices import Credential

device_app = typer.Typer(help="Register, show and revoke devices.", no_args_is_help=True)
twin_app = typer.Typer(help="Desired and reported state of devices.", no_args_is_help=True)
telemetry_app = typer.Typer(help="What devices report.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The device.")]
COLUMNS = ("device", "state", "online", "last_seen", "class", "firmware", "model", "tags")


@device_app.command("add")
def add(
    names: Annotated[list[str] | None, typer.Argument(help="a-z, 0-9 and hyphens.")] = None,
    count: Annotated[int, typer.Option(min=0, help="Add this many, PREFIX00001 and up.")] = 0,
    prefix: Annotated[str, typer.Option(help="Of their names.")] = "sim-",
    certificate: Annotated[
        bool, typer.Option("--certificate", help="A client certificate instead of a password.")
    ] = False,
    tag: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be repeated.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File for passwords (appended to), or folder for certificates."),
    ] = None,
    home: HomeOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register devices and make their credentials, which are shown this once."""
    wanted = [*(names or []), *(f"{prefix}{n:05d}" for n in range(1, count + 1))]
    if not wanted:
        raise InvalidError("name a device, or give --count")
    if certificate and out is None:
        raise InvalidError("--certificate needs --out FOLDER for certificates and keys")
    here = open_home(home)
    made = devices.add(
        here,
        tenant_of(here, tenant),
        wanted,
        actor(),
        "certificate" if certificate else "password",
        pairs(tag or [], "tag"),
    )
    hand_over(made, out, as_json)


def hand_over(made: list[Credential], out: Path | None, as_json: bool) -> None:
    """Gives credentials to the user: into ``out``, or on the screen."""
    written = ""
    if out is not None and made[0].certificate:
        for one in made:
            write_private(out / f"{one.device}.key", one.key)
            write_private(out / f"{one.device}.pem", one.certificate)
        written = f"certificates and keys in {out}/"
    elif out is not None:
        lines = "".join(f"{c.tenant} {c.device} {c.password}\n" for c in made)
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(lines)
        written = f"passwords in {out}"
    if as_json:
        shown = [{"tenant": c.tenant, "device": c.device} for c in made]
        if not written:
            shown = [{**s, "password": c.password} for s, c in zip(shown, made, strict=True)]
        print_json(shown)
    elif written:
        print(f"Added {len(made)} device{'s' if len(made) != 1 else ''}: {written}")
    else:
        print_table(
            [{"device": c.device, "password": c.password} for c in made],
            ("device", "password"),
            "",
            False,
        )
        print("The passwords are shown this once.")


@device_app.command("list")
def list_(
    where: WhereOption = None,
    home: HomeOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show devices."""
    here = open_home(home)
    rows = devices.listed(here, tenant_of(here, tenant), where or [])
    empty = "No device fulfils these conditions." if where else "There are no devices yet."
    print_table(rows, COLUMNS, empty, as_json)


@device_app.command("show")
def show(
    name: Name, home: HomeOption = None, tenant: TenantOption = None, as_json: JsonOption = False
) -> None:
    """Show all that is known of a device."""
    here = open_home(home)
    shown = devices.shown(here, tenant_of(here, tenant), name)
    if as_json:
        print_json(shown)
        return
    for key, value in shown.items():
        if key in ("twin", "rollouts"):
            continue
        console().print(f"{key.replace('_', ' '):18}{text(key, value)}")
    twin = shown["twin"]
    sync = "in sync" if twin["in_sync"] else f"applied {twin['applied']}: {twin['reason']}"
    console().print(f"{'twin':18}version {twin['version']}, {sync}")
    for row in shown["rollouts"]:
        console().print(
            f"{'rollout':18}{row['rollout']}: wave {row['wave']}, {row['state']} {row['reason']}"
        )


@device_app.command("revoke")
def revoke(name: Name, home: HomeOption = None, tenant: TenantOption = None) -> None:
    """Withdraw a device's credentials and end its connection."""
    here = open_home(home)
    devices.revoke(here, tenant_of(here, tenant), name, actor())
    print(f"{name} can no longer connect. fleet device rotate {name} lets it back in.")


@device_app.command("rotate")
def rotate(
    name: Name,
    out: Annotated[Path | None, typer.Option(help="As for fleet device add.")] = None,
    home: HomeOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a device new credentials; the old ones end. A revoked device is let back in."""
    here = open_home(home)
    made = devices.rotate(here, tenant_of(here, tenant), name, actor())
    if made.certificate and out is None:
        out = Path()
    hand_over([made], out, as_json)


@device_app.command("tag")
def tag(
    name: Name,
    tags: Annotated[list[str], typer.Argument(help="NAME=VALUE; NAME= removes one.")],
    home: HomeOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set or remove tags."""
    here = open_home(home)
    changes: dict[str, str | None] = {k: v or None for k, v in pairs(tags, "tag").items()}
    kept = devices.tag(here, tenant_of(here, tenant), name, changes, actor())
    if as_json:
        print_json(kept)
    else:
        print(text("tags", kept) or "no tags")


@device_app.command("call")
def call(
    name: Name,
    command: Annotated[str, typer.Argument(help="ping, rebirth, report, reboot, ...")],
    home: HomeOption = None,
    tenant: TenantOption = None,
) -> None:
    """Ask a device to do something; its answer comes to the audit trail."""
    here = open_home(home)
    number = devices.call(here, tenant_of(here, tenant), name, command, actor())
    print(f"Call {number}. The answer: fleet audit tail")


@twin_app.command("get")
def twin_get(name: Name, home: HomeOption = None, tenant: TenantOption = None) -> None:
    """Show desired and reported state as JSON."""
    here = open_home(home)
    print_json(twins.read(here, tenant_of(here, tenant), name))


@twin_app.command("set")
def twin_set(
    name: Name,
    values: Annotated[
        list[str],
        typer.Argument(
            help="report_interval_s=N, or properties.NAME=VALUE (JSON, else text; null removes)."
        ),
    ],
    expected: Annotated[
        int | None, typer.Option(help="Refuse unless the twin has this version.")
    ] = None,
    home: HomeOption = None,
    tenant: TenantOption = None,
) -> None:
    """Change the desired state."""
    patch: dict[str, Any] = {}
    for path, raw in pairs(values, "value").items():
        try:
            value = json.loads(raw)
        except ValueError:
            value = raw
        *parents, last = path.split(".")
        place = patch
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    here = open_home(home)
    print_json(twins.patch(here, tenant_of(here, tenant), name, patch, actor(), expected))


@telemetry_app.command("tail")
def telemetry_tail(
    device: Annotated[str, typer.Argument(help="Only of this device.")] = "",
    count: Annotated[int, typer.Option("-n", min=1, help="How many of the past.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Wait for more.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Lines for people instead.")] = False,
    home: HomeOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the newest reports, one a line."""
    here = open_home(home)
    whose = tenant_of(here, tenant)
    if logs:
        if follow:
            raise FleetError("--follow is for reports", "Leave --logs out.")
        columns = ("device", "received_at", "severity", "text")
        print_table(telemetry.logs(here, whose, device, count), columns, "No lines.", as_json)
        return
    since = 0.0
    while True:
        rows = telemetry.latest(here, whose, device, since, count)
        for row in rows:
            since = max(since, row["received_at"])
            print(json.dumps(row) if as_json else _line(row), flush=True)
        if not follow:
            if not rows:
                print("[]" if as_json else "No reports yet.")
            return
        count = 10_000
        time.sleep(0.5)


def _line(row: dict[str, Any]) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(row["received_at"]))
    rest = {k: v for k, v in row.items() if k not in ("device", "received_at", "boot_id", "seq")}
    return f"{clock} {row['device']}  {text('', rest)}"
