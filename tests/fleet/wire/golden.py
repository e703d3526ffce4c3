# SPDX-License-Identifier: Apache-2.0
"""One or more examples of every message; their bytes are in vectors.txt, which C reads too.

``python -m tests.fleet.wire.golden`` appends the bytes of new examples; those there never change.
"""

from __future__ import annotations

from pathlib import Path

from fleet.wire.codec import Message
from fleet.wire.messages import (
    ArrayKind,
    BlobReply,
    BlobRequest,
    Component,
    Dtype,
    Hello,
    IndexCoding,
    Job,
    JobAction,
    JobState,
    JobStatus,
    KeyGrant,
    LearningInfo,
    Log,
    Manifest,
    ModelInfo,
    ModelTarget,
    Presence,
    Reason,
    Report,
    ResetReason,
    RpcCommand,
    RpcReply,
    RpcRequest,
    Severity,
    SlotState,
    TrainJob,
    TrainPhase,
    TrainReply,
    TwinDesired,
    TwinReported,
)

FILE = Path(__file__).parent / "vectors.txt"
DIGEST = bytes(range(32))
OTHER = bytes(range(32, 64))
BOOT = 0xDEADBEEF

_MODEL = ModelInfo(digest=DIGEST, sequence=7, state=SlotState.CONFIRMED)
_PASSIVE = ModelInfo(digest=OTHER, sequence=6, state=SlotState.PARTIAL, offset=65_536)

