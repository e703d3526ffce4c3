# SPDX-License-Identifier: Apache-2.0
"""The private parts of Flower are where compat.py expects them."""

from __future__ import annotations

from importlib.metadata import version

from flwr.app import Message, MessageType, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fleet.federated.compat import identify_process, name_message


def test_the_pinned_version_is_installed():
    assert version("flwr") == "1.41.0"


def test_messages_can_be_made_and_answered():
    identify_process()
    assert TaskIdentity.run_id >= 0
    message = Message(RecordDict(), 5, MessageType.TRAIN)
    name_message(message, "abc")
    assert message.metadata.message_id == "abc"
    assert Message(RecordDict(), reply_to=message).metadata.reply_to_message_id == "abc"


def test_an_identity_that_flower_gave_is_kept():
    identify_process()
    before = TaskIdentity.run_id
    TaskIdentity.run_id = 99
    identify_process()
    assert TaskIdentity.run_id == 99
    TaskIdentity.run_id = before
