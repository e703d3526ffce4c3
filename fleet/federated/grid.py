# SPDX-License-Identifier: Apache-2.0
"""Flower's Grid over MQTT: each device is a node, strategies run unchanged.

Jobs go out one by one and replies are yielded as they come, so that a strategy which adds them up
needs memory for one, however many devices there are. A reply that cannot be used becomes an error
of its device; the round goes on. One deadline bounds all that a round waits for.
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fleet.federated.compat import RUN_ID, identify_process, name_message
from fleet.federated.jobs import BadReplyError, Collector, Parameters, parameters, train_job
from fleet.federated.layout import Layout
from fleet.wire import WireError, decode
from fleet.wire.messages import Reason, TrainJob, TrainReply

log = logging.getLogger("fleet.federated")

BAD_REPLY = 1001
NO_REPLY = 1002
# MQTT's and CBOR's own bytes around the weights in a packet.
OVERHEAD = 512
# A job that the broker does not take within this many seconds is not waited for.
SEND_S = 10.0


@dataclass(frozen=True)
class Node:
    """A device that can learn.

    Args:
        tenant, device: names.
        packet_bytes: largest MQTT packet that it takes.
        clips: whether it clips its change to a job's norm.
    """

    tenant: str
    device: str
    packet_bytes: int
    clips: bool = False

    @property
    def node_id(self) -> int:
        """First 63 bits of the SHA-256 of its name."""
        name = f"{self.tenant}/{self.device}".encode()
        return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1


class Exchange(Protocol):
    """How jobs reach devices and replies come back."""

    def nodes(self) -> Mapping[int, Node]:
        """Devices that are connected and learn this model, by node id."""

    def share(self, data: bytes) -> None:
        """Lets devices pull bytes by their SHA-256."""

    def send(self, node: Node, job: TrainJob, wait_s: float) -> bool:
        """Offers a job; False: there was no room for it within ``wait_s``."""

    def job_number(self) -> int:
        """A number that no device had before, nor will have after a restart."""

    def reply(self, wait_s: float) -> tuple[str, str, bytes] | None:
        """Tenant, device and bytes of the next reply, None when there is none in this time."""

    def broker_bytes(self, fresh: bool = False) -> tuple[int, int] | None:
        """What the broker received and sent since it began, by its own counters; None: there is no
        broker. It tells them from time to time; ``fresh`` waits for the next time."""


@dataclass
class Traffic:
    """Bytes of payload so far: parameters and masks that devices have, and arrays of replies.

    What a device pulls is counted when it answers, which it can only do with all of it. The
    broker's own counters include MQTT's bytes and what was sent in vain.
    """

    down: int = 0
    up: int = 0
    refused: int = 0
    answered: int = 0
    silent: int = 0


@dataclass
class _Open:
    """A job that is out.

    Args:
        pulls: bytes that the device fetches for it.
    """

    message: Message
    node: Node
    collector: Collector
    pulls: int


class MqttGrid(Grid):
    """Args:
    exchange: to the devices.
    layout: of the weights.
    abi: of the learner.
    refused: told of each reply that was not used, with the device and the reason.
    """

    def __init__(
        self,
        exchange: Exchange,
        layout: Layout,
        abi: int,
        refused: Callable[[str, str], None] = lambda device, why: None,
    ) -> None:
        identify_process()
        self._exchange = exchange
        self._layout = layout
        self._abi = abi
        self._refused = refused
        self._open: dict[tuple[str, str, int], _Open] = {}
        self._replies: dict[str, Message] = {}
        self._run = Run.create_empty(run_id=RUN_ID)
        self._shared: tuple[int, Parameters] | None = None
        self._offered: set[bytes] = set()
        self.round = 0
        self.traffic = Traffic()
        self._asked: list[int] | None = None
        self._contributors: list[str] = []

    def set_run(self, run: Run) -> None:
        """See Flower."""
        self._run = run

    @property
    def run(self) -> Run:
        """See Flower."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """See Flower; deprecated there."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Devices that are connected and learn this model, as they were when the round began:
        Flower asks twice, and waits for those that left in between."""
        return sorted(self._exchange.nodes()) if self._asked is None else self._asked

    def begin(self, number: int, choose: Callable[[list[int]], list[int]]) -> list[str]:
        """A round begins.

        Args:
            number: of it.
            choose: of the devices that are there, those that it may ask.

        Returns:
            A list that will name the devices whose replies are used.
        """
        self._asked = sorted(choose(sorted(self._exchange.nodes())))
        self.round = number
        self._contributors = []
        return self._contributors

    def ready(self) -> int:
        """Devices that are there now."""
        return len(self._exchange.nodes())

    def broker_bytes(self, fresh: bool = False) -> tuple[int, int] | None:
        """See `Exchange`."""
        return self._exchange.broker_bytes(fresh)

    def node(self, node_id: int) -> Node | None:
        """The device behind a node id."""
        return self._exchange.nodes().get(node_id)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Sends jobs; a device that is gone answers with an error."""
        return [self._push(message, None) for message in messages]

    def _push(self, message: Message, end: float | None) -> str:
        name = uuid.uuid4().hex
        name_message(message, name)
        node = self.node(message.metadata.dst_node_id)
        if node is None:
            self._fail(message, NO_REPLY, "the device is not connected", "unknown")
            return name
        shared = self._parameters(message.content)
        number = self._exchange.job_number()
        room = node.packet_bytes - OVERHEAD
        job = train_job(message, shared, number, self.round, self._abi, room)
        pulls = 0
        if job.data is None:
            pulls = len(shared.data) + len(shared.mask_data or b"")
            self._share(shared)
        key = (node.tenant, node.device, number)
        self._open[key] = _Open(message, node, Collector(job, self._layout, shared.mask), pulls)
        if self._exchange.send(node, job, _left(end, SEND_S)):
            self.traffic.down += len(job.data or b"") + len(job.mask or b"")
        else:
            del self._open[key]
            self._fail(message, NO_REPLY, "the broker did not take the job", node.device)
        return name

    def _share(self, shared: Parameters) -> None:
        for digest, data in (
            (shared.digest, shared.data),
            (shared.mask_digest, shared.mask_data),
        ):
            if digest is not None and data is not None and digest not in self._offered:
                self._exchange.share(data)
                self._offered.add(digest)

    def _parameters(self, content: RecordDict) -> Parameters:
        """Weights are packed once for all messages of a round, which share their record."""
        arrays = id(content.array_records.get("arrays"))
        if self._shared is None or self._shared[0] != arrays:
            self._shared = (arrays, parameters(content, self._layout))
            self._offered.clear()
        return self._shared[1]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies that are here."""
        while self._drain(0.0):
            pass
        return [self._replies.pop(i) for i in list(message_ids) if i in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Sends, and yields replies as they come, until all are here or the time is over.

        Devices that did not answer in time yield an error; what they send later is ignored. The
        time begins now, and sending is within it.
        """
        end = None if timeout is None else time.monotonic() + timeout
        return self._exchanged(messages, end)

    def _exchanged(self, messages: Iterable[Message], end: float | None) -> Iterator[Message]:
        waiting: set[str] = set()
        try:
            for message in messages:
                waiting.add(self._push(message, end))
                # What is answered meanwhile is not kept until all are asked.
                self._drain(0.0)
                yield from self._ready(waiting)
            while waiting and (end is None or time.monotonic() < end):
                self._drain(_left(end, 0.5))
                yield from self._ready(waiting)
            for open_ in self._forget(waiting):
                self.traffic.silent += 1
                self._fail(open_.message, NO_REPLY, "no answer in time", open_.node.device)
            yield from self._ready(waiting)
        finally:
            # Who asked may have had enough before all answered.
            self._forget(waiting)

    def _forget(self, waiting: set[str]) -> list[_Open]:
        """Jobs that are still out; their replies will be nobody's."""
        late = [k for k, o in self._open.items() if o.message.metadata.message_id in waiting]
        return [self._open.pop(key) for key in late]

    def _ready(self, waiting: set[str]) -> Iterator[Message]:
        for identifier in self._replies.keys() & waiting:
            waiting.discard(identifier)
            yield self._replies.pop(identifier)

    def _drain(self, wait_s: float) -> bool:
        """Takes one reply, or a part of one; False when there was none in this time."""
        found = self._exchange.reply(wait_s)
        if found is not None:
            self._take(*found)
        return found is not None

    def _take(self, tenant: str, device: str, payload: bytes) -> None:
        try:
            reply = decode(TrainReply, payload)
        except WireError as error:
            # Without a job number it belongs to no message; the device's own ends by time.
            self.traffic.refused += 1
            self._refused(device, f"no training reply: {error}")
            return
        key = (tenant, device, reply.job)
        open_ = self._open.get(key)
        if open_ is None:
            return  # of an earlier round or process
        self.traffic.up += len(reply.data or b"")
        if reply.reason is Reason.OK:
            self.traffic.down += open_.pulls
            open_.pulls = 0
        try:
            content = open_.collector.add(reply)
        except BadReplyError as error:
            del self._open[key]
            self._fail(open_.message, BAD_REPLY, str(error), device)
            return
        if content is not None:
            del self._open[key]
            self.traffic.answered += 1
            self._contributors.append(device)
            name = open_.message.metadata.message_id
            self._replies[name] = Message(content, reply_to=open_.message)

    def _fail(self, message: Message, code: int, why: str, device: str) -> None:
        if code == BAD_REPLY:
            self.traffic.refused += 1
        self._refused(device, why)
        self._replies[message.metadata.message_id] = Message(
            Error(code, f"{device}: {why}"), reply_to=message
        )


def _left(end: float | None, most: float) -> float:
    return most if end is None else max(0.0, min(most, end - time.monotonic()))
