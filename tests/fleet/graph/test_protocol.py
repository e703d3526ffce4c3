# SPDX-License-Identifier: Apache-2.0
"""SPARQL 1.1 Protocol, Thing Descriptions and documents over HTTP, on a real store."""

from __future__ import annotations

import csv
import io
import json

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pyoxigraph import RdfFormat, parse

from fleet.errors import FleetError
from fleet.graph.http import MAX_QUERY_BYTES, graph_router
from fleet.graph.protocol import Endpoint, TimedOutError, refuse_service
from fleet.graph.vocabulary import MODELS, devices_graph
from tests.fleet.graph import sample

NAMES = "SELECT ?n WHERE { ?m a tml:Model ; schema:name ?n } ORDER BY ?n"
QUERY = {"content-type": "application/sparql-query"}


@pytest.fixture
def client() -> TestClient:
    def one(tenant: str, name: str):
        return next((d for d in sample.DEVICES if (d.tenant, d.name) == (tenant, name)), None)

    app = FastAPI()
    app.include_router(
        graph_router(sample.store(), lambda tenant: sample.DEVICES, one, "mqtts://localhost:8883")
    )
    return TestClient(app)


def names(answer) -> list[str]:
    return [row["n"]["value"] for row in answer.json()["results"]["bindings"]]


def test_three_ways_to_ask(client: TestClient):
    wanted = ["hears", "heavy", "sees"]
    assert names(client.get("/sparql", params={"query": NAMES})) == wanted
    assert names(client.post("/sparql", data={"query": NAMES})) == wanted
    assert names(client.post("/sparql", content=NAMES, headers=QUERY)) == wanted


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("application/sparql-results+xml", "application/sparql-results+xml"),
        ("text/tab-separated-values", "text/tab-separated-values"),
        ("text/html, text/csv;q=0.5, */*;q=0.1", "text/csv"),
        ("*/*", "application/sparql-results+json"),
        ("text/*", "text/csv"),
    ],
)
def test_the_caller_chooses_the_form(client: TestClient, accept: str, given: str):
    answer = client.get("/sparql", params={"query": NAMES}, headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == given
    assert "hears" in answer.text


def test_csv_is_csv(client: TestClient):
    answer = client.get("/sparql", params={"query": NAMES}, headers={"accept": "text/csv"})
    assert list(csv.reader(io.StringIO(answer.text))) == [["n"], ["hears"], ["heavy"], ["sees"]]


def test_construct_gives_triples(client: TestClient):
    query = "CONSTRUCT { ?m a tml:Model } WHERE { ?m a tml:Model }"
    answer = client.get(
        "/sparql", params={"query": query}, headers={"accept": "application/ld+json"}
    )
    assert len(list(parse(answer.content, format=RdfFormat.JSON_LD))) == 3


def test_the_data_set_can_be_chosen(client: TestClient):
    count = "SELECT (COUNT(*) AS ?n) WHERE { ?s a tml:Device }"
    for graph, wanted in ((devices_graph("acme").value, "4"), (MODELS.value, "0")):
        answer = client.get("/sparql", params={"query": count, "default-graph-uri": graph})
        assert names(answer) == [wanted]


def test_faults_are_told(client: TestClient):
    broken = client.get("/sparql", params={"query": "SELECT WHERE {"})
    assert (broken.status_code, "parse" in broken.json()["error"]) == (400, True)
    assert (
        client.post("/sparql", content="x", headers={"content-type": "text/plain"}).status_code
        == 415
    )
    assert client.post("/sparql", content=b"\xff", headers=QUERY).status_code == 400
    assert client.post("/sparql", data={"update": "DROP ALL"}).status_code == 403
    too_long = "#" * (MAX_QUERY_BYTES + 1)
    assert client.post("/sparql", content=too_long, headers=QUERY).status_code == 413
    unknown = client.get("/sparql", params={"query": NAMES}, headers={"accept": "image/png"})
    assert unknown.status_code == 400


def test_service_is_off(client: TestClient):
    fetch = "SELECT * WHERE { sErvice <http://127.0.0.1:1/> { ?s ?p ?o } }"
    answer = client.get("/sparql", params={"query": fetch})
    assert (answer.status_code, "SERVICE" in answer.json()["error"]) == (400, True)
    refuse_service('SELECT * WHERE { ?s <urn:service> "SERVICE <x>" } # SERVICE')
    with pytest.raises(FleetError):
        refuse_service("SELECT * WHERE { ?s ?p 'a' . SERVICE ?x {} }")


def test_long_queries_end_in_time():
    endpoint = Endpoint(sample.store(), timeout_s=0.2, places=1)
    slow = "SELECT (COUNT(*) AS ?n) WHERE { ?a ?b ?c . ?d ?e ?f . ?g a ?h }"
    with pytest.raises(TimedOutError, match=r"more than 0\.2 s"):
        endpoint.answer(slow)
    with pytest.raises(TimedOutError, match="taken"):
        endpoint.answer(NAMES)


def test_library_over_http(client: TestClient):
    listed = {q["name"]: q for q in client.get("/queries").json()}
    assert listed["fits-device"]["parameters"] == {"device": "name of the device"}
    rows = client.get("/queries/fits-device", params={"device": "b-small"}).json()
    assert [r["model"]["value"] for r in rows["results"]["bindings"]] == ["hears"]
    assert client.get("/queries/fits-device").status_code == 400
    assert client.get("/queries/nothing").status_code == 404


def test_thing_descriptions(client: TestClient):
    answer = client.get("/things/acme/a-big")
    assert answer.headers["content-type"] == "application/td+json"
    thing = answer.json()
    assert thing["@context"][0] == "https://www.w3.org/2022/wot/td/v1.1"
    assert (thing["title"], thing["id"]) == ("a-big", "urn:tinyml:device:acme:a-big")
    assert thing["security"][0] in thing["securityDefinitions"]
    affordances = [
        *thing["properties"].values(),
        *thing["actions"].values(),
        *thing["events"].values(),
    ]
    hrefs = {form["href"] for one in affordances for form in one["forms"]}
    assert "tinyml/v1/acme/a-big/up/report" in hrefs
    assert "tinyml/v1/acme/a-big/down/job" in hrefs
    assert len(client.get("/things/acme").json()) == len(sample.DEVICES)
    assert client.get("/things/acme/nobody").status_code == 404


def test_documents_come_back_as_they_went(client: TestClient):
    wanted = set(parse(client.get("/store").content, format=RdfFormat.TURTLE))
    for media, form in (
        ("application/ld+json", RdfFormat.JSON_LD),
        ("application/n-triples", RdfFormat.N_TRIPLES),
    ):
        document = client.get("/store", headers={"accept": media}).content
        assert set(parse(document, format=form)) == wanted
    one = client.get("/store", params={"graph": MODELS.value}).content
    assert 0 < len(list(parse(one, format=RdfFormat.TURTLE))) < len(wanted)


def test_service_description(client: TestClient):
    text = client.get("/sparql").content
    assert list(parse(text, format=RdfFormat.TURTLE, base_iri="http://localhost/"))


def test_ask(client: TestClient):
    answer = client.get("/sparql", params={"query": "ASK { ?s tml:runs ?m }"})
    assert json.loads(answer.text)["boolean"] is True