EXAMPLES: list[Message] = [
    Hello(
        boot_id=BOOT,
        seq=0,
        protocol=1,
        vendor="acme",
        hardware="cortex-m4",
        firmware="1.4.0",
        abi=0x0123456789ABCDEF,
        opset=2**63 + 1,
        arena_bytes=24_576,
        slot_bytes=131_072,
        packet_bytes=2_048,
        model=_MODEL,
        passive=_PASSIVE,
        can_rollback=True,
        reset_reason=ResetReason.SOFTWARE,
        resets=3,
        twin_version=12,
        sensors=("microphone", "accelerometer"),
        learning=LearningInfo(abi=42, parameters=1_153, clips=True),
    ),
    Hello(
        boot_id=1,
        seq=0,
        protocol=1,
        vendor="v",
        hardware="h",
        firmware="f",
        abi=0,
        opset=0,
        arena_bytes=0,
        slot_bytes=0,
        packet_bytes=256,
        model=ModelInfo(digest=bytes(32), sequence=0, state=SlotState.EMPTY),
        can_rollback=False,
        reset_reason=ResetReason.POWER_ON,
        resets=0,
        twin_version=0,
    ),
    Presence(boot_id=BOOT, online=True),
    Presence(boot_id=BOOT, online=False),
    TwinReported(
        boot_id=BOOT,
        seq=300,
        version=9,
        reason=Reason.OK,
        model=_MODEL,
        passive=_PASSIVE,
        report_interval_s=60,
        properties={"room": "kitchen", "gain": 1.5, "on": True, "level": -3},
    ),
    JobStatus(boot_id=BOOT, seq=70_000, job=5, state=JobState.DOWNLOADING, reason=Reason.OK),
    JobStatus(
        boot_id=BOOT,
        seq=5,
        job=5,
        state=JobState.FAILED,
        reason=Reason.SELFTEST_MISMATCH,
        sequence=8,
        offset=100_000,
        latency_us=12_345,
    ),
    BlobRequest(boot_id=BOOT, seq=6, digest=DIGEST, offset=4_096, size=1_024, count=4),
    Report(boot_id=BOOT, seq=7, uptime_s=3_600, model_sequence=7, inferences=1_000),
    Report(
        boot_id=BOOT,
        seq=8,
        uptime_s=3_601,
        model_sequence=7,
        inferences=1_001,
        best=3,
        score=0.99609375,
        outputs=bytes([128, 0, 127, 255]),
        latency_us=9_000,
        stack_bytes=1_200,
        dropped=0,
        values=(20.5, -1.0, 3.4028234663852886e38, 1e-7),
        histogram=(1, 0, 1_000_000),
    ),
    Log(boot_id=BOOT, seq=9, uptime_s=1, severity=Severity.WARNING, text="flash wears out: 90 %"),
    RpcReply(boot_id=BOOT, seq=10, call=77, reason=Reason.UNSUPPORTED),
    TrainReply(
        boot_id=BOOT,
        seq=11,
        job=8,
        round=100,
        reason=Reason.OK,
        kind=ArrayKind.DELTA,
        dtype=Dtype.F32,
        coding=IndexCoding.BITMAP,
        total=1_069,
        crc=0xCBF43926,
        offset=0,
        data=b"\x01\x02\x03",
        num_examples=32,
        loss=0.125,
        accuracy=0.75,
        train_us=1_000_000,
        clipped=1.0,
    ),
    TrainReply(
        boot_id=BOOT, seq=12, job=8, round=100, reason=Reason.NOT_FINITE, kind=ArrayKind.NONE
    ),
    TwinDesired(
        version=10,
        model=ModelTarget(digest=DIGEST, sequence=8),
        report_interval_s=0,
        time_s=1_800_000_000,
        properties={},
    ),
    TwinDesired(version=2**32 - 1),
    Job(
        job=5,
        action=JobAction.INSTALL,
        manifest=b"\xd2\x84",
        grant=b"\xd2\x84\x43",
        soak_s=60,
        jitter_s=30,
        deadline_s=3_600,
        time_s=1_800_000_000,
    ),
    Job(job=6, action=JobAction.ROLLBACK, digest=OTHER),
    BlobReply(blob=DIGEST[:8], offset=4_096, reason=Reason.OK, data=bytes(300)),
    BlobReply(blob=DIGEST[:8], offset=4_096, reason=Reason.UNKNOWN_BLOB),
    RpcRequest(call=77, command=RpcCommand.REBOOT),
    TrainJob(
        job=8,
        round=100,
        phase=TrainPhase.GRADIENTS,
        abi=42,
        dtype=Dtype.F32,
        digest=DIGEST,
        size=4_612,
        data=b"\x00\x00\x80\x3f",
        mask_digest=OTHER,
        mask=b"\xff\x01",
        steps=32,
        lr=0.02,
        batch=8,
        answer=ArrayKind.DELTA,
        answer_dtype=Dtype.F16,
        top=0.2,
        proximal=0.001,
        clip_norm=1.0,
        global_parameters=1_120,
        local_steps=8,
        local_lr=0.05,
        block_first=64,
        block_count=1_024,
        top_gradients=20,
        seed=1,
        deadline_s=30,
    ),
    TrainJob(
        job=9,
        round=1,
        phase=TrainPhase.EVALUATE,
        abi=2**64 - 1,
        dtype=Dtype.F16,
        digest=DIGEST,
        size=0,
        steps=1,
        lr=0.0,
    ),
    Manifest(
        version=1,
        sequence=8,
        vendor="acme",
        classes=("cortex-m4", "host"),
        device="kitchen-1",
        component=Component.MODEL,
        digest=DIGEST,
        size=100_000,
        abi=0x0123456789ABCDEF,
        opset=3,
        arena_bytes=24_576,
        weights_bytes=98_432,
        golden_inputs=2,
        golden_outputs=OTHER,
        expires_s=1_900_000_000,
        name="tinynet 1.1",
        tenant="default",
    ),
    KeyGrant(
        version=1,
        key=DIGEST,
        component=Component.MODEL,
        tenant="default",
        expires_s=1_900_000_000,
        first_sequence=5,
    ),
]


def message_name(message: Message) -> str:
    """The rule of protocol.cddl: ``TrainJob`` is ``train_job``."""
    name = type(message).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)[1:]


def read_vectors() -> list[tuple[str, str, bytes]]:
    """Lines of vectors.txt: ``valid`` or ``invalid``, message, bytes."""
    lines = [line.split() for line in FILE.read_text(encoding="utf-8").splitlines()]
    return [(v[0], v[1], bytes.fromhex(v[2])) for v in lines if v and v[0] != "#"]


def main() -> None:
    """Appends what is not there yet."""
    known = {data for _, _, data in read_vectors()} if FILE.exists() else set()
    with FILE.open("a", encoding="utf-8") as file:
        for message in EXAMPLES:
            data = message.encode()
            if data not in known:
                file.write(f"valid {message_name(message)} {data.hex()}\n")


if __name__ == "__main__":
    main()
