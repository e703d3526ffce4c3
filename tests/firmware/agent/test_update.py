# SPDX-License-Identifier: Apache-2.0
"""Updates on the device: what is refused, what survives a power cut, what is rolled back."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleet.wire import sign1
from fleet.wire.messages import Component, Job, JobAction, JobState, KeyGrant, Manifest, Reason

WEIGHTS, INPUT, OUTPUT = 10_000, 8, 4
ROOT = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RELEASE = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
NOW = 1_800_000_000


def run_network(weights: bytes, sample: bytes) -> bytes:
    """The network of sample_model.h."""
    out = []
    for k in range(OUTPUT):
        total = k
        for byte in weights + sample:
            total = (total * 31 + byte) % 2**32
        out.append(total % 256)
    return bytes(out)


class Model:
    """An artefact: weights and two golden inputs."""

    def __init__(self, seed: int) -> None:
        self.weights = bytes((i * seed + i // 256) % 256 for i in range(WEIGHTS))
        self.golden = bytes(range(seed, seed + 2 * INPUT))
        outputs = [run_network(self.weights, self.golden[i : i + INPUT]) for i in (0, INPUT)]
        self.outputs = hashlib.sha256(b"".join(outputs)).digest()
        self.data = self.weights + self.golden

    def manifest(self, **change: Any) -> Manifest:
        fields: dict[str, Any] = {
            "version": 1,
            "sequence": 5,
            "vendor": "generic",
            "classes": ("cortex-m4", "host"),
            "component": Component.MODEL,
            "digest": hashlib.sha256(self.data).digest(),
            "size": len(self.data),
            "abi": 0x1122334455667788,
            "opset": 3,
            "arena_bytes": 64,
            "weights_bytes": WEIGHTS,
            "golden_inputs": 2,
            "golden_outputs": self.outputs,
        }
        return Manifest(**(fields | change))


FIRST, SECOND, THIRD = Model(3), Model(5), Model(11)


def install(number: int, envelope: bytes, **more: Any) -> Job:
    return Job(job=number, action=JobAction.INSTALL, manifest=envelope, soak_s=10, **more)


def grant(**change: Any) -> bytes:
    fields: dict[str, Any] = {
        "version": 1,
        "key": RELEASE.public_key().public_bytes_raw(),
        "component": Component.MODEL,
        "tenant": "acme",
        "expires_s": NOW + 1000,
    }
    return sign1(KeyGrant(**(fields | change)).encode(), ROOT)


def signed(model: Model = SECOND, key: Ed25519PrivateKey = ROOT, **change: Any) -> bytes:
    return sign1(model.manifest(**({"sequence": 6} | change)).encode(), key)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "root-key").write_bytes(ROOT.public_key().public_bytes_raw())
    for name, model in (("first", FIRST), ("second", SECOND), ("third", THIRD)):
        (tmp_path / f"artefact-{name}").write_bytes(model.data)
    put(tmp_path, "first", install(1, sign1(FIRST.manifest().encode(), ROOT)))
    put(tmp_path, "second", install(2, signed()))
    put(tmp_path, "third", install(3, signed(THIRD, sequence=7)))
    return tmp_path


def put(folder: Path, name: str, job: Job) -> None:
    (folder / f"job-{name}").write_bytes(job.encode())


@pytest.fixture
def drive(compile_driver: Callable[[str], Path], folder: Path) -> Callable[..., list[str]]:
    program = compile_driver("update_driver")

    def run(*words: str) -> list[str]:
        done = subprocess.run(
            [program, folder, *words], capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    return run


def tampered() -> list[bytes]:
    """The good envelope with each of its bits flipped in turn."""
    good = signed()
    envelopes = []
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        envelopes.append(bytes(bad))
    return envelopes


R = Reason
REFUSED: dict[str, tuple[Job, set[Reason]]] = {
    "replayed": (install(9, sign1(FIRST.manifest().encode(), ROOT)), {R.REPLAYED}),
    "downgraded": (install(9, signed(sequence=4)), {R.REPLAYED}),
    "stranger": (install(9, signed(key=STRANGER)), {R.UNKNOWN_KEY}),
    "wrong-vendor": (install(9, signed(vendor="other")), {R.WRONG_VENDOR}),
    "wrong-class": (install(9, signed(classes=("cortex-m4",))), {R.WRONG_CLASS}),
    "class-prefix": (install(9, signed(classes=("hos", "host2"))), {R.WRONG_CLASS}),
    "wrong-device": (install(9, signed(device="kitchen-2")), {R.WRONG_DEVICE}),
    "wrong-tenant": (install(9, signed(tenant="other")), {R.WRONG_DEVICE}),
    "firmware": (install(9, signed(component=Component.FIRMWARE)), {R.WRONG_COMPONENT}),
    "wrong-abi": (install(9, signed(abi=1)), {R.WRONG_ABI}),
    "other-size": (install(9, signed(weights_bytes=WEIGHTS - 16)), {R.WRONG_ABI}),
    "opset": (install(9, signed(opset=8)), {R.WRONG_OPSET}),
    "arena": (install(9, signed(arena_bytes=65)), {R.ARENA_TOO_SMALL}),
    "too-big": (install(9, signed(size=12 * 1024 + 1)), {R.FLASH_TOO_SMALL}),
    "no-golden": (install(9, signed(golden_inputs=0, size=WEIGHTS)), {R.BAD_MESSAGE}),
    "size-lies": (install(9, signed(size=WEIGHTS + 3)), {R.BAD_MESSAGE}),
    "version": (install(9, signed(version=2)), {R.BAD_MESSAGE}),
    "expired": (install(9, signed(expires_s=NOW - 1), time_s=NOW), {R.EXPIRED}),
    "no-manifest": (Job(job=9, action=JobAction.INSTALL), {R.BAD_MESSAGE}),
    "not-cose": (install(9, SECOND.manifest(sequence=6).encode()), {R.BAD_MESSAGE}),
    "release-without-grant": (install(9, signed(key=RELEASE)), {R.UNKNOWN_KEY}),
    "grant-of-stranger": (
        install(9, signed(key=RELEASE), grant=sign1(b"\xa0", STRANGER)),
        {R.UNKNOWN_KEY},
    ),
    "grant-expired": (
        install(9, signed(key=RELEASE), grant=grant(expires_s=NOW - 1), time_s=NOW),
        {R.KEY_EXPIRED},
    ),
    "grant-other-tenant": (
        install(9, signed(key=RELEASE), grant=grant(tenant="other")),
        {R.KEY_SCOPE},
    ),
    "grant-firmware": (
        install(9, signed(key=RELEASE), grant=grant(component=Component.FIRMWARE)),
        {R.KEY_SCOPE},
    ),
    "grant-floor": (
        install(9, signed(key=RELEASE), grant=grant(first_sequence=7)),
        {R.KEY_SCOPE},
    ),
    "granted-but-root-signed-grant-only": (
        install(9, signed(key=STRANGER), grant=grant()),
        {R.UNKNOWN_KEY},
    ),
    "rollback-unknown": (
        Job(job=9, action=JobAction.ROLLBACK, digest=bytes(32)),
        {R.NO_PASSIVE_SLOT},
    ),
}


def test_every_wrong_manifest_is_refused_before_anything_is_written(drive, folder):
    for name, (job, _) in REFUSED.items():
        put(folder, name, job)
    results = dict(line.split(" ", 1) for line in drive("refuse", *REFUSED))
    for name, (_, reasons) in REFUSED.items():
        allowed = {f"state={JobState.REJECTED:d} reason={r:d} writes=0 intact=1" for r in reasons}
        assert results[name] in allowed, (name, results[name])


def test_every_flipped_bit_is_refused(drive, folder):
    envelopes = tampered()
    for index, envelope in enumerate(envelopes):
        put(folder, f"bit{index}", install(9, envelope))
    names = [f"bit{i}" for i in range(len(envelopes))]
    results = [
        line
        for start in range(0, len(names), 400)
        for line in drive("refuse", *names[start : start + 400])
    ]
    reasons = (R.BAD_MESSAGE, R.UNKNOWN_KEY, R.BAD_SIGNATURE)
    allowed = {f"state={JobState.REJECTED:d} reason={r:d} writes=0 intact=1" for r in reasons}
    assert len(results) == len(envelopes) > 1500
    for line in results:
        assert line.split(" ", 1)[1] in allowed, line


def test_power_may_be_cut_at_every_write(drive):
    (line,) = drive("power-cut")
    facts = dict(part.split("=") for part in line.split())
    assert int(facts["misuses"]) == 0
    operations = int(facts["operations"])
    assert operations > 120
    assert int(facts["cuts"]) == 4 * operations
    assert int(facts["twice"]) > 10 * operations


def states(lines: list[str]) -> list[dict[str, str]]:
    return [dict(p.split("=") for p in line.split(": ", 1)[1].split()) for line in lines]


START = ("offer:first", "feed:first", "step:1", "step:10000")


def test_an_update_is_tried_then_confirmed(drive):
    result = states(drive("script", *START))
    assert [int(s["state"]) for s in result] == [
        JobState.DOWNLOADING,
        JobState.DOWNLOADING,
        JobState.TRIAL,
        JobState.CONFIRMED,
    ]
    assert result[-1] == {
        "active": "0", "trial": "0", "state": "5", "reason": "0", "job": "1",
        "sequence_floor": "5", "rollback": "1",
    }  # fmt: skip


def test_a_granted_key_may_sign(drive, folder):
    put(
        folder, "second", install(2, signed(key=RELEASE), grant=grant(first_sequence=6), time_s=NOW)
    )
    last = states(drive("script", *START, "offer:second", "feed:second", "step:1", "step:10000"))[
        -1
    ]
    assert (last["state"], last["active"]) == (f"{JobState.CONFIRMED:d}", "1")


def test_a_model_that_fails_its_self_test_never_runs(drive, folder):
    put(folder, "second", install(2, signed(golden_outputs=bytes(32))))
    last = states(drive("script", *START, "offer:second", "feed:second", "step:1"))[-1]
    assert int(last["state"]) == JobState.FAILED
    assert int(last["reason"]) == R.SELFTEST_MISMATCH
    assert last["active"] == "0" and last["sequence_floor"] == "5"


def test_bytes_other_than_those_signed_never_run(drive, folder):
    bad = bytearray(SECOND.data)
    bad[9_000] ^= 1
    (folder / "artefact-second").write_bytes(bad)
    last = states(drive("script", *START, "offer:second", "feed:second", "step:1"))[-1]
    assert int(last["state"]) == JobState.FAILED
    assert int(last["reason"]) == R.DIGEST_MISMATCH
    assert last["active"] == "0"


def test_a_trial_that_keeps_resetting_is_rolled_back(drive):
    trial = ("offer:second", "feed:second", "step:1")
    last = states(drive("script", *START, *trial, "boot", "boot", "boot", "boot"))[-1]
    assert int(last["state"]) == JobState.ROLLED_BACK
    assert int(last["reason"]) == R.NOT_CONFIRMED
    assert (last["active"], last["trial"]) == ("0", "0")


def test_a_rolled_back_model_cannot_be_offered_again(drive, folder):
    put(folder, "again", install(8, signed()))
    last = states(
        drive("script", *START, "offer:second", "feed:second", "step:1", "unhealthy", "offer:again")
    )
    assert int(last[-2]["reason"]) == R.UNHEALTHY and last[-2]["active"] == "0"
    assert int(last[-1]["reason"]) == R.REPLAYED


def test_the_server_rolls_back_to_the_passive_slot_and_forward_again(drive, folder):
    digests = {"back": FIRST, "forth": SECOND}
    for number, (name, model) in enumerate(digests.items(), 20):
        digest = hashlib.sha256(model.data).digest()
        put(folder, name, Job(job=number, action=JobAction.ROLLBACK, digest=digest))
    second = ("offer:second", "feed:second", "step:1", "step:10000")
    result = states(drive("script", *START, *second, "offer:back", "boot", "offer:forth", "boot"))
    assert [s["active"] for s in result[-5:]] == ["1", "0", "0", "1", "1"]
    assert int(result[-1]["state"]) == JobState.ROLLED_BACK


def test_cancel_keeps_what_was_downloaded_and_ends_a_trial(drive, folder):
    put(folder, "cancel", Job(job=2, action=JobAction.CANCEL))
    result = states(drive("script", *START, "offer:second", "offer:cancel"))
    assert int(result[-1]["state"]) == JobState.CANCELLED
    result = states(
        drive("script", *START, "offer:second", "feed:second", "step:1", "offer:cancel")
    )
    assert int(result[-1]["state"]) == JobState.ROLLED_BACK
    assert int(result[-1]["reason"]) == R.CANCELLED


def test_confirm_ends_a_trial_before_its_time(drive, folder):
    put(folder, "confirm", Job(job=2, action=JobAction.CONFIRM))
    result = states(
        drive("script", *START, "offer:second", "feed:second", "step:1", "offer:confirm")
    )
    assert int(result[-1]["state"]) == JobState.CONFIRMED and result[-1]["trial"] == "0"


def test_one_update_at_a_time_and_offers_repeated_change_nothing(drive):
    result = states(drive("script", *START, "offer:second", "offer:third", "offer:second"))
    assert int(result[-2]["reason"]) == R.BUSY and result[-2]["job"] == "3"
    assert int(result[-1]["state"]) == JobState.DOWNLOADING and result[-1]["job"] == "2"
    result = states(drive("script", *START, "offer:first", "boot", "offer:first"))
    assert int(result[-1]["state"]) == JobState.CONFIRMED


def test_a_deadline_ends_a_download(drive, folder):
    put(folder, "second", install(2, signed(), deadline_s=60))
    last = states(drive("script", *START, "offer:second", "step:59000", "step:2000"))
    assert int(last[-2]["state"]) == JobState.DOWNLOADING
    assert int(last[-1]["reason"]) == R.TIMED_OUT


def test_flash_that_fails_is_reported_and_the_old_model_runs(drive):
    last = states(drive("script", *START, "break", "offer:second"))[-1]
    assert int(last["state"]) == JobState.FAILED and int(last["reason"]) == R.FLASH_ERROR
    assert last["active"] == "0"


def test_a_slot_that_rots_is_left_for_the_model_before_it(drive):
    second = ("offer:second", "feed:second", "step:1", "step:10000")
    last = states(drive("script", *START, *second, "corrupt", "boot"))[-1]
    assert last["active"] == "0" and int(last["reason"]) == R.DIGEST_MISMATCH
    last = states(drive("script", *START, "corrupt", "boot"))[-1]
    assert last["active"] == "2"  # the model compiled in
