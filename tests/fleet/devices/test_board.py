# SPDX-License-Identifier: Apache-2.0
"""The agent on an emulated Cortex-M4 whose UART leads to a real broker."""

from __future__ import annotations

from pathlib import Path

from fleet.devices import start_board
from fleet.devices.build import Program
from fleet.wire import messages as m
from tests.fleet.devices.conftest import ROOT_HEX, TENANT, Broker, Server
from tests.fleet.devices.models import make_release


def test_an_emulated_board_is_updated_and_keeps_its_model(
    board: Program, broker: Broker, server: Server, tmp_path: Path
):
    def start():
        return start_board(
            board,
            broker=broker.address,
            tenant=TENANT,
            device="board-1",
            password="-",
            root_key=ROOT_HEX,
            state=tmp_path / "board-1",
        )

    release = make_release(7, 5, "cortex-m4")
    process = start()
    try:
        server.wait("hello", lambda: bool(server.of(m.Hello)))
        server.send("board-1", "twin", m.TwinDesired(version=1, report_interval_s=1))
        server.install("board-1", 1, release)
        status = server.wait_state("board-1", 1, m.JobState.CONFIRMED)
        assert status.sequence == 5
        server.wait("a report", lambda: any_report(server, 5))
        server.install("board-1", 2, make_release(8, 6, "cortex-m4", is_bad=True))
        status = server.wait_state("board-1", 2, m.JobState.FAILED)
        assert status.reason == m.Reason.SELFTEST_MISMATCH
    finally:
        process.kill()
        process.wait()
    server.seen.clear()
    process = start()
    try:
        server.wait("hello after power came back", lambda: bool(server.of(m.Hello)))
        hello = server.of(m.Hello)[0]
        assert isinstance(hello, m.Hello)
        assert hello.model.digest == release.manifest.digest
    finally:
        process.kill()
        process.wait()


def any_report(server: Server, sequence: int) -> bool:
    return any(
        isinstance(r, m.Report) and r.model_sequence == sequence and r.inferences > 0
        for r in server.of(m.Report)
    )
