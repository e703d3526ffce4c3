# SPDX-License-Identifier: Apache-2.0
"""Messages to devices, as rows for the outgoing queue."""

from __future__ import annotations

import time

from sqlalchemy.engine import RowMapping

from fleet.domain.assignment import Action, Assignment
from fleet.domain.plan import Plan
from fleet.domain.twin import Twin
from fleet.store.queues import Outgoing
from fleet.wire import topics
from fleet.wire.messages import Job, JobAction, RpcCommand, RpcRequest, TwinDesired

# A device that comes back says hello and is told again, so these need not outlive a short outage.
LIFETIME_S = 3600.0


def desired(tenant: str, device: str, twin: Twin) -> Outgoing:
    """The whole desired state."""
    message = TwinDesired(
        version=twin.version,
        report_interval_s=twin.desired.get("report_interval_s"),
        time_s=int(time.time()),
        properties=twin.desired.get("properties"),
    )
    return Outgoing(topics.down(tenant, device, "twin"), message.encode(), LIFETIME_S)


def job(
    tenant: str, device: str, assignment: Assignment, plan: Plan, release: RowMapping
) -> Outgoing:
    """The assignment as the device must see it."""
    now = int(time.time())
    if assignment.action is Action.INSTALL:
        message = Job(
            job=assignment.job,
            action=JobAction.INSTALL,
            manifest=release["manifest"],
            grant=release["authority"],
            soak_s=plan.trial_s,
            time_s=now,
        )
    else:
        message = Job(
            job=assignment.job,
            action=JobAction.ROLLBACK,
            digest=bytes.fromhex(assignment.digest),
            time_s=now,
        )
    return Outgoing(topics.down(tenant, device, "job"), message.encode(), LIFETIME_S)


def cancel(tenant: str, device: str, number: int) -> Outgoing:
    """Ends a job."""
    message = Job(job=number, action=JobAction.CANCEL)
    return Outgoing(topics.down(tenant, device, "job"), message.encode(), LIFETIME_S)


def rebirth(tenant: str, device: str) -> Outgoing:
    """Asks for the hello again; the answer is of no interest, the hello is."""
    message = RpcRequest(call=0, command=RpcCommand.REBIRTH)
    return Outgoing(topics.down(tenant, device, "rpc"), message.encode(), 10.0)
