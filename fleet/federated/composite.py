# SPDX-License-Identifier: Apache-2.0
"""MQTT devices and the SuperNodes of a Flower SuperLink in the same rounds."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from fleet.errors import FleetError
from fleet.federated.grid import BAD_REPLY, NO_REPLY, MqttGrid, Node, Traffic
from fleet.federated.jobs import ARRAYS, CONFIG, DELTA, GRADIENTS, METRICS, TRAIN, BadReplyError
from fleet.federated.layout import Layout

# Between two questions to the SuperLink.
POLL_S = 0.5
# All replies of a round need the same metrics: Flower's strategies give up the round otherwise.
COMMON = ("num-examples", "loss")


class CompositeGrid(Grid):
    """Args:
    flower: the grid that Flower hands to a ServerApp.
    devices: ours.
    layout: of the weights, the same for both.
    classifies: replies have an ``accuracy`` too.
    refused: told of each reply of a SuperNode that was not used, and why.
    """

    def __init__(
        self,
        flower: Grid,
        devices: MqttGrid,
        layout: Layout,
        classifies: bool = False,
        refused: Callable[[str, str], None] = lambda node, why: None,
    ) -> None:
        self._flower = flower
        self._devices = devices
        self._layout = layout
        self._metrics = (*COMMON, "accuracy") if classifies else COMMON
        self._refused = refused
        # Every SuperNode that was ever there: a message for one that left is still theirs.
        self._supernodes: set[int] = set()
        self._asked: list[int] | None = None
        self._contributors: list[str] = []

    def set_run(self, run: Run) -> None:
        """See Flower."""
        self._flower.set_run(run)
        self._devices.set_run(run)

    @property
    def run(self) -> Run:
        """Flower's."""
        return self._flower.run

    @property
    def traffic(self) -> Traffic:
        """Of both kinds; a SuperNode's is that of its arrays."""
        return self._devices.traffic

    def begin(self, number: int, choose: Callable[[list[int]], list[int]]) -> list[str]:
        """See `MqttGrid`; ``choose`` is given both kinds."""
        there, chosen = self.supernodes(), set[int]()

        def both(devices: list[int]) -> list[int]:
            chosen.update(choose([*there, *devices]))
            return [node for node in devices if node in chosen]

        self._contributors = self._devices.begin(number, both)
        self._asked = [node for node in there if node in chosen]
        return self._contributors

    def ready(self) -> int:
        """Devices that are there now."""
        return self._devices.ready()

    def broker_bytes(self, fresh: bool = False) -> tuple[int, int] | None:
        """Of the devices' broker."""
        return self._devices.broker_bytes(fresh)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """See Flower; deprecated there."""
        return self._devices.create_message(content, message_type, dst_node_id, group_id, ttl)

    def node(self, node_id: int) -> Node | None:
        """The device behind a node id; None for a SuperNode."""
        return self._devices.node(node_id)

    def supernodes(self) -> list[int]:
        """Node ids of the SuperNodes that are connected."""
        found = sorted(self._flower.get_node_ids())
        self._supernodes.update(found)
        return found

    def get_node_ids(self) -> Iterable[int]:
        """Both kinds of nodes, as they were when the round began."""
        theirs = self.supernodes() if self._asked is None else self._asked
        return [*theirs, *self._devices.get_node_ids()]

    def wait_for(self, count: int, timeout_s: float) -> None:
        """Waits until so many SuperNodes are connected.

        Raises:
            FleetError: they did not come.
        """
        end = time.monotonic() + timeout_s
        while len(self.supernodes()) < count:
            if time.monotonic() > end:
                raise FleetError(
                    f"{len(self.supernodes())} of {count} SuperNodes are connected",
                    "Start them with flower-supernode, or lower superlink.nodes in the plan.",
                )
            time.sleep(POLL_S)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Each to its own grid."""
        theirs, ours = self._split(messages)
        pushed = list(self._flower.push_messages(theirs)) if theirs else []
        return [*pushed, *self._devices.push_messages(ours)]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """From both."""
        names = list(message_ids)
        return [*self._devices.pull_messages(names), *self._flower.pull_messages(names)]

    def _split(self, messages: Iterable[Message]) -> tuple[list[Message], list[Message]]:
        theirs: list[Message] = []
        ours: list[Message] = []
        for message in messages:
            is_theirs = message.metadata.dst_node_id in self._supernodes
            (theirs if is_theirs else ours).append(message)
        return theirs, ours

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Both work at the same time, replies are yielded as they come, the deadline is one.

        A SuperNode that did not answer, or whose reply is not of this model, yields an error.
        """
        theirs, ours = self._split(messages)
        end = None if timeout is None else time.monotonic() + timeout
        # A thread: the SuperLink may be slow or gone, which devices shall not notice.
        asked = _Asked(self._flower, theirs, end)
        for message in self._devices.send_and_receive(ours, timeout=timeout):
            yield self._same(message)
            yield from map(self._judged, asked.here())
        yield from map(self._judged, asked.rest())
        for message, why in asked.silent():
            self.traffic.silent += 1
            yield self._error(message, NO_REPLY, why)

    def _same(self, message: Message) -> Message:
        """Without metrics that only devices have."""
        if not message.has_error():
            record = message.content.metric_records[METRICS]
            for name in set(record) - set(self._metrics):
                del record[name]
        return message

    def _judged(self, pair: tuple[Message, Message]) -> Message:
        message, reply = pair
        self.traffic.down += _bytes(message.content)
        if reply.has_error():
            why = reply.error.reason or f"Flower's error {reply.error.code}"
            return self._error(message, BAD_REPLY, why.strip().splitlines()[-1])
        self.traffic.up += _bytes(reply.content)
        try:
            content = accepted(message, reply.content, self._layout, self._metrics)
        except BadReplyError as error:
            return self._error(message, BAD_REPLY, str(error))
        self.traffic.answered += 1
        self._contributors.append(name_of(message))
        return Message(content, reply_to=message)

    def _error(self, message: Message, code: int, why: str) -> Message:
        if code == BAD_REPLY:
            self.traffic.refused += 1
        self._refused(name_of(message), why)
        return Message(Error(code, f"{name_of(message)}: {why}"), reply_to=message)


