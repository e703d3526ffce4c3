# SPDX-License-Identifier: Apache-2.0
"""Devices, twins, groups, releases, rollouts, telemetry and the audit trail, as JSON."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet.errors import InvalidError
from fleet.home import Home
from fleet.service import devices, groups, models, rollouts, telemetry, twins
from fleet.store import audit
from fleet.store.rollouts import plan_from_json

router = APIRouter(prefix="/api/v1")
ACTOR = "api"


def the_home(request: Request) -> Home:
    """The fleet that this application serves."""
    home: Home = request.app.state.home
    return home


HomeOf = Annotated[Home, Depends(the_home)]
Where = Annotated[tuple[str, ...], Query(description="condition, for example class=cortex-m4")]
Limit = Annotated[int, Query(ge=1, le=10_000)]


class Body(BaseModel):
    """Bodies refuse what they do not know."""

    model_config = ConfigDict(extra="forbid")


class NewDevices(Body):
    """Devices to register."""

    names: list[str] = Field(min_length=1, max_length=10_000)
    tags: dict[str, str] = {}


class Tags(Body):
    """Tags to set; null removes one."""

    tags: dict[str, str | None]


class TwinPatch(Body):
    """A merge patch of the desired state."""

    desired: dict[str, Any]
    expected_version: int | None = None


class NewGroup(Body):
    """A group with either members or conditions."""

    name: str
    conditions: list[str] = []
    members: list[str] = []


class NewRollout(Body):
    """A rollout; see `fleet rollout create --help` for the plan."""

    release: str
    conditions: list[str] = []
    plan: dict[str, Any] = {}
    dry_run: bool = False


class Call(Body):
    """A command to a device."""

    command: str


@router.get("/devices", tags=["devices"])
def list_devices(
    home: HomeOf,
    where: Where = (),
    after: str = "",
    limit: Limit = 1000,
) -> list[dict[str, Any]]:
    """Devices by name; the next page begins after the last name."""
    return devices.listed(home, home.config.tenant, where, after, limit)


@router.post("/devices", tags=["devices"], status_code=201)
def add_devices(home: HomeOf, body: NewDevices) -> list[dict[str, str]]:
    """Registers devices; the passwords are shown this once."""
    made = devices.add(home, home.config.tenant, body.names, ACTOR, tags=body.tags)
    return [{"device": c.device, "password": c.password} for c in made]


@router.get("/devices/{name}", tags=["devices"])
def show_device(home: HomeOf, name: str) -> dict[str, Any]:
    """All that is known of a device."""
    return devices.shown(home, home.config.tenant, name)


@router.post("/devices/{name}/revoke", tags=["devices"], status_code=204)
def revoke_device(home: HomeOf, name: str) -> Response:
    """Withdraws its credentials."""
    devices.revoke(home, home.config.tenant, name, ACTOR)
    return Response(status_code=204)


@router.patch("/devices/{name}/tags", tags=["devices"])
def tag_device(home: HomeOf, name: str, body: Tags) -> dict[str, str]:
    """Sets tags; returns all."""
    return devices.tag(home, home.config.tenant, name, body.tags, ACTOR)


@router.post("/devices/{name}/call", tags=["devices"], status_code=202)
def call_device(home: HomeOf, name: str, body: Call) -> dict[str, int]:
    """Asks a device to do something."""
    return {"call": devices.call(home, home.config.tenant, name, body.command, ACTOR)}


@router.get("/devices/{name}/twin", tags=["devices"])
def read_twin(home: HomeOf, name: str) -> dict[str, Any]:
    """Desired and reported state."""
    return twins.read(home, home.config.tenant, name)


@router.patch("/devices/{name}/twin", tags=["devices"])
def patch_twin(home: HomeOf, name: str, body: TwinPatch) -> dict[str, Any]:
    """Changes the desired state."""
    return twins.patch(home, home.config.tenant, name, body.desired, ACTOR, body.expected_version)


@router.get("/telemetry", tags=["devices"])
def read_telemetry(
    home: HomeOf, device: str = "", since: float = 0, limit: Limit = 100
) -> list[dict[str, Any]]:
    """The newest reports."""
    return telemetry.latest(home, home.config.tenant, device, since, limit)


@router.get("/groups", tags=["groups"])
def list_groups(home: HomeOf) -> list[dict[str, Any]]:
    """Groups and their sizes."""
    return groups.listed(home, home.config.tenant)


@router.post("/groups", tags=["groups"], status_code=201)
def create_group(home: HomeOf, body: NewGroup) -> dict[str, str]:
    """A new group."""
    groups.create(home, home.config.tenant, body.name, body.conditions, body.members, ACTOR)
    return {"group": body.name}


@router.delete("/groups/{name}", tags=["groups"], status_code=204)
def remove_group(home: HomeOf, name: str) -> Response:
    """Removes a group."""
    groups.remove(home, home.config.tenant, name, ACTOR)
    return Response(status_code=204)


@router.get("/models", tags=["models"])
def list_models(home: HomeOf) -> list[dict[str, Any]]:
    """Releases, newest first."""
    return models.listed(home, home.config.tenant)


@router.get("/models/{release}", tags=["models"])
def show_model(home: HomeOf, release: str) -> dict[str, Any]:
    """A release by NAME or NAME@VERSION, with the compiler's report."""
    return models.shown(home, home.config.tenant, release)


