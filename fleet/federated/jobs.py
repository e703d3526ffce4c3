# SPDX-License-Identifier: Apache-2.0
"""Between Flower's messages and the device's training jobs: pure functions, and the collector that
puts the parts of a reply together.

A message carries ``arrays`` (the weights by layout) and ``config``. Of the config a device follows
these keys; what else a strategy puts in, for clients that run Python, it does not see:

    steps, lr, batch, deadline-s, seed          online SGD on its next samples
    answer          "weights" or "delta"
    top             fraction of the largest changes to return
    proximal-mu     FedProx                     clipping-norm   DP, clipped on the device
    global, local-steps, local-lr               TinyMetaFed's local reconstruction
    block-first, block-count, top-gradients     FedTiny's growing
    statistics      of the outputs of the layer that begins at block-first, instead of a loss
and an ArrayRecord ``mask`` with one array ``mask`` of 0 and 1.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from fleet.federated import sparse
from fleet.federated.layout import Layout
from fleet.wire.messages import (
    ArrayKind,
    Dtype,
    IndexCoding,
    Reason,
    TrainJob,
    TrainPhase,
    TrainReply,
)

TRAIN, EVALUATE = "train", "evaluate"
ARRAYS, CONFIG, METRICS, MASK, DELTA, GRADIENTS, STATISTICS = (
    "arrays",
    "config",
    "metrics",
    "mask",
    "delta",
    "gradients",
    "statistics",
)
_INTEGERS = {
    "batch": "batch",
    "deadline-s": "deadline_s",
    "seed": "seed",
    "global": "global_parameters",
    "local-steps": "local_steps",
    "block-first": "block_first",
    "block-count": "block_count",
    "top-gradients": "top_gradients",
}
_REALS = {
    "top": "top",
    "proximal-mu": "proximal",
    "clipping-norm": "clip_norm",
    "clipping_norm": "clip_norm",
    "local-lr": "local_lr",
}


class BadReplyError(ValueError):
    """A device's reply cannot be used; says why."""


@dataclass(frozen=True)
class Parameters:
    """What many jobs of a round share.

    Args:
        data: float32 weights, little endian.
        digest: SHA-256 of them.
        mask: one bool a weight, None for all.
        mask_data, mask_digest: of it, as it travels.
    """

    data: bytes
    digest: bytes
    mask: NDArray[np.bool_] | None
    mask_data: bytes | None
    mask_digest: bytes | None


def parameters(content: RecordDict, layout: Layout) -> Parameters:
    """The weights and mask of a message.

    Raises:
        ValueError: they are not those of the model.
    """
    data = layout.vector(content.array_records[ARRAYS]).astype("<f4").tobytes()
    digest = hashlib.sha256(data).digest()
    if MASK not in content.array_records:
        return Parameters(data, digest, None, None, None)
    mask = content.array_records[MASK][MASK].numpy().astype(bool)
    if mask.shape != (layout.size,):
        raise ValueError(f"a mask of {mask.shape} for {layout.size} weights")
    packed = sparse.mask_bytes(mask)
    return Parameters(data, digest, mask, packed, hashlib.sha256(packed).digest())


def train_job(
    message: Message, shared: Parameters, number: int, round_: int, abi: int, room: int
) -> TrainJob:
    """The job that a message asks of a device.

    Args:
        number: unique for the device.
        room: bytes of weights and mask that fit into its packet; more is pulled by digest.

    Raises:
        ValueError: a value of the config is out of range.
    """
    config = dict(next(iter(message.content.config_records.values()), {}))
    kind = message.metadata.message_type.split(".")[0]
    options: dict[str, Any] = {}
    for key, name in _INTEGERS.items():
        if key in config:
            options[name] = int(_number(config[key], key))
    for key, name in _REALS.items():
        if key in config:
            options[name] = float(_number(config[key], key))
    phase = TrainPhase.EVALUATE if kind == EVALUATE else TrainPhase.TRAIN
    if phase is TrainPhase.EVALUATE and config.get("statistics"):
        phase = TrainPhase.STATISTICS
    if phase is TrainPhase.TRAIN and options.get("top_gradients"):
        phase = TrainPhase.GRADIENTS
    answer = str(config.get("answer", "weights"))
    if answer not in ("weights", "delta"):
        raise ValueError(f"a device returns weights or a delta, no '{answer}'")
    fits = len(shared.data) + len(shared.mask_data or b"") <= room
    return TrainJob(
        job=number,
        round=round_,
        phase=phase,
        abi=abi,
        dtype=Dtype.F32,
        digest=shared.digest,
        size=len(shared.data),
        steps=int(_number(config.get("steps", 32), "steps")),
        lr=float(_number(config.get("lr", 0.01), "lr")),
        data=shared.data if fits else None,
        mask_digest=shared.mask_digest,
        mask=shared.mask_data if fits else None,
        answer=ArrayKind.WEIGHTS if answer == "weights" else ArrayKind.DELTA,
        **options,
    )


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"config '{key}' is no number: {value!r}")
    return value


@dataclass
class _Parts:
    """One array of a reply, as it comes."""

    total: int
    crc: int
    dtype: Dtype
    coding: IndexCoding
    data: bytearray = field(default_factory=bytearray)


