# SPDX-License-Identifier: Apache-2.0
"""Namespaces of the graph and the IRIs of what the fleet knows."""

from __future__ import annotations

from urllib.parse import quote

from pyoxigraph import NamedNode

PREFIXES = {
    "tml": "https://w3id.org/tinyml-toolchain/ns#",
    "nnet": "https://w3id.org/tinyml-schema/neural-network-schema#",
    "s3n_extend": "https://w3id.org/tinyml-schema/neural-network-schema/s3n_extend/",
    "sosa_extend": "https://w3id.org/tinyml-schema/neural-network-schema/sosa_extend/",
    "ssn_extend": "https://w3id.org/tinyml-schema/neural-network-schema/ssn_extend/",
    "s3n": "http://w3id.org/s3n/",
    "sosa": "http://www.w3.org/ns/sosa/",
    "ssn": "http://www.w3.org/ns/ssn/",
    "ssn-system": "http://www.w3.org/ns/ssn/systems/",
    "td": "https://www.w3.org/2019/wot/td#",
    "mls": "http://www.w3.org/ns/mls#",
    "it6": "http://data.europa.eu/it6/",
    "dcat": "http://www.w3.org/ns/dcat#",
    "dct": "http://purl.org/dc/terms/",
    "spdx": "http://spdx.org/rdf/terms#",
    "prov": "http://www.w3.org/ns/prov#",
    "schema": "https://schema.org/",
    "om": "http://www.ontology-of-units-of-measure.org/resource/om-2/",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "sh": "http://www.w3.org/ns/shacl#",
    "owl": "http://www.w3.org/2002/07/owl#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
# Individuals are named by URNs: a fleet has no web address of its own until it is given one.
BASE = "urn:tinyml:"

ONTOLOGY = NamedNode(f"{BASE}graph:ontology")
HARDWARE = NamedNode(f"{BASE}graph:catalog:hardware")
MODELS = NamedNode(f"{BASE}graph:catalog:models")


def term(curie: str) -> NamedNode:
    """The IRI of ``prefix:name``. Raises KeyError for an unknown prefix."""
    prefix, name = curie.split(":", 1)
    return NamedNode(PREFIXES[prefix] + name)


def individual(*parts: str) -> NamedNode:
    """The IRI of something the fleet knows, such as ``("device", tenant, name)``."""
    return NamedNode(BASE + ":".join(quote(part, safe="-._~") for part in parts))


def devices_graph(tenant: str) -> NamedNode:
    """The named graph of a tenant's devices."""
    return individual("graph", "tenant", tenant, "devices")


def deployments_graph(tenant: str) -> NamedNode:
    """The named graph of a tenant's deployments and federated rounds."""
    return individual("graph", "tenant", tenant, "deployments")


SENSOR_KINDS = ("accelerometer", "camera", "gyroscope", "magnetometer", "microphone", "thermometer")


def sensor(kind: str) -> NamedNode:
    """The class of a kind of sensor: SeLoC-ML's where it has one, else ours."""
    known = kind in SENSOR_KINDS
    return term(f"sosa_extend:{kind.capitalize()}" if known else f"tml:sensor-{quote(kind)}")


def operator(name: str) -> NamedNode:
    """The individual of an operator such as ``conv2d``."""
    return term(f"tml:operator-{quote(name)}")


def isa(name: str) -> NamedNode:
    """The individual of an instruction set such as ``armv7e-m``."""
    return term(f"tml:isa-{quote(name)}")
