# SPDX-License-Identifier: Apache-2.0
"""fleet rollout."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fleet.commands.common import (
    HomeOption,
    JsonOption,
    TenantOption,
    WhereOption,
    actor,
    console,
    open_home,
    print_json,
    print_table,
    tenant_of,
    text,
)
from fleet.domain.plan import Plan
from fleet.domain.rollout import ENDED, RolloutState
from fleet.errors import FleetError, InvalidError
from fleet.home import Home
from fleet.service import rollouts
from fleet.store.rollouts import plan_from_json

rollout_app = typer.Typer(help="Bring releases to devices, wave by wave.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(help="The rollout.")]
COLUMNS = ("rollout", "release", "action", "state", "wave", "waves", "devices", "states", "why")
WAIT_S = 0.5


@rollout_app.command("create")
def create(
    release: Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")],
    where: WhereOption = None,
    wave: Annotated[
        list[str] | None,
        typer.Option(
            help="5% or 10 (devices), then options: 5%:success=95:soak=600:pause. May be "
            "repeated; percent is of the devices that earlier waves left. Default 100%."
        ),
    ] = None,
    abort_percent: Annotated[
        float | None, typer.Option(help="Stop when this share of finished devices failed.")
    ] = None,
    abort_min: Annotated[
        int | None, typer.Option(help="... but not before this many have finished.")
    ] = None,
    keep_confirmed: Annotated[
        bool,
        typer.Option("--keep-confirmed", help="When it stops, do not take confirmed devices back."),
    ] = False,
    rate: Annotated[float | None, typer.Option(help="Offers a minute.")] = None,
    burst: Annotated[float | None, typer.Option(help="Offers at once.")] = None,
    growth: Annotated[float | None, typer.Option(help="Factor on the rate per wave.")] = None,
    jitter: Annotated[float | None, typer.Option(help="Spread the starts, seconds.")] = None,
    trial: Annotated[
        int | None, typer.Option(help="Seconds a device tries the model before confirming it.")
    ] = None,
    deadline: Annotated[float | None, typer.Option(help="Stop after this many seconds.")] = None,
    retries: Annotated[int | None, typer.Option(help="Of passing failures, per device.")] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Give a device up after this long without progress.")
    ] = None,
    approval: Annotated[
        bool, typer.Option("--approval", help="Someone else must approve it first.")
    ] = False,
    plan_file: Annotated[
        Path | None, typer.Option("--plan", help="TOML file with all of the plan.")
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="Start it at once.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show waves and who is left out; write nothing.")
    ] = False,
    home: HomeOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Plan a rollout. It begins with `fleet rollout start`."""
    data = _plan_data(plan_file)
    if wave:
        data["waves"] = [_wave(w) for w in wave]
    _set(data, ("abort", "percent"), abort_percent)
    _set(data, ("abort", "min_finished"), abort_min)
    _set(data, ("abort", "rollback"), False if keep_confirmed else None)
    _set(data, ("rate", "per_minute"), rate)
    _set(data, ("rate", "burst"), burst)
    _set(data, ("rate", "growth"), growth)
    _set(data, ("jitter_s",), jitter)
    _set(data, ("trial_s",), trial)
    _set(data, ("deadline_s",), deadline)
    _set(data, ("policy", "retries"), retries)
    _set(data, ("policy", "step_timeout_s"), timeout)
    _set(data, ("approval",), True if approval else None)
    plan = _plan(data)
    here = open_home(home)
    whose = tenant_of(here, tenant)
    if dry_run:
        _show_preview(rollouts.preview(here, whose, release, where or [], plan), as_json)
        return
    number = rollouts.create(here, whose, release, where or [], plan, actor())
    if start:
        rollouts.command(here, whose, number, "start", actor())
    _show(rollouts.status(here, whose, number), as_json)


