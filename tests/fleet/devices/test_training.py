# SPDX-License-Identifier: Apache-2.0
"""Federated rounds on real agents: what a device learns is what the definition learns."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleet.devices import build_board, build_device, start_board, start_devices
from fleet.wire.messages import (
    ArrayKind,
    Dtype,
    Hello,
    IndexCoding,
    Reason,
    TrainJob,
    TrainPhase,
    TrainReply,
)
from tests.fleet.devices.conftest import ROOT_HEX, TENANT, Broker, Server, write_credentials
from tests.fleet.devices.models import write_export
from tests.tinyml.learn.networks import mlp
from tinyml import TinymlError
from tinyml.learn import LearnOptions, Loss, make_learner
from tinyml.learn.learner import write_learn_folder
from tinyml.learn.native import NativeLearner, load_native

SIZES = (1, 12, 12, 1)
ROWS = 64
NAME = "single"


@dataclass
class Device:
    """An agent that learns, its rows, and the same learner in this process."""

    server: Server
    native: NativeLearner
    rows: np.ndarray
    abi: int
    exported: np.ndarray
    next_job: int = 0

    def run(self, **fields: Any) -> tuple[TrainReply, list[tuple[TrainReply, bytes]]]:
        """Sends a job; returns the first part of the reply, and each array."""
        self.next_job += 1
        parameters = fields.pop("parameters").astype("<f4").tobytes()
        if fields.get("dtype") == Dtype.F16:
            parameters = np.frombuffer(parameters, "<f4").astype("<f2").tobytes()
        digest = hashlib.sha256(parameters).digest()
        defaults: dict[str, Any] = {
            "round": 1,
            "phase": TrainPhase.TRAIN,
            "abi": self.abi,
            "dtype": Dtype.F32,
            "digest": digest,
            "size": len(parameters),
            "data": parameters,
            "steps": 8,
            "lr": 0.02,
        }
        job = TrainJob(job=self.next_job, **(defaults | fields))
        self.server.artefacts[digest] = parameters
        self.server.send("one", "train", job)
        wanted = 2 if job.phase == TrainPhase.GRADIENTS else 1
        arrays: list[tuple[TrainReply, bytes]] = []

        def complete() -> bool:
            arrays.clear()
            parts = [r for r in self.server.of(TrainReply) if r.job == self.next_job]
            data = b""
            for part in parts:
                assert isinstance(part, TrainReply)
                if part.reason != Reason.OK or part.kind == ArrayKind.NONE:
                    arrays.append((part, b""))
                    return True
                assert part.offset == len(data), "parts come in order"
                data += part.data or b""
                if len(data) == part.total:
                    assert zlib.crc32(data) == part.crc
                    arrays.append((part, data))
                    data = b""
            return len(arrays) == wanted

        self.server.wait("a reply", complete)
        return arrays[0][0], list(arrays)


@pytest.fixture(scope="module")
def learner(tmp_path_factory) -> Any:
    graph = mlp(SIZES)
    graph.name = NAME  # as the export's model
    return make_learner(graph, LearnOptions("all", loss=Loss.MSE))


@pytest.fixture(scope="module")
def export(learner: Any, tmp_path_factory) -> Path:
    folder = write_export(tmp_path_factory.mktemp("learning") / NAME)
    write_learn_folder(learner, folder / "learn")
    return folder


Start = Callable[[Broker, Path], "subprocess.Popen[str]"]


def process_starter(export: Path) -> Start:
    """The agent as a process of this machine, under sanitizers."""
    program = build_device(export, sanitize=True)
    return lambda broker, folder: start_devices(
        program,
        broker=broker.address,
        credentials=write_credentials(folder / "credentials", ["one"]),
        root_key=ROOT_HEX,
        state=folder / "state",
        options=["--learn-samples", str(folder / "rows.f32"), "--inference-interval", "0"],
        stdout=subprocess.DEVNULL,
    )


def board_starter(export: Path) -> Start:
    """The agent as firmware of the emulated Cortex-M4."""
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    program = build_board(export)
    return lambda broker, folder: start_board(
        program,
        broker=broker.address,
        tenant=TENANT,
        device="one",
        password="-",
        root_key=ROOT_HEX,
        state=folder / "state",
        rows=folder / "rows.f32",
    )


@pytest.fixture(scope="module", params=[process_starter, board_starter])
def start(request: pytest.FixtureRequest, export: Path) -> Start:
    try:
        return request.param(export)
    except TinymlError as error:
        pytest.skip(error.message)


@pytest.fixture
def device(
    learner: Any, start: Start, broker: Broker, server: Server, tmp_path: Path
) -> Iterator[Device]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-5, 5, ROWS)
    rows = np.stack([x, 2 * np.sin(x)], 1).astype("<f4")
    (tmp_path / "rows.f32").write_bytes(rows.tobytes())
    process = start(broker, tmp_path)
    native = load_native(learner, tmp_path / "native")
    server.wait("hello", lambda: bool(server.of(Hello)))
    hello = server.of(Hello)[0]
    assert isinstance(hello, Hello) and hello.learning is not None
    assert hello.learning.parameters == len(native.weights)
    yield Device(server, native, rows, hello.learning.abi, native.weights.copy())
    process.terminate()
    process.wait(60)
    assert process.returncode == 0


def start_weights(device: Device, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(len(device.native.weights)) * 0.3).astype(np.float32)


def learned(device: Device, start: np.ndarray, first: int, count: int, rate: float = 0.02):
    """What the same C gives in this process."""
    native = device.native
    native.handle.rate = rate
    native.set_weights(start)
    for row in device.rows[first : first + count]:
        native.step(row[:1], row[1:])
    return native.weights.copy()


def test_weights_are_those_of_the_same_learner(device: Device):
    start = start_weights(device)
    reply, arrays = device.run(parameters=start, steps=20)
    assert reply.reason == Reason.OK and reply.num_examples == 20
    assert reply.kind == ArrayKind.WEIGHTS and reply.coding == IndexCoding.DENSE
    expected = learned(device, start, 0, 20)
    np.testing.assert_array_equal(np.frombuffer(arrays[0][1], "<f4"), expected)
    # The next round goes on with the next rows.
    _, arrays = device.run(parameters=start, steps=10, answer=ArrayKind.DELTA)
    change = np.frombuffer(arrays[0][1], "<f4")
    np.testing.assert_array_equal(change, learned(device, start, 20, 10) - start)


def test_parameters_are_pulled_when_they_are_not_in_the_message(device: Device):
    start = start_weights(device)
    _, arrays = device.run(parameters=start, data=None)
    np.testing.assert_array_equal(np.frombuffer(arrays[0][1], "<f4"), learned(device, start, 0, 8))


def sparse(reply: TrainReply, data: bytes, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and values."""
    value = "<f4" if reply.dtype == Dtype.F32 else "<f2"
    width = 4 if reply.dtype == Dtype.F32 else 2
    if reply.coding == IndexCoding.BITMAP:
        size = (count + 7) // 8
        bits = np.unpackbits(np.frombuffer(data[:size], np.uint8), bitorder="little")[:count]
        return np.flatnonzero(bits), np.frombuffer(data[size:], value)
    each = 2 if reply.coding == IndexCoding.U16 else 4
    number = len(data) // (each + width)
    positions = np.frombuffer(data[: each * number], f"<u{each}")
    return positions, np.frombuffer(data[each * number :], value)