@dataclass
class Collector:
    """Puts one device's reply together.

    Args:
        job: that was asked.
        layout: of the weights.
        mask: of the job.
        largest: bytes that an array may have; more is refused before it is kept.
    """

    job: TrainJob
    layout: Layout
    mask: NDArray[np.bool_] | None
    _arrays: dict[ArrayKind, _Parts] = field(default_factory=dict)
    _metrics: dict[str, float] = field(default_factory=dict)
    received: int = 0

    @property
    def wanted(self) -> tuple[ArrayKind, ...]:
        """Arrays that make the reply whole."""
        if self.job.phase is TrainPhase.EVALUATE:
            return ()
        if self.job.phase is TrainPhase.STATISTICS:
            return (ArrayKind.STATISTICS,)
        answer = self.job.answer or ArrayKind.WEIGHTS
        if self.job.phase is TrainPhase.GRADIENTS:
            return (answer, ArrayKind.GRADIENTS)
        return (answer,)

    @property
    def largest(self) -> int:
        """No honest array is longer: every position with 32 bits and its value."""
        return 8 * self.layout.size

    def add(self, reply: TrainReply) -> RecordDict | None:
        """Takes a part.

        Returns:
            The content of Flower's reply once everything is here, None before.

        Raises:
            BadReplyError: the device refused, or the part cannot belong to this reply.
        """
        if reply.reason is not Reason.OK:
            raise BadReplyError(f"the device refused: {reply.reason.name.lower()}")
        self._note(reply)
        if reply.kind is not ArrayKind.NONE:
            self._append(reply)
        for kind in self.wanted:
            parts = self._arrays.get(kind)
            if parts is None or len(parts.data) < parts.total:
                return None
        return self._content()

    def _note(self, reply: TrainReply) -> None:
        for name, value in (
            ("num-examples", reply.num_examples),
            ("loss", reply.loss),
            ("accuracy", reply.accuracy),
            ("train-us", reply.train_us),
            ("clipped", reply.clipped),
        ):
            if value is None:
                continue
            if not np.isfinite(value):
                raise BadReplyError(f"{name} is not finite")
            self._metrics[name] = value

    def _append(self, reply: TrainReply) -> None:
        if reply.kind not in self.wanted:
            raise BadReplyError(f"{reply.kind.name.lower()} were not asked for")
        if None in (reply.total, reply.crc, reply.offset, reply.data):
            raise BadReplyError("an array without total, crc, offset or data")
        assert reply.total is not None and reply.crc is not None
        assert reply.offset is not None and reply.data is not None
        if reply.total > self.largest:
            raise BadReplyError(
                f"an array of {reply.total:,} bytes; {self.largest:,} are the most it can have"
            )
        parts = self._arrays.setdefault(
            reply.kind,
            _Parts(
                reply.total,
                reply.crc,
                Dtype.F32 if reply.dtype is None else reply.dtype,
                IndexCoding.DENSE if reply.coding is None else reply.coding,
            ),
        )
        if reply.offset < len(parts.data):
            return  # sent again
        if reply.offset != len(parts.data) or (reply.total, reply.crc) != (parts.total, parts.crc):
            raise BadReplyError("parts of an array are missing or do not belong together")
        parts.data += reply.data
        self.received += len(reply.data)
        if len(parts.data) > parts.total:
            raise BadReplyError("an array is longer than it said")

    def _statistics(self) -> ArrayRecord:
        """Count, then means and sums of squared deviations of each channel."""
        parts = self._arrays[ArrayKind.STATISTICS]
        if parts.dtype is not Dtype.F32 or parts.coding is not IndexCoding.DENSE:
            raise BadReplyError("statistics are dense numbers of 32 bits")
        size = parts.total // 4
        _, values = self._decoded(ArrayKind.STATISTICS, size)
        if size < 3 or size % 2 == 0 or values[0] <= 0 or np.any(values[1 + size // 2 :] < 0):
            raise BadReplyError("statistics without a count, or with a negative variance")
        return ArrayRecord({
            "count": Array(values[:1]),
            "mean": Array(values[1 : 1 + size // 2]),
            "m2": Array(values[1 + size // 2 :]),
        })  # fmt: skip

    def _decoded(
        self, kind: ArrayKind, size: int | None = None
    ) -> tuple[sparse.Positions, sparse.Values]:
        parts = self._arrays[kind]
        data = bytes(parts.data)
        if zlib.crc32(data) != parts.crc:
            raise BadReplyError("the checksum of an array is wrong")
        try:
            return sparse.decode(
                data, parts.coding, parts.dtype, size or self.layout.size, self.mask
            )
        except ValueError as error:
            raise BadReplyError(str(error)) from None

    def _content(self) -> RecordDict:
        if "num-examples" not in self._metrics:
            raise BadReplyError("the number of examples is missing")
        content = RecordDict({METRICS: MetricRecord(dict(self._metrics))})
        for kind in self.wanted:
            if kind is ArrayKind.STATISTICS:
                content[STATISTICS] = self._statistics()
                continue
            positions, values = self._decoded(kind)
            if kind is ArrayKind.WEIGHTS:
                vector = np.zeros(self.layout.size, np.float32)
                if self.mask is None and len(positions) != self.layout.size:
                    raise BadReplyError(
                        f"{len(positions)} weights came, the model has {self.layout.size}"
                    )
                vector[positions] = values
                content[ARRAYS] = self.layout.record(vector)
            else:
                name = DELTA if kind is ArrayKind.DELTA else GRADIENTS
                content[name] = ArrayRecord(
                    {"positions": Array(positions), "values": Array(values)}
                )
        return content


def config(values: dict[str, float | int | str]) -> ConfigRecord:
    """A message's configuration."""
    return ConfigRecord(dict(values))