def _plan_data(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidError(f"the plan {path} cannot be read: {error}") from None


def _set(data: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    if value is None:
        return
    for name in path[:-1]:
        data = data.setdefault(name, {})
    data[path[-1]] = value


def _wave(spec: str) -> dict[str, Any]:
    size, *options = spec.split(":")
    wave: dict[str, Any] = {}
    try:
        if size.endswith("%"):
            wave["percent"] = float(size[:-1])
        else:
            wave["count"] = int(size)
        for option in options:
            name, _, value = option.partition("=")
            if name == "success":
                wave["success"] = float(value)
            elif name == "soak":
                wave["soak_s"] = float(value)
            elif option in ("pause", "next"):
                wave["on_success"] = option
            else:
                raise ValueError
    except ValueError:
        raise InvalidError(
            f"{spec!r} is no wave", "Write for example 10, 5%, or 25%:success=95:soak=600:pause."
        ) from None
    return wave


def _plan(data: dict[str, Any]) -> Plan:
    try:
        return plan_from_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise InvalidError(f"the plan: {where}: {first['msg']}") from None


def _show_preview(shown: rollouts.Preview, as_json: bool) -> None:
    if as_json:
        print_json(shown.as_json())
        return
    print(f"{shown.release} would go to {sum(map(len, shown.waves))} devices:")
    for number, names in enumerate(shown.waves, start=1):
        some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        print(f"  wave {number}: {len(names)} devices  {some}")
    for name, why in shown.excluded.items():
        print(f"  left out: {name} {why}")
    if shown.left_over:
        print(f"  in no wave: {shown.left_over} devices")


@rollout_app.command("list")
def list_(
    home: HomeOption = None, tenant: TenantOption = None, as_json: JsonOption = False
) -> None:
    """Show rollouts, newest first."""
    here = open_home(home)
    rows = rollouts.listed(here, tenant_of(here, tenant))
    print_table(rows, COLUMNS, "There are no rollouts.", as_json)


@rollout_app.command("status")
def status(
    number: Number,
    devices: Annotated[bool, typer.Option("--devices", help="Show each device.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it until it ends or pauses.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="With --wait: give up after, seconds.")] = 86_400,
    home: HomeOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where a rollout stands."""
    here = open_home(home)
    whose = tenant_of(here, tenant)
    if wait:
        _follow(here, whose, number, timeout)
    shown = rollouts.status(here, whose, number)
    if devices:
        rows: list[dict[str, Any]] = []
        while page := rollouts.assignments(
            here, whose, number, after=rows[-1]["device"] if rows else ""
        ):
            rows += page
        if as_json:
            print_json({**shown, "assignments": rows})
            return
        columns = ("device", "wave", "state", "reason", "attempt", "offset", "updated_at")
        print_table(rows, columns, "", False)
    _show(shown, as_json)


def _follow(home: Home, tenant: str, number: int, timeout: float) -> None:
    still = {*(s.value for s in ENDED), RolloutState.PAUSED.value}
    end = time.monotonic() + timeout
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),  # so that --json stays clean
    ) as bars:
        task = bars.add_task("", total=None)
        while True:
            shown = rollouts.status(home, tenant, number)
            bars.update(
                task,
                description=f"rollout {number} {shown['state']}, "
                f"wave {shown['wave']} of {shown['waves']}",
                total=shown["devices"],
                completed=shown["states"].get("confirmed", 0),
            )
            if shown["state"] in still:
                return
            if time.monotonic() > end:
                raise FleetError(f"rollout {number} is {shown['state']} after {timeout:g} s")
            time.sleep(WAIT_S)


def _show(shown: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(shown)
        return
    why = f" ({shown['why']})" if shown["why"] else ""
    console().print(
        f"Rollout {shown['rollout']}: {shown['action']} {shown['release']} on "
        f"{shown['devices']} devices, {shown['state']}{why}"
    )
    rows = [
        {"wave": i, "devices": sum(c.values()), "states": c, "open": i <= shown["wave"]}
        for i, c in enumerate(shown["by_wave"], start=1)
    ]
    print_table(rows, ("wave", "open", "devices", "states"), "", False)
    if shown["reasons"]:
        console().print(f"Reasons: {text('', shown['reasons'])}")
    if shown["waiting_offline"]:
        console().print(f"{shown['waiting_offline']} devices wait to come online.")


def _command(name: str, help_: str) -> None:
    def run(
        number: Number,
        home: HomeOption = None,
        tenant: TenantOption = None,
        as_json: JsonOption = False,
    ) -> None:
        here = open_home(home)
        _show(rollouts.command(here, tenant_of(here, tenant), number, name, actor()), as_json)

    rollout_app.command(name, help=help_)(run)


_command("approve", "Agree to a rollout that someone else planned with --approval.")
_command("deny", "Refuse it.")
_command("start", "Begin a rollout that is ready.")
_command("pause", "Offer nothing new; devices that are at it go on.")
_command("resume", "Go on after a pause.")
_command("cancel", "End a rollout: waiting devices are left out, devices at it are told to stop.")


@rollout_app.command("retry")
def retry(
    number: Number,
    home: HomeOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Plan a new rollout over the devices of an ended one that failed."""
    here = open_home(home)
    whose = tenant_of(here, tenant)
    made = rollouts.retry(here, whose, number, actor())
    _show(rollouts.status(here, whose, made), as_json)


@rollout_app.command("rollback")
def rollback(
    number: Number,
    home: HomeOption = None,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the confirmed devices of an ended rollout back to the model they had; starts at once."""
    here = open_home(home)
    whose = tenant_of(here, tenant)
    made = rollouts.roll_back(here, whose, number, actor())
    _show(rollouts.status(here, whose, made), as_json)
