# SPDX-License-Identifier: Apache-2.0
"""The whole path: `fleet serve`, mosquitto and the agent in C that runs on devices."""

from __future__ import annotations

import os
import queue
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.artifacts.release import from_export, sign
from fleet.devices import fetch_crypto
from fleet.domain.plan import Abort, Plan, Policy, Rate, Wave
from fleet.keys import load_signer, make_release_key, make_root
from fleet.mqtt.broker import WORKER, running
from fleet.service import devices, rollouts, telemetry, twins
from fleet.store import queues
from fleet.wire import decode, topics
from fleet.wire.messages import Job, JobAction, JobState, JobStatus
from tests.fleet.conftest import Cluster
from tests.fleet.live import TENANT, Live, perceptron
from tests.fleet.mqtt.client import Client
from tinyml import TinymlError

pytestmark = pytest.mark.skipif(
    not (shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")),
    reason="mosquitto is not installed",
)
QUICK = ("--inference-interval", "200", "--report-interval", "1", "--backoff", "100")


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three exports of equal structure and different weights."""
    if not Path("/usr/include/mbedtls/ssl.h").exists():
        pytest.skip("libmbedtls-dev is not installed")
    try:
        fetch_crypto(with_hashes=False)
    except TinymlError as error:
        pytest.skip(error.message)
    folder = tmp_path_factory.mktemp("exports")
    return [perceptron(folder / str(seed), seed) for seed in (1, 2, 3)]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with Live(tmp_path) as running_:
        running_.serve()
        yield running_


def test_devices_live_update_and_go_back(live: Live, exports: list[Path]):
    names = live.start(exports[0], 6, options=[*QUICK, "--sensor", "camera"])
    # presence, hello, telemetry
    shown = devices.shown(live.home, TENANT, names[0])
    assert (shown["class"], shown["boots"], shown["sensors"]) == ("host", 1, ["camera"])
    live.until(lambda: telemetry.latest(live.home, TENANT, names[0]), "a report comes")
    assert telemetry.latest(live.home, TENANT, names[0])[0]["model_sequence"] == 0
    # the twin
    change = {"report_interval_s": 2, "properties": {"led": True}}
    twins.patch(live.home, TENANT, names[0], change, "test")
    live.until(lambda: twins.read(live.home, TENANT, names[0])["in_sync"], "the twin is in sync")
    assert twins.read(live.home, TENANT, names[0])["reported"]["report_interval_s"] == 2
    # two waves
    plan = Plan(waves=(Wave(count=2), Wave(percent=100)), trial_s=1, jitter_s=0.5)
    first = live.publish(exports[1])
    preview = rollouts.preview(live.home, TENANT, "perceptron", [], plan)
    one = live.rollout("perceptron", plan)
    assert live.ended(one)["states"] == {"confirmed": 6}
    by_wave = {w: [] for w in (1, 2)}
    for row in rollouts.assignments(live.home, TENANT, one):
        by_wave[row["wave"]].append(row["device"])
    assert [sorted(w) for w in preview.waves] == [sorted(by_wave[1]), sorted(by_wave[2])]
    assert {d["model"] for d in devices.listed(live.home, TENANT)} == {first["digest"]}
    entries = live.trail(f"rollout/{one}")
    opened = next(e["id"] for e in entries if e["detail"].get("detail") == "wave 2")
    second_wave = [e["id"] for e in entries if e["action"] == "assignment.offered"][2:]
    assert min(second_wave) > opened
    # a second release, and back to the first from the passive slot
    live.publish(exports[2])
    two = live.rollout("perceptron", Plan(trial_s=1))
    assert live.ended(two)["states"] == {"confirmed": 6}
    back = rollouts.roll_back(live.home, TENANT, two, "test")
    assert live.ended(back)["states"] == {"confirmed": 6}
    live.until(
        lambda: {d["model"] for d in devices.listed(live.home, TENANT)} == {first["digest"]},
        "all run the first release again",
    )
    counts = Counter(e["action"] for e in live.trail())
    assert counts["message.refused"] == 0


def test_a_bad_model_is_refused_by_the_self_test_and_the_fleet_goes_back(
    live: Live, exports: list[Path]
):
    live.start(exports[0], 5, options=QUICK)
    live.publish(exports[1])
    assert live.ended(live.rollout("perceptron", Plan(trial_s=1)))["states"] == {"confirmed": 5}
    good = {d["model"] for d in devices.listed(live.home, TENANT)}
    # Signed, whole, and wrong: one weight changed after the golden outputs were computed.
    draft = from_export(exports[2], ["host"])
    weights = bytearray(draft.artefact)
    weights[draft.weights_bytes // 2] ^= 0x40
    live.publish(replace(draft, artefact=bytes(weights)))
    plan = Plan(waves=(Wave(count=2), Wave(percent=100)), abort=Abort(percent=50, min_finished=2))
    status = live.ended(live.rollout("perceptron", plan))
    assert status["state"] == "stopped"
    assert status["reasons"] == {"selftest_mismatch": 2, "cancelled": 3}
    assert status["by_wave"] == [{"failed": 2}, {"cancelled": 3}]
    assert {d["model"] for d in devices.listed(live.home, TENANT)} == good


def test_every_wrong_manifest_is_refused(live: Live, exports: list[Path], tmp_path: Path):
    (name,) = live.start(exports[0], 1, options=QUICK)
    draft = from_export(exports[1], ["host"])
    live.home.blobs.put(draft.artefact)
    signer = load_signer(live.home.keys, time.time())
    server = Client(live.home.config.broker.worker_port, WORKER, live.home.secret("worker"))
    server.subscribe(topics.up_filter("job"))
    answers: queue.Queue[JobStatus] = queue.Queue()
    server.client.on_message = lambda c, d, m: answers.put(decode(JobStatus, m.payload))
    number = int(time.time())

    def ask(manifest: bytes, grant: bytes | None = signer.grant) -> tuple[str, str]:
        nonlocal number
        number += 1
        job = Job(
            job=number,
            action=JobAction.INSTALL,
            manifest=manifest,
            grant=grant,
            soak_s=0,
            time_s=int(time.time()),
        )
        outgoing = queues.Outgoing(topics.down(TENANT, name, "job"), job.encode(), 60)
        with live.home.store.write() as connection:
            queues.put_outgoing(connection, [outgoing])
        final = (JobState.REJECTED, JobState.FAILED, JobState.CONFIRMED, JobState.ROLLED_BACK)
        while True:
            status = answers.get(timeout=60)
            if status.job == number and status.state in final:
                return status.state.name.lower(), status.reason.name.lower()

    def signed(**changes: object) -> bytes:
        fields = {"sequence": 5, "tenant": TENANT, "vendor": "generic", **changes}
        return sign(draft, signer, **fields)

    whole = signed()
    # another device, class, vendor, tenant, structure; expired
    fields = {"sequence": 5, "tenant": TENANT, "vendor": "generic"}
    cases = [
        ("wrong_device", signed(device="another")),
        ("wrong_device", signed(tenant="another")),
        ("wrong_vendor", signed(vendor="another")),
        ("expired", signed(expires_s=1_000_000_000)),
        ("wrong_class", sign(replace(draft, classes=("cortex-m0",)), signer, **fields)),
        ("wrong_abi", sign(replace(draft, abi=draft.abi ^ 1), signer, **fields)),
        ("arena_too_small", sign(replace(draft, arena_bytes=1 << 24), signer, **fields)),
    ]
    for reason, manifest in cases:
        assert ask(manifest) == ("rejected", reason)
    # another root, and a release key that no root granted
    make_root(tmp_path / "foreign")
    make_release_key(tmp_path / "foreign", tmp_path / "foreign" / "root.key", TENANT)
    foreign = load_signer(tmp_path / "foreign", time.time())
    theirs = sign(draft, foreign, sequence=5, tenant=TENANT, vendor="generic")
    for grant in (foreign.grant, signer.grant, None):
        state, reason = ask(theirs, grant)
        assert state == "rejected"
        assert reason in ("unknown_key", "bad_signature")
    # every kind of damage
    dice = random.Random(0)
    for _ in range(25):
        place, bit = dice.randrange(len(whole)), 1 << dice.randrange(8)
        broken = bytearray(whole)
        broken[place] ^= bit
        state, reason = ask(bytes(broken))
        assert state == "rejected", (place, bit)
        assert reason in ("bad_message", "bad_signature", "unknown_key"), (place, bit)
    assert ask(whole[:-1])[0] == "rejected"
    # nothing of all this changed the device; then the right one, once, and no older one
    assert live.stats()["factory"] == 1
    live.publish(exports[1])  # so that the blob role may serve the artefact
    assert ask(whole) == ("confirmed", "ok")
    for sequence in (5, 4, 1):
        assert ask(signed(sequence=sequence)) == ("rejected", "replayed")
    server.close()


def test_a_killed_server_loses_and_repeats_nothing(live: Live, exports: list[Path]):
    live.start(exports[0], 12, options=QUICK)
    live.publish(exports[1])
    plan = Plan(trial_s=1, rate=Rate(per_minute=120, burst=1), policy=Policy(step_timeout_s=120))
    number = live.rollout("perceptron", plan)
    for _ in range(3):
        time.sleep(1.0)
        live.servers[-1].send_signal(signal.SIGKILL)
        live.servers[-1].wait()
        live.serve()
    assert live.ended(number)["states"] == {"confirmed": 12}
    assert_each_once(live, number)


def assert_each_once(live: Live, number: int) -> None:
    """Each device took each step once, by the trail; each was offered one job."""
    steps = Counter(
        (e["subject"], e["action"]) for e in live.trail(f"rollout/{number}")
        if e["action"].startswith("assignment.")
    )  # fmt: skip
    assert set(steps.values()) == {1}
    offered = [s for s in steps if s[1] == "assignment.offered"]
    confirmed = [s for s in steps if s[1] == "assignment.confirmed"]
    devices_ = live.status(number)["devices"]
    assert len(offered) == len(confirmed) == devices_
    assert all(a["attempt"] == 1 for a in rollouts.assignments(live.home, TENANT, number))


def test_the_broker_may_die(live: Live, exports: list[Path]):
    live.start(exports[0], 8, options=QUICK)
    live.publish(exports[1])
    plan = Plan(trial_s=1, rate=Rate(per_minute=120, burst=1), policy=Policy(repeat_s=3))
    number = live.rollout("perceptron", plan)
    time.sleep(1.5)
    process = running(live.home)
    assert process is not None
    os.kill(process, signal.SIGKILL)
    live.until(lambda: running(live.home) not in (None, process), "the broker is started again")
    assert live.ended(number)["states"] == {"confirmed": 8}
    live.until(lambda: live.online() == 8, "all are present again")


def test_a_revoked_device_is_gone(live: Live, exports: list[Path]):
    names = live.start(exports[0], 2, options=QUICK)
    devices.revoke(live.home, TENANT, names[0], "test")
    live.until(lambda: live.stats().get("connected") == 1, "the broker has thrown it out")
    assert live.online() == 1


def test_roles_in_several_processes_on_postgresql(
    tmp_path: Path, postgres: Cluster, exports: list[Path]
):
    with Live(tmp_path, postgres.database()) as live:
        live.serve("--roles", "broker,rollout,blob")
        live.serve("--roles", "ingest", "--instance", "1")
        live.serve("--roles", "ingest,rollout", "--instance", "2")
        names = live.start(exports[0], 4, options=QUICK)
        live.publish(exports[1])
        number = live.rollout(
            "perceptron", Plan(waves=(Wave(count=1), Wave(percent=100)), trial_s=1)
        )
        live.until(lambda: telemetry.latest(live.home, TENANT, names[0]), "a report comes")
        assert live.ended(number)["states"] == {"confirmed": 4}
        assert_each_once(live, number)