@router.get("/rollouts", tags=["rollouts"])
def list_rollouts(home: HomeOf) -> list[dict[str, Any]]:
    """Rollouts, newest first."""
    return rollouts.listed(home, home.config.tenant)


@router.post("/rollouts", tags=["rollouts"], status_code=201)
def create_rollout(home: HomeOf, body: NewRollout) -> dict[str, Any]:
    """A new rollout, ready to start; with dry_run, what it would be."""
    try:
        plan = plan_from_json(body.plan)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise InvalidError(f"plan: {where}: {first['msg']}") from None
    tenant = home.config.tenant
    if body.dry_run:
        return rollouts.preview(home, tenant, body.release, body.conditions, plan).as_json()
    number = rollouts.create(home, tenant, body.release, body.conditions, plan, ACTOR)
    return rollouts.status(home, tenant, number)


@router.get("/rollouts/{number}", tags=["rollouts"])
def show_rollout(home: HomeOf, number: int) -> dict[str, Any]:
    """One rollout: waves, counts, reasons."""
    return rollouts.status(home, home.config.tenant, number)


@router.get("/rollouts/{number}/devices", tags=["rollouts"])
def show_assignments(
    home: HomeOf, number: int, state: str = "", after: str = "", limit: Limit = 1000
) -> list[dict[str, Any]]:
    """The devices of a rollout."""
    return rollouts.assignments(home, home.config.tenant, number, state, after, limit)


@router.post("/rollouts/{number}/retry", tags=["rollouts"], status_code=201)
def retry_rollout(home: HomeOf, number: int) -> dict[str, int]:
    """A new rollout over the failures of an ended one."""
    return {"rollout": rollouts.retry(home, home.config.tenant, number, ACTOR)}


@router.post("/rollouts/{number}/rollback", tags=["rollouts"], status_code=201)
def roll_back(home: HomeOf, number: int) -> dict[str, int]:
    """A running rollout that takes devices back to their older model."""
    return {"rollout": rollouts.roll_back(home, home.config.tenant, number, ACTOR)}


@router.post("/rollouts/{number}/{command}", tags=["rollouts"])
def command_rollout(home: HomeOf, number: int, command: str) -> dict[str, Any]:
    """approve, deny, start, pause, resume or cancel."""
    if command not in rollouts.COMMANDS:
        raise InvalidError(
            f"{command} is no command of a rollout", f"There are {', '.join(rollouts.COMMANDS)}."
        )
    return rollouts.command(home, home.config.tenant, number, command, ACTOR)


@router.get("/audit", tags=["operation"])
def read_audit(
    home: HomeOf, after: int = 0, subject: str = "", limit: Limit = 1000
) -> list[dict[str, Any]]:
    """The audit trail, in order."""
    with home.store.read() as connection:
        return list(audit.entries(connection, after, subject, limit))


@router.get("/dead-letters", tags=["operation"])
def read_dead_letters(home: HomeOf, limit: Limit = 100) -> list[dict[str, Any]]:
    """Messages that could not be processed, newest first; payloads in base64."""
    with home.store.read() as connection:
        rows = telemetry.dead_letters(connection, limit)
    return [{**r, "payload": base64.b64encode(r["payload"]).decode()} for r in rows]
