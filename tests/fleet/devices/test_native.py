# SPDX-License-Identifier: Apache-2.0
"""The agent as native processes, against a real broker."""

from __future__ import annotations

import datetime
import ipaddress
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleet.devices import start_devices
from fleet.devices.build import Program
from fleet.wire import messages as m
from tests.fleet.devices.conftest import ROOT_HEX, Broker, Server, write_credentials
from tests.fleet.devices.models import OUTPUTS, make_release

Start = Callable[..., "subprocess.Popen[str]"]
FAST = ("--inference-interval", "50", "--report-interval", "1", "--backoff", "200")


@pytest.fixture
def start(native: Program, broker: Broker, tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def begin(names: list[str], *options: str, address: str = "", ca: Path | None = None):
        process = start_devices(
            native,
            broker=address or broker.address,
            credentials=write_credentials(tmp_path / "credentials", names),
            root_key=ROOT_HEX,
            state=tmp_path / "state",
            ca=ca,
            stats_s=1,
            options=[*FAST, "--will-delay", "0", *options],
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def end(process: subprocess.Popen[str]) -> list[dict[str, int]]:
    """Ends it as a user does; a sanitizer's complaint would show in the status."""
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


def test_a_device_is_born_infers_reports_and_says_goodbye(server: Server, start: Start):
    process = start(["one"], "--sensor", "camera")
    server.wait("a report", lambda: bool(server.of(m.Report)))
    hello = server.of(m.Hello)[0]
    assert isinstance(hello, m.Hello)
    assert (hello.vendor, hello.hardware, hello.sensors) == ("generic", "host", ("camera",))
    assert hello.model.sequence == 0 and not hello.can_rollback
    report = server.of(m.Report)[-1]
    assert isinstance(report, m.Report) and report.inferences > 0
    assert report.outputs is not None and len(report.outputs) == OUTPUTS
    assert report.best == max(range(OUTPUTS), key=lambda i: (report.outputs[i] ^ 128, -i))
    end(process)
    assert server.of(m.Presence)[0] == m.Presence(boot_id=hello.boot_id, online=True)


def test_the_last_will_tells_that_a_killed_device_is_gone(server: Server, start: Start):
    process = start(["one"])
    server.wait("hello", lambda: bool(server.of(m.Hello)))
    hello = server.of(m.Hello)[0]
    assert isinstance(hello, m.Hello)
    process.kill()
    gone = m.Presence(boot_id=hello.boot_id, online=False)
    server.wait("the will", lambda: gone in server.of(m.Presence))


def test_an_update_goes_through_and_survives_a_restart(server: Server, start: Start):
    process = start(["one", "two"])
    server.wait("hello", lambda: len(server.of(m.Hello)) == 2)
    release = make_release(7, 5, "host")
    for name in ("one", "two"):
        server.install(name, 1, release)
    for name in ("one", "two"):
        status = server.wait_state(name, 1, m.JobState.CONFIRMED)
        assert status.sequence == 5 and status.reason == m.Reason.OK
    assert all(c is not None for c in server.correlations)
    assert end(process)[-1]["confirmed"] == 2
    server.seen.clear()
    process = start(["one", "two"])
    server.wait("hello", lambda: len(server.of(m.Hello)) == 2)
    for hello in server.of(m.Hello):
        assert isinstance(hello, m.Hello)
        assert hello.model.digest == release.manifest.digest and hello.can_rollback
    end(process)


def test_a_bad_model_is_refused_by_its_self_test(server: Server, start: Start):
    process = start(["one"])
    server.wait("hello", lambda: bool(server.of(m.Hello)))
    server.install("one", 1, make_release(7, 5, "host", is_bad=True))
    status = server.wait_state("one", 1, m.JobState.FAILED)
    assert status.reason == m.Reason.SELFTEST_MISMATCH
    server.install("one", 2, make_release(8, 6, "host"))
    server.wait_state("one", 2, m.JobState.CONFIRMED)
    end(process)


def test_a_process_killed_in_mid_download_goes_on(server: Server, start: Start):
    process = start(["one"])
    server.wait("hello", lambda: bool(server.of(m.Hello)))
    release = make_release(7, 5, "host")
    server.install("one", 1, release)
    server.wait("a request", lambda: bool(server.of(m.BlobRequest)))
    process.kill()
    process.wait()
    process = start(["one"])
    server.wait_state("one", 1, m.JobState.CONFIRMED)
    end(process)


def test_a_job_sent_while_the_device_is_away_waits_for_it(server: Server, start: Start):
    process = start(["one"])
    server.wait("hello", lambda: bool(server.of(m.Hello)))
    process.kill()
    process.wait()
    server.install("one", 1, make_release(7, 5, "host"))
    process = start(["one"])
    server.wait_state("one", 1, m.JobState.CONFIRMED)
    end(process)


def test_a_packet_larger_than_the_device_announced_never_reaches_it(server: Server, start: Start):
    process = start(["one"])
    server.wait("hello", lambda: bool(server.of(m.Hello)))
    hello = server.of(m.Hello)[0]
    assert isinstance(hello, m.Hello)
    data = bytes(hello.packet_bytes)
    reply = m.BlobReply(blob=bytes(8), offset=0, reason=m.Reason.OK, data=data)
    server.send("one", "blob", reply)
    server.send("one", "rpc", m.RpcRequest(call=9, command=m.RpcCommand.PING))
    server.wait("an answer", lambda: bool(server.of(m.RpcReply)))
    assert len(server.of(m.Hello)) == 1  # the connection held
    end(process)


def test_connections_that_break_cost_nothing(server: Server, start: Start):
    names = [f"dev-{i}" for i in range(20)]
    process = start(names, "--cut-percent", "40")
    release = make_release(7, 5, "host")
    server.wait("hello", lambda: len({d for d, s in server.seen if isinstance(s, m.Hello)}) == 20)
    for name in names:
        server.install(name, 1, release)
    for name in names:
        server.wait_state(name, 1, m.JobState.CONFIRMED)
    assert end(process)[-1]["confirmed"] == 20


def test_a_broker_that_restarts_is_found_again(broker: Broker, server: Server, start: Start):
    process = start(["one"])
    server.wait("hello", lambda: bool(server.of(m.Hello)))
    broker.stop()
    server.seen.clear()
    broker.start()
    # This broker keeps no session, so the device's hello may have come before the server was back.
    server.wait("reports again", lambda: bool(server.of(m.Report)))
    server.send("one", "rpc", m.RpcRequest(call=1, command=m.RpcCommand.REBIRTH))
    server.wait("hello again", lambda: bool(server.of(m.Hello)))
    end(process)


def test_the_twin_sets_the_interval_once_and_rpc_answers(server: Server, start: Start):
    process = start(["one"])
    server.wait("hello", lambda: bool(server.of(m.Hello)))
    server.send("one", "twin", m.TwinDesired(version=3, report_interval_s=7))
    server.send("one", "twin", m.TwinDesired(version=2, report_interval_s=9))

    def reported() -> bool:
        return any(
            isinstance(t, m.TwinReported) and (t.version, t.report_interval_s) == (3, 7)
            for t in server.of(m.TwinReported)
        )

    server.wait("the twin", reported)
    server.send("one", "rpc", m.RpcRequest(call=1, command=m.RpcCommand.PING))
    server.send("one", "rpc", m.RpcRequest(call=2, command=m.RpcCommand.FORGET_ADAPTATION))
    server.wait("answers", lambda: len(server.of(m.RpcReply)) == 2)
    answers = {r.call: r.reason for r in server.of(m.RpcReply) if isinstance(r, m.RpcReply)}
    assert answers == {1: m.Reason.OK, 2: m.Reason.UNSUPPORTED}
    hello = server.of(m.Hello)[0]
    server.send("one", "rpc", m.RpcRequest(call=3, command=m.RpcCommand.REBOOT))
    server.wait("another boot", lambda: len(server.of(m.Hello)) == 2)
    again = server.of(m.Hello)[1]
    assert isinstance(hello, m.Hello) and isinstance(again, m.Hello)
    assert again.boot_id != hello.boot_id and again.twin_version == 3
    assert (again.reset_reason, again.resets) == (m.ResetReason.SOFTWARE, 1)
    end(process)


def test_garbage_from_the_server_is_counted_and_passed_over(server: Server, start: Start):
    process = start(["one"])
    server.wait("hello", lambda: bool(server.of(m.Hello)))
    for channel in ("job", "twin", "blob", "rpc", "train"):
        topic = f"tinyml/v1/acme/one/down/{channel}"
        server._client.publish(topic, b"\xff" * 50, qos=1)
        server._client.publish(topic, b"", qos=1)
    server._client.publish("tinyml/v1/acme/one/down/nonsense", b"\x00", qos=1)

    def counted() -> bool:
        return any(isinstance(r, m.Report) and r.dropped == 11 for r in server.of(m.Report))

    server.wait("a report that counts them", counted)
    end(process)


def make_ca(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, secret


def test_tls_with_the_right_authority_only(native: Program, start: Start, tmp_path: Path):
    pem, secret = make_ca(tmp_path, "broker")
    stranger, _ = make_ca(tmp_path, "stranger")
    (tmp_path / "tls").mkdir()
    broker = Broker(tmp_path / "tls")
    broker.stop()
    from tests.fleet.devices.conftest import free_port

    port = free_port()
    config = tmp_path / "tls" / "mosquitto.conf"
    with config.open("a") as file:
        file.write(f"listener {port} 127.0.0.1\ncertfile {pem}\nkeyfile {secret}\n")
    broker.start()
    server = Server(broker)
    try:
        wrong = start(["one"], address=f"localhost:{port}", ca=stranger)
        with pytest.raises(subprocess.TimeoutExpired):
            wrong.wait(3)
        assert not server.seen
        assert end(wrong)[-1]["connected"] == 0
        right = start(["one"], address=f"localhost:{port}", ca=pem)
        server.wait("hello over TLS", lambda: bool(server.of(m.Hello)))
        server.install("one", 1, make_release(7, 5, "host"))
        server.wait_state("one", 1, m.JobState.CONFIRMED)
        end(right)
    finally:
        server.stop()
        broker.stop()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--root-key", "xyz"], "error: xyz: holds no key"),
        (["--broker", "nowhere"], "error: --broker nowhere is not HOST:PORT"),
        (["--credentials", "/nonexistent"], "error: /nonexistent: No such file"),
        (["--inference-interval", "soon"], "error: --inference-interval: is not a number"),
        (["--samples", "/etc/hostname"], "is not a whole number of samples"),
    ],
)
def test_wrong_options_are_named(native: Program, tmp_path: Path, options, complaint: str):
    credentials = write_credentials(tmp_path / "credentials", ["one"])
    command = [native.path, "--broker", "127.0.0.1:1", "--credentials", credentials]
    command += ["--root-key", ROOT_HEX, "--state", tmp_path, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert complaint in done.stderr
