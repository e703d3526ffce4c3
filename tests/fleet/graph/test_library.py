# SPDX-License-Identifier: Apache-2.0
"""Every query of the library has an expected, non-empty answer here."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyoxigraph import RdfFormat

from fleet.errors import InvalidError, NotFoundError
from fleet.graph.facts import RoundFacts
from fleet.graph.library import ask, find_query, list_queries, parse
from fleet.graph.seloc import load_seloc, mend, seloc_model, seloc_profile
from fleet.graph.store import GraphStore
from fleet.graph.triples import round_triples
from fleet.graph.vocabulary import ONTOLOGY, deployments_graph, term
from tests.fleet.graph import sample

SELOC = Path(__file__).parents[4] / "shared" / "data" / "seloc-ml"
EXPECTED: dict[str, tuple[dict[str, str], list[list[str]]]] = {
    "fits-device": ({"device": "a-big"}, [["hears", "1"], ["sees", "1"], ["heavy", "1"]]),
    "fits-model": (
        {"model": "hears"},
        [["a-big", "cortex-m4"], ["b-small", "cortex-m4"]],
    ),
    "classes-for-model": (
        {"model": "hears"},
        [["cortex-m4", "262144", "1048576", "1"], ["cortex-m4", "32768", "262144", "1"]],
    ),
    "misfits": (
        {"model": "heavy", "device": "c-tiny"},
        [
            ["1", "RAM, bytes", "200000", "16384"],
            ["1", "instruction set", term("tml:isa-armv7e-m").value],
        ],
    ),
    "best-for-task": (
        {"task": "PERSON", "ram": "65536", "flash": "100000"},
        [["sees", "1", "cortex-m4", "91.5"]],
    ),
    "vulnerable-devices": (
        {},
        [["a-big", "passive", "hears", "1", "ADV-7"], ["b-small", "active", "hears", "1", "ADV-7"]],
    ),
    "provenance": (
        {"device": "a-big"},
        [["2023-11-14T22:13:20Z", "1"], ["2023-11-14T22:14:20Z", "2"]],
    ),
    "federated-rounds": (
        {"run": "r1"},
        [["0", "tinyreptile", "1970-01-01T00:00:02Z", "2", "loss", "0.5"]],
    ),
}
SELOC_ROWS = {
    "seloc-model-to-devices": ["Arduino-Nano-BLE-33_1", "Arduino-Nano-BLE-33-Tinyml-Kit_1"],
    "seloc-device-to-models": ["Person_Detection", "Visual_Alarm_Clock"],
    "seloc-benchmark": [f"Micro_Speech_Yes_No_{n}" for n in (3, 1, 4, 2)],
    "seloc-boards": [
        "Syntiant-TinyML-Board_1",
        "MS200_1",
        "SSI-Web_1",
        "adafruit_tflite_micro_kit_1",
        "Adafruit-Pybadge_1",
        "Arduino-Nano-BLE-33_1",
        "Arduino-Nano-BLE-33-Tinyml-Kit_1",
        "targetv_1",
        "npu_s7_realsense_1",
    ],
}


@pytest.mark.parametrize("name", [q.name for q in list_queries() if not q.name.startswith("seloc")])
def test_answers_are_known(name: str):
    parameters, wanted = EXPECTED[name]
    store = sample.store()
    facts = RoundFacts(
        "acme", "r1", 0, "tinyreptile", ("a-big", "b-small"), "aa", "bb", 1.0, 2.0, (("loss", 0.5),)
    )
    store.add(deployments_graph("acme"), round_triples(facts))
    rows = [
        [v.value for v in row if v is not None] for row in ask(store, find_query(name), parameters)
    ]
    assert [row[: len(w)] for row, w in zip(rows, wanted, strict=True)] == wanted


def test_pages_of_devices_follow_each_other():
    store = sample.store()
    rows = [
        r["device"].value
        for r in ask(store, find_query("fits-model"), {"model": "hears", "after": "a-big"})
    ]
    assert rows == ["b-small"]


@pytest.mark.skipif(not SELOC.is_dir(), reason="the published SeLoC-ML graph is not here")
@pytest.mark.parametrize(("name", "wanted"), SELOC_ROWS.items())
def test_queries_of_seloc_ml_answer_on_their_published_graph(name: str, wanted: list[str]):
    store = GraphStore()
    repairs = load_seloc(store, sorted(SELOC.glob("descriptions/*.ttl")))
    assert {(r.fault, r.times) for r in repairs} == {
        ("misspelt sensor", 1),
        ("training data set <None>", 3),
        ("double slash in an IRI", 46),
    }
    ontology = Path(__file__).parents[3] / "fleet" / "graph" / "ontology.ttl"
    store.load(ontology.read_bytes(), RdfFormat.TURTLE, ONTOLOGY)
    column = "name" if "name" in find_query(name).text.split("WHERE")[0] else "title"
    assert [row[column].value for row in ask(store, find_query(name), {})] == wanted


def test_our_models_and_devices_answer_their_queries():
    store = GraphStore()
    for model in sample.CATALOGUE:
        store.add(ONTOLOGY, seloc_model(model))
    store.add(ONTOLOGY, seloc_profile("acme", "a-big", sample.BIG))
    store.add(ONTOLOGY, seloc_profile("acme", "c-tiny", sample.TINY))
    given = {"ram": "144", "flash": "621"}
    rows = [r["name"].value for r in ask(store, find_query("seloc-device-to-models"), given)]
    assert rows == ["sees"]


def test_what_is_sound_is_not_mended():
    text = "sosa_extend:Magnetometer ; <https://w3id.org/x/neuralnetwork/1> <http://a//b>"
    assert mend(text) == (text, [])


def test_values_are_never_code():
    store = sample.store()
    evil = 'x" } UNION { ?d td:title ?model . BIND ("1" AS ?version) } #'
    assert list(ask(store, find_query("fits-device"), {"device": evil})) == []


def test_parameters_are_checked():
    query = find_query("fits-device")
    with pytest.raises(InvalidError, match="needs 'device'"):
        query.bound({})
    with pytest.raises(InvalidError, match="no parameter 'devise'"):
        query.bound({"devise": "x"})
    with pytest.raises(NotFoundError, match="no query") as caught:
        find_query("../secrets")
    assert "fits-device" in caught.value.hint


def test_a_query_without_comments_is_a_query():
    assert parse("mine", "SELECT * WHERE { ?s ?p ?o }").bound({}) == "SELECT * WHERE { ?s ?p ?o }"
