# SPDX-License-Identifier: Apache-2.0
"""The private parts of Flower that a grid outside its own processes must touch; nothing else may.

Flower fills both when it runs a ServerApp. tests/fleet/federated/test_compat.py fails when a
release moves them.
"""

from __future__ import annotations

from flwr.app import Message
from flwr.supercore.task_identity import TaskIdentity

RUN_ID = 1
NODE_ID = 1
TASK_ID = 1


def identify_process() -> None:
    """Lets this process make Messages, unless Flower has already done so."""
    if TaskIdentity._run_id is None:
        TaskIdentity.run_id = RUN_ID
    if TaskIdentity._node_id is None:
        TaskIdentity.node_id = NODE_ID
    if TaskIdentity._task_id is None:
        TaskIdentity.task_id = TASK_ID


def name_message(message: Message, identifier: str) -> None:
    """Gives a message the identifier that its reply will name."""
    message.metadata.__dict__["_message_id"] = identifier