@pytest.mark.parametrize(("top", "coding"), [(0.2, IndexCoding.BITMAP), (0.01, IndexCoding.U16)])
def test_the_largest_changes_alone_travel(device: Device, top: float, coding: IndexCoding):
    start = start_weights(device)
    reply, arrays = device.run(parameters=start, answer=ArrayKind.DELTA, top=top)
    assert reply.coding == coding
    count = len(start)
    positions, values = sparse(reply, arrays[0][1], count)
    change = learned(device, start, 0, 8) - start
    keep = int(np.ceil(np.float32(top) * np.float32(count)))
    expected = np.sort(np.argsort(-np.abs(change), kind="stable")[:keep])
    np.testing.assert_array_equal(positions, expected)
    np.testing.assert_array_equal(values, change[expected])


def test_halves_travel_both_ways(device: Device):
    start = start_weights(device).astype(np.float16).astype(np.float32)
    _, arrays = device.run(
        parameters=start, dtype=Dtype.F16, answer=ArrayKind.DELTA, answer_dtype=Dtype.F16
    )
    change = learned(device, start, 0, 8) - start
    received = np.frombuffer(arrays[0][1], "<f2")
    np.testing.assert_array_equal(received, change.astype(np.float16))


def test_what_stays_on_the_device_is_rebuilt_first(device: Device):
    start = start_weights(device)
    count = len(start)
    shared = count - 13  # the last layer stays
    _, arrays = device.run(
        parameters=start[:shared],
        global_parameters=shared,
        local_steps=10,
        local_lr=0.05,
        answer=ArrayKind.DELTA,
    )
    native = device.native
    local = device.exported[shared:].copy()
    native.handle.rate = 0.05
    for row in device.rows[:10]:
        native.set_weights(np.concatenate([start[:shared], local]))
        native.step(row[:1], row[1:])
        local = native.weights[shared:].copy()
    native.handle.rate = 0.02
    moving = start[:shared].copy()
    for row in device.rows[10:18]:
        native.set_weights(np.concatenate([moving, local]))
        native.step(row[:1], row[1:])
        moving = native.weights[:shared].copy()
    np.testing.assert_array_equal(np.frombuffer(arrays[0][1], "<f4"), moving - start[:shared])


def test_clipping_bounds_the_change(device: Device):
    start = start_weights(device)
    reply, arrays = device.run(parameters=start, answer=ArrayKind.DELTA, clip_norm=0.01)
    change = np.frombuffer(arrays[0][1], "<f4")
    assert reply.clipped == np.float32(0.01)
    assert np.linalg.norm(change) == pytest.approx(0.01, rel=1e-3)
    free = learned(device, start, 0, 8) - start
    cosine = change @ free / np.linalg.norm(change) / np.linalg.norm(free)
    assert cosine > 0.999


