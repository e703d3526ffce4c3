# SPDX-License-Identifier: Apache-2.0
"""The protocol's messages. Generated from protocol.cddl by `python -m fleet.wire.generate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from fleet.wire.codec import Field, Message


class Reason(IntEnum):
    """Why something was refused or did not work.

    The same value everywhere: on the wire, in the audit trail and in metrics.
    """

    # nothing is wrong
    OK = 0
    # not a message of this protocol
    BAD_MESSAGE = 1
    # larger than the receiver's buffer
    TOO_LARGE = 2
    # another job of this kind is running
    BUSY = 3
    # the device has no such function
    UNSUPPORTED = 4
    # the deadline passed
    TIMED_OUT = 5
    # the server asked for it
    CANCELLED = 6
    # no trusted key has the envelope's key id
    UNKNOWN_KEY = 10
    # the signature does not verify
    BAD_SIGNATURE = 11
    # the release key's grant has expired
    KEY_EXPIRED = 12
    # the release key was not granted for this tenant or component
    KEY_SCOPE = 13
    # the sequence number is not above the last one accepted
    REPLAYED = 14
    # the manifest has expired
    EXPIRED = 15
    # made for another vendor's devices
    WRONG_VENDOR = 20
    # made for other hardware classes
    WRONG_CLASS = 21
    # made for one device, and this is another
    WRONG_DEVICE = 22
    # the device has no such component
    WRONG_COMPONENT = 23
    # the weights fit another network structure
    WRONG_ABI = 24
    # needs operators that the firmware lacks
    WRONG_OPSET = 25
    # needs more RAM than the device reserves
    ARENA_TOO_SMALL = 26
    # does not fit the slot
    FLASH_TOO_SMALL = 27
    # the server has no such artefact for this device
    UNKNOWN_BLOB = 30
    # beyond the end of the artefact
    BAD_OFFSET = 31
    # what was received is not what was signed
    DIGEST_MISMATCH = 32
    # the golden input gave other outputs than the manifest states
    SELFTEST_MISMATCH = 33
    # the flash reports a failed write or erase
    FLASH_ERROR = 34
    # there is no older model to go back to
    NO_PASSIVE_SLOT = 35
    # the trial ended by a reset before it was confirmed
    NOT_CONFIRMED = 36
    # the trial ended because the device judged itself unhealthy
    UNHEALTHY = 37
    # the server asked for the older model
    ROLLED_BACK = 38
    # the training job is for another network
    UNKNOWN_MODEL = 40
    # a training parameter is missing or out of range
    BAD_CONFIG = 41
    # there are not enough samples to train on
    NO_DATA = 42
    # training gave a NaN or an infinity
    NOT_FINITE = 43
    # the round is over
    STALE_ROUND = 44
    # the arrays have another size than the model's
    WRONG_SHAPE = 45


class JobState(IntEnum):
    """What the device is doing about a job."""

    # the manifest was verified and waits for its start
    RECEIVED = 0
    # chunks are being written to the passive slot
    DOWNLOADING = 1
    # the digest is being checked
    VERIFYING = 2
    # the new model runs on its golden inputs
    SELF_TESTING = 3
    # the new model runs and is not yet confirmed
    TRIAL = 4
    # the new model is the device's model
    CONFIRMED = 5
    # refused before anything was written
    REJECTED = 6
    # refused after something was written
    FAILED = 7
    # the older model runs again
    ROLLED_BACK = 8
    # ended by the server
    CANCELLED = 9


class JobAction(IntEnum):
    """Values of job_action."""

    # download, verify, try and confirm the manifest's artefact
    INSTALL = 0
    # activate the passive slot, which holds `digest`; nothing is downloaded
    ROLLBACK = 1
    # end the running job; during a trial this is a rollback
    CANCEL = 2
    # end the running trial well, before its soak time is over
    CONFIRM = 3


class Component(IntEnum):
    """Values of component."""

    # weights of the network compiled into the firmware, and its golden inputs
    MODEL = 0
    # the firmware image
    FIRMWARE = 1


class SlotState(IntEnum):
    """Values of slot_state."""

    # nothing usable
    EMPTY = 0
    # a download stopped at `offset`
    PARTIAL = 1
    # verified, never run
    COMPLETE = 2
    # running, not confirmed
    TRIAL = 3
    # ran well
    CONFIRMED = 4
    # failed its trial or its digest
    BAD = 5


class ResetReason(IntEnum):
    """Values of reset_reason."""

    # power came back, or the cause is unknown
    POWER_ON = 0
    # the watchdog bit
    WATCHDOG = 1
    # the device asked for it
    SOFTWARE = 2
    # the processor reported a fault
    FAULT = 3


class Severity(IntEnum):
    """Values of severity."""

    # for developers
    DEBUG = 0
    # normal operation
    INFO = 1
    # unexpected, dealt with
    WARNING = 2
    # something did not work
    ERROR = 3


class RpcCommand(IntEnum):
    """Values of rpc_command."""

    # answer, nothing else
    PING = 0
    # send hello again
    REBIRTH = 1
    # send a report now
    REPORT = 2
    # restart
    REBOOT = 3
    # drop what was learned on the device
    FORGET_ADAPTATION = 4


class TrainPhase(IntEnum):
    """Values of train_phase."""

    # learn from local samples, return weights or changes
    TRAIN = 0
    # return the loss on local samples, change nothing
    EVALUATE = 1
    # return running statistics, change nothing
    STATISTICS = 2
    # train, and return the largest gradients of inactive weights as well
    GRADIENTS = 3


class ArrayKind(IntEnum):
    """Values of array_kind."""

    # no array: metrics only
    NONE = 0
    # parameters after training
    WEIGHTS = 1
    # parameters after training minus before
    DELTA = 2
    # per feature: count once, then means, then sums of squared deviations
    STATISTICS = 3
    # gradients of inactive weights
    GRADIENTS = 4


class Dtype(IntEnum):
    """Values of dtype."""

    # IEEE 754 binary32, little endian
    F32 = 0
    # IEEE 754 binary16, little endian
    F16 = 1
    # two's complement
    I8 = 2


class IndexCoding(IntEnum):
    """How the positions of sparse values are told."""

    # no positions: every value, in order
    DENSE = 0
    # one bit a position, least significant first, before the values
    BITMAP = 1
    # a little-endian 16-bit position before the values, one each, ascending
    U16 = 2
    # the same with 32 bits
    U32 = 3
    # the positions of the job's mask, in order
    MASK = 4


@dataclass(frozen=True, kw_only=True)
class ModelInfo(Message):
    """A model in a slot, or the one compiled in.

    Args:
        digest: SHA-256 of the artefact.
        sequence: of its manifest; 0 for the model compiled in.
        state: of its slot.
        offset: bytes present of a partial download.
    """

    digest: bytes
    sequence: int
    state: SlotState
    offset: int | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "digest", "bytes", 32, 32),
        Field(2, "sequence", "uint", 0, 4_294_967_295),
        Field(3, "state", SlotState),
        Field(4, "offset", "uint", 0, 4_294_967_295, optional=True),
    )


@dataclass(frozen=True, kw_only=True)
class LearningInfo(Message):
    """What the device can learn.

    Args:
        abi: hash of the trainable structure.
        parameters: number of trainable weights.
        clips: whether it clips its change to a job's `clip_norm`.
    """

    abi: int
    parameters: int
    clips: bool | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "abi", "uint", 0, 18_446_744_073_709_551_615),
        Field(2, "parameters", "uint", 0, 4_294_967_295),
        Field(3, "clips", "bool", optional=True),
    )


@dataclass(frozen=True, kw_only=True)
class Hello(Message):
    """Birth: the first message of a connection, on `up/hello`.

    Args:
        boot_id: random, new at each boot.
        seq: counts the device's messages on all topics since boot; (boot_id, seq) names one.
        protocol: version of this document.
        vendor: who made the device.
        hardware: class of the device.
        firmware: version of the firmware.
        abi: of the network compiled in.
        opset: bitmap of operators that the firmware holds.
        arena_bytes: RAM reserved for activations.
        slot_bytes: largest artefact that fits.
        packet_bytes: largest MQTT packet that the device accepts.
        model: the model that runs.
        passive: the model in the other slot.
        can_rollback: whether `passive` would be activated on demand.
        reset_reason: of the last reset.
        resets: since the last power-on.
        twin_version: of the desired state applied last.
        sensors: kinds of sensors, for example "microphone".
        learning: absent when the device cannot learn.
    """

    boot_id: int
    seq: int
    protocol: int
    vendor: str
    hardware: str
    firmware: str
    abi: int
    opset: int
    arena_bytes: int
    slot_bytes: int
    packet_bytes: int
    model: ModelInfo
    can_rollback: bool
    reset_reason: ResetReason
    resets: int
    twin_version: int
    passive: ModelInfo | None = None
    sensors: tuple[str, ...] | None = None
    learning: LearningInfo | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "boot_id", "uint", 0, 4_294_967_295),
        Field(2, "seq", "uint", 0, 4_294_967_295),
        Field(3, "protocol", "uint", 0, 255),
        Field(4, "vendor", "text", 1, 32),
        Field(5, "hardware", "text", 1, 32),
        Field(6, "firmware", "text", 1, 32),
        Field(7, "abi", "uint", 0, 18_446_744_073_709_551_615),
        Field(8, "opset", "uint", 0, 18_446_744_073_709_551_615),
        Field(9, "arena_bytes", "uint", 0, 4_294_967_295),
        Field(10, "slot_bytes", "uint", 0, 4_294_967_295),
        Field(11, "packet_bytes", "uint", 0, 4_294_967_295),
        Field(12, "model", ModelInfo),
        Field(13, "passive", ModelInfo, optional=True),
        Field(14, "can_rollback", "bool"),
        Field(15, "reset_reason", ResetReason),
        Field(16, "resets", "uint", 0, 4_294_967_295),
        Field(17, "twin_version", "uint", 0, 4_294_967_295),
        Field(18, "sensors", "text", 1, 32, array=(0, 8), optional=True),
        Field(19, "learning", LearningInfo, optional=True),
    )


@dataclass(frozen=True, kw_only=True)
class Presence(Message):
    """Retained on `up/presence`.

    Also the last will, with `online` false and its session's boot_id.

    Args:
        boot_id: of the session that this is about.
        online: whether the device is connected.
    """

    boot_id: int
    online: bool

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "boot_id", "uint", 0, 4_294_967_295),
        Field(2, "online", "bool"),
    )


@dataclass(frozen=True, kw_only=True)
class TwinReported(Message):
    """Reported state, on `up/twin`.

    Args:
        boot_id: of this boot.
        seq: of this message.
        version: of the desired state applied last.
        reason: ok, or why that version was not applied.
        model: the model that runs.
        passive: the model in the other slot.
        report_interval_s: in use; 0 is off.
        properties: the application's.
    """

    boot_id: int
    seq: int
    version: int
    reason: Reason
    model: ModelInfo
    report_interval_s: int
    passive: ModelInfo | None = None
    properties: Mapping[str, int | float | bool | str] | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "boot_id", "uint", 0, 4_294_967_295),
        Field(2, "seq", "uint", 0, 4_294_967_295),
        Field(3, "version", "uint", 0, 4_294_967_295),
        Field(4, "reason", Reason),
        Field(5, "model", ModelInfo),
        Field(6, "passive", ModelInfo, optional=True),
        Field(7, "report_interval_s", "uint", 0, 4_294_967_295),
        Field(8, "properties", "properties", optional=True),
    )


@dataclass(frozen=True, kw_only=True)
class JobStatus(Message):
    """Progress and result of a job, on `up/job`.

    A job offered again is answered with its state.

    Args:
        boot_id: of this boot.
        seq: of this message.
        job: number of the job.
        state: what happens now.
        reason: ok, or why not.
        sequence: of the manifest, once it is verified.
        offset: bytes written so far.
        latency_us: of one inference of the new model.
    """

    boot_id: int
    seq: int
    job: int
    state: JobState
    reason: Reason
    sequence: int | None = None
    offset: int | None = None
    latency_us: int | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "boot_id", "uint", 0, 4_294_967_295),
        Field(2, "seq", "uint", 0, 4_294_967_295),
        Field(3, "job", "uint", 0, 4_294_967_295),
        Field(4, "state", JobState),
        Field(5, "reason", Reason),
        Field(6, "sequence", "uint", 0, 4_294_967_295, optional=True),
        Field(7, "offset", "uint", 0, 4_294_967_295, optional=True),
        Field(8, "latency_us", "uint", 0, 4_294_967_295, optional=True),
    )


@dataclass(frozen=True, kw_only=True)
class BlobRequest(Message):
    """Asks for bytes of an artefact, on `up/blob`.

    The answers come on `down/blob`.

    Args:
        boot_id: of this boot.
        seq: of this message.
        digest: SHA-256 of the whole artefact.
        offset: of the first byte.
        size: of each chunk; a last one may be shorter.
        count: how many chunks in a row.
    """

    boot_id: int
    seq: int
    digest: bytes
    offset: int
    size: int
    count: int

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "boot_id", "uint", 0, 4_294_967_295),
        Field(2, "seq", "uint", 0, 4_294_967_295),
        Field(3, "digest", "bytes", 32, 32),
        Field(4, "offset", "uint", 0, 4_294_967_295),
        Field(5, "size", "uint", 0, 65_535),
        Field(6, "count", "uint", 0, 255),
    )


@dataclass(frozen=True, kw_only=True)
class Report(Message):
    """Telemetry, on `up/report`.

    Args:
        boot_id: of this boot.
        seq: of this message.
        uptime_s: since boot.
        model_sequence: of the model that ran.
        inferences: since boot.
        best: index of the largest output of the last inference.
        score: that output, dequantised.
        outputs: of the last inference, int8.
        latency_us: of the last inference.
        stack_bytes: deepest stack use.
        dropped: messages that were not sent since boot.
        values: measurements of the application.
        histogram: how often each output was the largest since boot.
    """

    boot_id: int
    seq: int
    uptime_s: int
    model_sequence: int
    inferences: int
    best: int | None = None
    score: float | None = None
    outputs: bytes | None = None
    latency_us: int | None = None
    stack_bytes: int | None = None
    dropped: int | None = None
    values: tuple[float, ...] | None = None
    histogram: tuple[int, ...] | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "boot_id", "uint", 0, 4_294_967_295),
        Field(2, "seq", "uint", 0, 4_294_967_295),
        Field(3, "uptime_s", "uint", 0, 4_294_967_295),
        Field(4, "model_sequence", "uint", 0, 4_294_967_295),
        Field(5, "inferences", "uint", 0, 4_294_967_295),
        Field(6, "best", "uint", 0, 65_535, optional=True),
        Field(7, "score", "float", optional=True),
        Field(8, "outputs", "bytes", 0, 256, optional=True),
        Field(9, "latency_us", "uint", 0, 4_294_967_295, optional=True),
        Field(10, "stack_bytes", "uint", 0, 4_294_967_295, optional=True),
        Field(11, "dropped", "uint", 0, 4_294_967_295, optional=True),
        Field(12, "values", "float", array=(0, 16), optional=True),
        Field(13, "histogram", "uint", 0, 4_294_967_295, array=(0, 16), optional=True),
    )


@dataclass(frozen=True, kw_only=True)
class Log(Message):
    """A line for people, on `up/log`.

    Args:
        boot_id: of this boot.
        seq: of this message.
        uptime_s: since boot.
        severity: how much it matters.
        text: the line.
    """

    boot_id: int
    seq: int
    uptime_s: int
    severity: Severity
    text: str

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "boot_id", "uint", 0, 4_294_967_295),
        Field(2, "seq", "uint", 0, 4_294_967_295),
        Field(3, "uptime_s", "uint", 0, 4_294_967_295),
        Field(4, "severity", Severity),
        Field(5, "text", "text", 0, 120),
    )


@dataclass(frozen=True, kw_only=True)
class RpcReply(Message):
    """Answer to a command, on `up/rpc`.

    Args:
        boot_id: of this boot.
        seq: of this message.
        call: of the request.
        reason: ok, or why not.
    """

    boot_id: int
    seq: int
    call: int
    reason: Reason

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "boot_id", "uint", 0, 4_294_967_295),
        Field(2, "seq", "uint", 0, 4_294_967_295),
        Field(3, "call", "uint", 0, 4_294_967_295),
        Field(4, "reason", Reason),
    )


@dataclass(frozen=True, kw_only=True)
class TrainReply(Message):
    """Result of a training job, on `up/train`.

    An array longer than a packet comes in parts: equal but for `offset` and `data`, in order; the
    metrics count once.

    Args:
        boot_id: of this boot.
        seq: of this message.
        job: of the request.
        round: of the request.
        reason: ok, or why there is no result.
        kind: of the array.
        dtype: of its values.
        coding: of its positions.
        total: bytes of the array, positions and values.
        crc: CRC-32 (IEEE 802.3) of these bytes.
        offset: of `data` in them.
        data: this part.
        num_examples: samples used.
        loss: mean over them.
        accuracy: fraction of them, for classifiers.
        train_us: time it took.
        clipped: norm to which the change was clipped.
    """

    boot_id: int
    seq: int
    job: int
    round: int
    reason: Reason
    kind: ArrayKind
    dtype: Dtype | None = None
    coding: IndexCoding | None = None
    total: int | None = None
    crc: int | None = None
    offset: int | None = None
    data: bytes | None = None
    num_examples: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    train_us: int | None = None
    clipped: float | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "boot_id", "uint", 0, 4_294_967_295),
        Field(2, "seq", "uint", 0, 4_294_967_295),
        Field(3, "job", "uint", 0, 4_294_967_295),
        Field(4, "round", "uint", 0, 4_294_967_295),
        Field(5, "reason", Reason),
        Field(6, "kind", ArrayKind),
        Field(7, "dtype", Dtype, optional=True),
        Field(8, "coding", IndexCoding, optional=True),
        Field(9, "total", "uint", 0, 4_294_967_295, optional=True),
        Field(10, "crc", "uint", 0, 4_294_967_295, optional=True),
        Field(11, "offset", "uint", 0, 4_294_967_295, optional=True),
        Field(12, "data", "bytes", 0, 65000, optional=True),
        Field(13, "num_examples", "uint", 0, 4_294_967_295, optional=True),
        Field(14, "loss", "float", optional=True),
        Field(15, "accuracy", "float", optional=True),
        Field(16, "train_us", "uint", 0, 4_294_967_295, optional=True),
        Field(17, "clipped", "float", optional=True),
    )


@dataclass(frozen=True, kw_only=True)
class ModelTarget(Message):
    """A model that should run.

    Args:
        digest: SHA-256 of the artefact.
        sequence: of its manifest.
    """

    digest: bytes
    sequence: int

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "digest", "bytes", 32, 32),
        Field(2, "sequence", "uint", 0, 4_294_967_295),
    )


@dataclass(frozen=True, kw_only=True)
class TwinDesired(Message):
    """Desired state, on `down/twin`; whole, never a difference.

    Args:
        version: grows with each change; a device ignores versions it has applied.
        model: absent means as it is.
        report_interval_s: between reports; 0 turns them off.
        time_s: now, seconds since 1970.
        properties: the application's.
    """

    version: int
    model: ModelTarget | None = None
    report_interval_s: int | None = None
    time_s: int | None = None
    properties: Mapping[str, int | float | bool | str] | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "version", "uint", 0, 4_294_967_295),
        Field(2, "model", ModelTarget, optional=True),
        Field(3, "report_interval_s", "uint", 0, 4_294_967_295, optional=True),
        Field(4, "time_s", "uint", 0, 4_294_967_295, optional=True),
        Field(5, "properties", "properties", optional=True),
    )


@dataclass(frozen=True, kw_only=True)
class Job(Message):
    """An assignment, on `down/job`.

    Args:
        job: its number, unique for the device.
        action: what to do.
        manifest: COSE_Sign1 over a manifest; with install.
        grant: COSE_Sign1 by a root key over a key_grant, if it was not the root that signed.
        digest: of the passive slot; with rollback.
        soak_s: how long a trial lasts before it is confirmed.
        jitter_s: start after a random time up to this.
        deadline_s: give up after this.
        time_s: now, seconds since 1970.
    """

    job: int
    action: JobAction
    manifest: bytes | None = None
    grant: bytes | None = None
    digest: bytes | None = None
    soak_s: int | None = None
    jitter_s: int | None = None
    deadline_s: int | None = None
    time_s: int | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "job", "uint", 0, 4_294_967_295),
        Field(2, "action", JobAction),
        Field(3, "manifest", "bytes", 1, 1024, optional=True),
        Field(4, "grant", "bytes", 1, 512, optional=True),
        Field(5, "digest", "bytes", 32, 32, optional=True),
        Field(6, "soak_s", "uint", 0, 4_294_967_295, optional=True),
        Field(7, "jitter_s", "uint", 0, 4_294_967_295, optional=True),
        Field(8, "deadline_s", "uint", 0, 4_294_967_295, optional=True),
        Field(9, "time_s", "uint", 0, 4_294_967_295, optional=True),
    )


@dataclass(frozen=True, kw_only=True)
class BlobReply(Message):
    """Bytes of an artefact, on `down/blob`.

    Args:
        blob: the first bytes of its digest.
        offset: of `data`.
        reason: ok, or why there is no data.
        data: the chunk.
    """

    blob: bytes
    offset: int
    reason: Reason
    data: bytes | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "blob", "bytes", 8, 8),
        Field(2, "offset", "uint", 0, 4_294_967_295),
        Field(3, "reason", Reason),
        Field(4, "data", "bytes", 0, 65000, optional=True),
    )


@dataclass(frozen=True, kw_only=True)
class RpcRequest(Message):
    """A command, on `down/rpc`.

    Args:
        call: a number for the answer.
        command: what to do.
    """

    call: int
    command: RpcCommand

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "call", "uint", 0, 4_294_967_295),
        Field(2, "command", RpcCommand),
    )


@dataclass(frozen=True, kw_only=True)
class TrainJob(Message):
    """A training job, on `down/train`.

    Parameters come in `data`, or are pulled by `digest` like an artefact when they are larger
    than a packet; the same holds for the mask.

    Args:
        job: its number, unique for the device.
        round: of the federation.
        phase: what to do.
        abi: of the trainable structure.
        dtype: of the parameters.
        digest: SHA-256 of the parameters.
        size: of the parameters in bytes.
        data: the parameters.
        mask_digest: SHA-256 of the mask.
        mask: one bit a parameter, least significant first; 1 is active.
        steps: samples to learn from, or to evaluate on.
        lr: learning rate.
        batch: samples a step; 1 if absent.
        answer: what to return; weights if absent.
        answer_dtype: f32 if absent.
        top: fraction of the largest changes to return; all if absent.
        proximal: weight of the proximal term.
        clip_norm: L2 norm to which the change is clipped.
        global_parameters: this many leading ones travel; the rest stay on the device.
        local_steps: samples for rebuilding the rest first.
        local_lr: learning rate of that.
        block_first: first parameter whose gradients are wanted.
        block_count: number of them.
        top_gradients: how many of the largest to return.
        seed: of everything random.
        deadline_s: give up after this.
    """

    job: int
    round: int
    phase: TrainPhase
    abi: int
    dtype: Dtype
    digest: bytes
    size: int
    steps: int
    lr: float
    data: bytes | None = None
    mask_digest: bytes | None = None
    mask: bytes | None = None
    batch: int | None = None
    answer: ArrayKind | None = None
    answer_dtype: Dtype | None = None
    top: float | None = None
    proximal: float | None = None
    clip_norm: float | None = None
    global_parameters: int | None = None
    local_steps: int | None = None
    local_lr: float | None = None
    block_first: int | None = None
    block_count: int | None = None
    top_gradients: int | None = None
    seed: int | None = None
    deadline_s: int | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "job", "uint", 0, 4_294_967_295),
        Field(2, "round", "uint", 0, 4_294_967_295),
        Field(3, "phase", TrainPhase),
        Field(4, "abi", "uint", 0, 18_446_744_073_709_551_615),
        Field(5, "dtype", Dtype),
        Field(6, "digest", "bytes", 32, 32),
        Field(7, "size", "uint", 0, 4_294_967_295),
        Field(8, "data", "bytes", 0, 65000, optional=True),
        Field(9, "mask_digest", "bytes", 32, 32, optional=True),
        Field(10, "mask", "bytes", 0, 65000, optional=True),
        Field(11, "steps", "uint", 0, 4_294_967_295),
        Field(12, "lr", "float"),
        Field(13, "batch", "uint", 0, 65_535, optional=True),
        Field(14, "answer", ArrayKind, optional=True),
        Field(15, "answer_dtype", Dtype, optional=True),
        Field(16, "top", "float", optional=True),
        Field(17, "proximal", "float", optional=True),
        Field(18, "clip_norm", "float", optional=True),
        Field(19, "global_parameters", "uint", 0, 4_294_967_295, optional=True),
        Field(20, "local_steps", "uint", 0, 4_294_967_295, optional=True),
        Field(21, "local_lr", "float", optional=True),
        Field(22, "block_first", "uint", 0, 4_294_967_295, optional=True),
        Field(23, "block_count", "uint", 0, 4_294_967_295, optional=True),
        Field(24, "top_gradients", "uint", 0, 4_294_967_295, optional=True),
        Field(25, "seed", "uint", 0, 4_294_967_295, optional=True),
        Field(26, "deadline_s", "uint", 0, 4_294_967_295, optional=True),
    )


@dataclass(frozen=True, kw_only=True)
class Manifest(Message):
    """What an artefact is and which devices may run it.

    The payload of a COSE_Sign1 (RFC 9052) with EdDSA over Ed25519. Its fields map to those of RFC
    9124.

    Args:
        version: 1.
        sequence: grows with each release; a device never accepts one twice.
        vendor: whose devices.
        classes: hardware classes.
        device: the only one, if it is for one.
        component: what is replaced.
        digest: SHA-256 of the artefact: the weights, then the golden inputs.
        size: of the artefact in bytes.
        abi: structure that the weights fit.
        opset: operators it needs.
        arena_bytes: RAM it needs for activations.
        weights_bytes: of the artefact; golden inputs follow.
        golden_inputs: how many, each all inputs of the network in order.
        golden_outputs: SHA-256 of all outputs for all golden inputs, in order.
        expires_s: seconds since 1970.
        name: for people.
        tenant: whose devices.
    """

    version: int
    sequence: int
    vendor: str
    classes: tuple[str, ...]
    component: Component
    digest: bytes
    size: int
    abi: int
    opset: int
    arena_bytes: int
    weights_bytes: int
    golden_inputs: int
    golden_outputs: bytes
    device: str | None = None
    expires_s: int | None = None
    name: str | None = None
    tenant: str | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "version", "uint", 0, 255),
        Field(2, "sequence", "uint", 0, 4_294_967_295),
        Field(3, "vendor", "text", 1, 32),
        Field(4, "classes", "text", 1, 32, array=(1, 8)),
        Field(5, "device", "text", 1, 32, optional=True),
        Field(6, "component", Component),
        Field(7, "digest", "bytes", 32, 32),
        Field(8, "size", "uint", 0, 4_294_967_295),
        Field(9, "abi", "uint", 0, 18_446_744_073_709_551_615),
        Field(10, "opset", "uint", 0, 18_446_744_073_709_551_615),
        Field(11, "arena_bytes", "uint", 0, 4_294_967_295),
        Field(12, "weights_bytes", "uint", 0, 4_294_967_295),
        Field(13, "golden_inputs", "uint", 0, 65_535),
        Field(14, "golden_outputs", "bytes", 32, 32),
        Field(15, "expires_s", "uint", 0, 4_294_967_295, optional=True),
        Field(16, "name", "text", 1, 64, optional=True),
        Field(17, "tenant", "text", 1, 32, optional=True),
    )


@dataclass(frozen=True, kw_only=True)
class KeyGrant(Message):
    """By which a root key lets a release key sign: the payload of a COSE_Sign1 by the root.

    Args:
        version: 1.
        key: the release key, Ed25519.
        component: that it may sign.
        tenant: that it may sign for; all if absent.
        expires_s: seconds since 1970.
        first_sequence: it may sign no lower one.
    """

    version: int
    key: bytes
    component: Component
    expires_s: int
    tenant: str | None = None
    first_sequence: int | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field(1, "version", "uint", 0, 255),
        Field(2, "key", "bytes", 32, 32),
        Field(3, "component", Component),
        Field(4, "tenant", "text", 1, 32, optional=True),
        Field(5, "expires_s", "uint", 0, 4_294_967_295),
        Field(6, "first_sequence", "uint", 0, 4_294_967_295, optional=True),
    )
