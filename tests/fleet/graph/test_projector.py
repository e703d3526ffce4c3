# SPDX-License-Identifier: Apache-2.0
"""The graph follows SQL, and a rebuilt graph equals one that followed."""

from __future__ import annotations

from pathlib import Path

from pyoxigraph import RdfFormat

from fleet.graph.library import ask, find_query
from fleet.graph.projector import Projector
from fleet.graph.store import GraphStore
from fleet.home import Home
from fleet.service import devices, models
from fleet.store import queues, releases, schema

REPORT = {
    "tinyml": "0.1.0",
    "target": {"name": "cortex-m4"},
    "model": {"abi": "00", "macs": 100, "parameters": 10, "provenance": {"data": "digits"}},
    "memory": {"flash": 5000, "ram": 2000},
    "instructions": 1234,
    "inputs": [{"dtype": "int8"}],
    "layers": [{"name": "l", "op": "conv2d", "shape": [1, 2], "macs": 100}],
    "accuracy": {"int8": 0.9, "data": "digits, test"},
    "quantisation": {"calibration": "digits, train"},
}


def publish(home: Home, name: str, sequence: int, ram: int) -> str:
    digest = f"{sequence:064x}"
    with home.store.write() as connection:
        releases.add_artefact(connection, digest, 10, "model", 1.0)
        number = releases.add(
            connection, tenant="default", name=name, version="1", sequence=sequence, digest=digest,
            size=10, manifest=b"", authority=b"", created_at=1.7e9, created_by="ann",
            requirements={"sensors": ["camera"], "task": "look",
                          "classes": ["cortex-m4"], "abi": "00",
                          "arena_bytes": 1, "slot_bytes": 1},
            report={**REPORT, "memory": {"flash": 5000, "ram": ram}},
        )  # fmt: skip
        queues.put_outbox(connection, [queues.Change("release", "default", str(number))])
    return digest


def say_hello(home: Home, name: str, runs: str) -> None:
    with home.store.write() as connection:
        number = devices.find(connection, "default", name)["id"]
        connection.execute(
            schema.device.update()
            .where(schema.device.c.id == number)
            .values(
                state="active",
                vendor=home.config.vendor,
                hardware="cortex-m4",
                abi="00",
                arena_bytes=9,
                slot_bytes=9,
                packet_bytes=2048,
                model_digest=runs,
            )
        )
        connection.execute(schema.sensor.insert(), [{"device_id": number, "kind": "camera"}])
        queues.put_outbox(connection, [queues.Change("device", "default", name)])


def everything(graph: GraphStore) -> set[str]:
    return set(graph.dump(RdfFormat.N_QUADS).decode().splitlines())


def fits(graph: GraphStore, device: str) -> list[str]:
    rows = ask(graph, find_query("fits-device"), {"device": device})
    return [row["model"].value for row in rows]


def test_following_equals_rebuilding(home: Home, tmp_path: Path):
    graph = GraphStore(tmp_path / "graph")
    projector = Projector(home.store, graph)
    digest = publish(home, "fits", 1, 2000)
    publish(home, "too-big", 2, 1 << 30)
    devices.add(home, "default", ["one", "two"], "ann", tags={"site": "lab"})
    while projector.follow():
        pass
    assert fits(graph, "one") == []
    say_hello(home, "one", digest)
    devices.revoke(home, "default", "two", "ann")
    models.flag(home, "default", "fits", "ADV-1", "leaks", "ann")
    while projector.follow():
        pass
    assert fits(graph, "one") == ["fits"]
    rows = list(ask(graph, find_query("vulnerable-devices"), {}))
    assert [(r["device"].value, r["advisory"].value) for r in rows] == [("one", "ADV-1")]
    state = graph.query('SELECT ?s WHERE { ?d td:title "two" ; tml:state ?s }')
    assert [r["s"].value for r in state] == ["revoked"]

    followed = everything(graph)
    rebuilt = GraphStore()
    done = Projector(home.store, rebuilt).rebuild()
    assert (done.devices, done.models) == (2, 2)
    assert everything(rebuilt) == followed


def test_a_killed_follower_goes_on(home: Home, tmp_path: Path):
    """The outbox is emptied last: what was projected twice changes nothing."""
    folder = tmp_path / "graph"
    publish(home, "fits", 1, 2000)
    devices.add(home, "default", ["one"], "ann")
    graph = GraphStore(folder)
    with home.store.read() as connection:
        pending = queues.read_outbox(connection)
    Projector(home.store, graph).follow()
    before = everything(graph)
    with home.store.write() as connection:
        changes = [queues.Change(r["kind"], r["tenant"], r["subject"]) for r in pending]
        queues.put_outbox(connection, changes)
    assert Projector(home.store, graph).follow() == len(pending)
    assert everything(graph) == before


def test_imports_survive_a_rebuild(plain_home: Home):
    from fleet.graph.seloc import SELOC

    graph = GraphStore()
    graph.load(b"<urn:a> <urn:b> <urn:c> .", RdfFormat.N_TRIPLES, SELOC)
    Projector(plain_home.store, graph).rebuild()
    assert bool(graph.query("ASK { <urn:a> <urn:b> <urn:c> }"))