class _Asked:
    """Messages that are out to SuperNodes, in a thread of their own until ``end``."""

    def __init__(self, flower: Grid, messages: list[Message], end: float | None) -> None:
        self._flower = flower
        self._messages = messages
        self._end = end
        self._waiting: dict[str, Message] = {}
        self._replies: queue.SimpleQueue[tuple[Message, Message]] = queue.SimpleQueue()
        self._why = "no answer in time"
        self._unanswered = list(messages)
        self._thread = threading.Thread(target=self._work, name="superlink", daemon=True)
        if messages:
            self._thread.start()

    def _over(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end

    def _work(self) -> None:
        try:
            names = list(self._flower.push_messages(self._messages))
            # Flower names None what it could not push.
            self._waiting = {n: m for n, m in zip(names, self._messages, strict=False) if n}
            while self._waiting and not self._over():
                for reply in list(self._flower.pull_messages(list(self._waiting))):
                    message = self._waiting.pop(reply.metadata.reply_to_message_id, None)
                    if message is not None:
                        self._replies.put((message, reply))
                time.sleep(POLL_S if self._waiting else 0)
        except Exception as error:
            self._why = f"the SuperLink failed: {type(error).__name__}: {error}"

    def here(self) -> Iterator[tuple[Message, Message]]:
        """Messages whose replies have come, with them."""
        while not self._replies.empty():
            found = self._replies.get()
            self._unanswered.remove(found[0])
            yield found

    def rest(self) -> Iterator[tuple[Message, Message]]:
        """The same as they come, until all are here or the time is over."""
        while self._thread.is_alive() and not self._over():
            yield from self.here()
            self._thread.join(0.1)
        # One question may still be under way.
        if self._thread.is_alive():
            self._thread.join(2 * POLL_S)
        yield from self.here()

    def silent(self) -> Iterator[tuple[Message, str]]:
        """Messages without a reply, and why."""
        for message in self._unanswered:
            yield message, self._why


def name_of(message: Message) -> str:
    """A SuperNode as the audit trail and the graph name it."""
    return f"supernode-{message.metadata.dst_node_id}"


def accepted(
    message: Message, content: RecordDict, layout: Layout, metrics: tuple[str, ...]
) -> RecordDict:
    """A SuperNode's reply as a device would have given it.

    Args:
        message: that it answers.
        metrics: that it must have; others are left out.

    Raises:
        BadReplyError: it is not of this model, not finite, or lacks something; says what.
    """
    made = RecordDict({METRICS: _metrics(content, metrics)})
    if message.metadata.message_type.split(".")[0] != TRAIN:
        return made
    config: Mapping[str, Any] = message.content.config_records.get(CONFIG, {})
    if config.get("answer", "weights") == "delta":
        made[DELTA] = _sparse(content, DELTA, layout.size)
    else:
        if len(content.array_records) != 1 and ARRAYS not in content.array_records:
            raise BadReplyError(
                f"it has {len(content.array_records)} array records, none named '{ARRAYS}'"
            )
        record = content.array_records.get(ARRAYS) or next(iter(content.array_records.values()))
        try:
            vector = layout.vector(record)
        except (ValueError, KeyError, TypeError) as error:
            raise BadReplyError(str(error)) from None
        if not np.all(np.isfinite(vector)):
            raise BadReplyError("a weight is not finite")
        made[ARRAYS] = layout.record(vector)
    if config.get("top-gradients"):
        made[GRADIENTS] = _sparse(content, GRADIENTS, layout.size)
    return made


def _metrics(content: RecordDict, wanted: tuple[str, ...]) -> MetricRecord:
    found: dict[str, Any] = {}
    for record in content.metric_records.values():
        found.update(record)
    made = MetricRecord()
    for name in wanted:
        value = found.get(name)
        if not isinstance(value, int | float):
            raise BadReplyError(f"the metric '{name}' is missing")
        if not np.isfinite(value) or (name == "num-examples" and value <= 0):
            raise BadReplyError(f"the metric '{name}' is {value}")
        made[name] = value
    return made


def _sparse(content: RecordDict, name: str, size: int) -> ArrayRecord:
    record = content.array_records.get(name)
    if record is None or {"positions", "values"} - set(record):
        raise BadReplyError(f"an array record '{name}' with positions and values is missing")
    positions, values = record["positions"].numpy(), record["values"].numpy()
    if positions.ndim != 1 or positions.shape != values.shape:
        raise BadReplyError(f"'{name}' has {positions.shape} positions and {values.shape} values")
    if not np.issubdtype(positions.dtype, np.integer) or not np.all(np.isfinite(values)):
        raise BadReplyError(f"'{name}' has positions or values that are no numbers")
    if len(positions) and (
        positions[0] < 0 or positions[-1] >= size or np.any(np.diff(positions) <= 0)
    ):
        raise BadReplyError(f"positions of '{name}' are not ascending within {size}")
    return ArrayRecord(
        {
            "positions": Array(positions.astype(np.int64)),
            "values": Array(values.astype(np.float32)),
        }
    )


def _bytes(content: RecordDict) -> int:
    """Of its values, without Flower's headers."""
    return sum(a.numpy().nbytes for r in content.array_records.values() for a in r.values())