def test_the_proximal_term_holds_back(device: Device):
    start = start_weights(device)
    _, arrays = device.run(parameters=start, answer=ArrayKind.DELTA, proximal=10.0, steps=16)
    held = np.linalg.norm(np.frombuffer(arrays[0][1], "<f4"))
    free = np.linalg.norm(learned(device, start, 0, 16) - start)
    assert held < 0.9 * free


def test_evaluation_changes_nothing(device: Device):
    start = start_weights(device)
    device.run(parameters=start, steps=16)
    mine = learned(device, start, 0, 16)
    reply, arrays = device.run(parameters=start, phase=TrainPhase.EVALUATE, steps=32)
    assert arrays[0][1] == b"" and reply.num_examples == 32
    native = device.native
    native.set_weights(start)
    errors = [float(native.predict(r[:1]).outputs[0] - r[1]) ** 2 for r in device.rows[16:48]]
    assert reply.loss == pytest.approx(np.mean(errors), rel=1e-4)
    assert not np.array_equal(mine, start)


def mask_of(active: np.ndarray) -> bytes:
    return np.packbits(active, bitorder="little").tobytes()


def test_a_mask_holds_and_gradients_of_the_rest_come_too(device: Device):
    start = start_weights(device)
    count = len(start)
    active = np.random.default_rng(5).random(count) < 0.5
    start = np.where(active, start, 0).astype(np.float32)
    mask = mask_of(active)
    first = SIZES[0] * SIZES[1] + SIZES[1]  # the second layer's weights
    reply, arrays = device.run(
        parameters=start,
        phase=TrainPhase.GRADIENTS,
        mask=mask,
        mask_digest=hashlib.sha256(mask).digest(),
        block_first=first,
        top_gradients=5,
    )
    assert reply.coding == IndexCoding.MASK
    assert len(arrays[0][1]) == 4 * active.sum()
    second, data = arrays[1]
    assert second.kind == ArrayKind.GRADIENTS and second.num_examples is None
    positions, values = sparse(second, data, count)
    assert len(positions) == 5 and np.all(np.diff(positions) > 0)
    assert not active[positions].any()
    assert np.all((positions >= first) & (positions < first + SIZES[1] * SIZES[2]))
    assert np.all(np.isfinite(values)) and np.all(values != 0)


def test_a_mask_is_pulled_right_after_the_weights(device: Device):
    start = start_weights(device)
    active = np.random.default_rng(5).random(len(start)) < 0.5
    mask = mask_of(active)
    digest = hashlib.sha256(mask).digest()
    device.server.artefacts[digest] = mask
    begun = time.monotonic()
    reply, arrays = device.run(parameters=np.where(active, start, 0), data=None, mask_digest=digest)
    # Unanswered requests are repeated after 10 s; nothing here may wait for that.
    assert time.monotonic() - begun < 9
    assert reply.coding == IndexCoding.MASK and len(arrays[0][1]) == 4 * active.sum()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"abi": 1}, Reason.UNKNOWN_MODEL),
        ({"size": 8}, Reason.WRONG_SHAPE),
        ({"digest": bytes(32)}, Reason.DIGEST_MISMATCH),
        ({"lr": float("nan")}, Reason.BAD_CONFIG),
        ({"lr": -1.0}, Reason.BAD_CONFIG),
        ({"steps": 0}, Reason.BAD_CONFIG),
        ({"top": 2.0, "answer": ArrayKind.DELTA}, Reason.BAD_CONFIG),
        ({"top": 0.5}, Reason.BAD_CONFIG),
        ({"batch": 8}, Reason.UNSUPPORTED),
        ({"clip_norm": 0.0}, Reason.BAD_CONFIG),
        ({"global_parameters": 1_000_000}, Reason.WRONG_SHAPE),
        ({"phase": TrainPhase.STATISTICS}, Reason.UNSUPPORTED),
        ({"phase": TrainPhase.GRADIENTS}, Reason.BAD_CONFIG),
        ({"lr": 1e30}, Reason.NOT_FINITE),
    ],
)
def test_jobs_that_cannot_be_done_are_answered_with_a_reason(
    device: Device, change: dict[str, Any], reason: Reason
):
    start = start_weights(device)
    reply, _ = device.run(parameters=start, **change)
    assert reply.reason == reason and reply.kind == ArrayKind.NONE
    # And the next one is done.
    reply, _ = device.run(parameters=start)
    assert reply.reason == Reason.OK


def test_parameters_that_are_not_finite_are_refused(device: Device):
    start = start_weights(device)
    start[3] = np.nan
    reply, _ = device.run(parameters=start)
    assert reply.reason == Reason.NOT_FINITE


def test_an_old_job_is_stale_and_a_repeated_one_is_answered_again(device: Device):
    start = start_weights(device)
    device.run(parameters=start)
    device.run(parameters=start)
    device.next_job = 0
    reply, _ = device.run(parameters=start)
    assert (
        any(
            r.job == 1 and r.reason == Reason.STALE_ROUND
            for r in device.server.of(TrainReply)
            if isinstance(r, TrainReply)
        )
        or reply.reason == Reason.OK
    )
