# SPDX-License-Identifier: Apache-2.0
"""Exchange with SeLoC-ML (ISWC 2022): reads its published graph, mending what is broken in it, and
spells our models and profiles in its vocabulary so that its queries find them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyoxigraph import BlankNode, Literal, NamedNode, RdfFormat, Triple

from fleet.graph.facts import ModelFacts, Profile
from fleet.graph.store import GraphStore
from fleet.graph.triples import device_iri, model_iri
from fleet.graph.vocabulary import individual, sensor, term

_TYPE = term("rdf:type")
SELOC = individual("graph", "seloc-ml")
# What strict parsers refuse or a query misses, and its cure.
_REPAIRS = (
    (re.compile(r"sosa_extend::(\w+)"), r"sosa_extend:\1", "misspelt sensor"),
    (re.compile(r"[ \t]*nnet:trainingDataset <None> ;\n"), "", "training data set <None>"),
    (re.compile(r"(neural-network-schema/neuralnetwork)//"), r"\1/", "double slash in an IRI"),
)


@dataclass(frozen=True)
class Repair:
    """A fault that was mended on import."""

    file: str
    fault: str
    times: int


def mend(text: str, file: str = "") -> tuple[str, list[Repair]]:
    """A document of SeLoC-ML as strict parsers take it, and what was mended."""
    repairs = []
    for pattern, cure, fault in _REPAIRS:
        text, times = pattern.subn(cure, text)
        if times:
            repairs.append(Repair(file, fault, times))
    return text, repairs


def load_seloc(store: GraphStore, files: Iterable[Path]) -> list[Repair]:
    """Reads Turtle files of the published graph into one named graph.

    Returns:
        What was mended.

    Raises:
        FleetError: a file still does not parse.
    """
    found = []
    for path in files:
        text, repairs = mend(path.read_text(encoding="utf-8"), path.name)
        found += repairs
        store.load(text.encode(), RdfFormat.TURTLE, SELOC, base=f"urn:seloc-ml:{path.stem}")
    return found


def seloc_profile(tenant: str, name: str, profile: Profile) -> Iterator[Triple]:
    """A device in SeLoC-ML's words: subsystems, and free memory in its kilobytes (1000 bytes)."""
    me, board, capability = device_iri(tenant, name), BlankNode(), BlankNode()
    yield Triple(me, _TYPE, term("s3n:SmartSensor"))
    yield Triple(me, term("td:title"), Literal(name))
    for kind in sorted(profile.sensors):
        part = BlankNode()
        yield Triple(me, term("ssn:hasSubSystem"), part)
        yield Triple(part, _TYPE, sensor(kind))
    yield Triple(me, term("ssn:hasSubSystem"), board)
    yield Triple(board, _TYPE, term("s3n:MicroController"))
    yield Triple(board, term("s3n:hasSystemCapability"), capability)
    for kind, size in (("Flash", profile.flash), ("RAM", profile.ram)):
        memory = BlankNode()
        yield Triple(capability, term("ssn-system:hasSystemProperty"), memory)
        yield Triple(memory, _TYPE, term(f"s3n_extend:{kind}"))
        yield Triple(memory, term("schema:value"), Literal(size / 1000))
        yield Triple(memory, term("schema:unitCode"), term("om:kilobyte"))


def seloc_model(model: ModelFacts) -> Iterator[Triple]:
    """A model in SeLoC-ML's words."""
    me = model_iri(model.tenant, model.digest)
    entry = individual("input", model.tenant, model.digest)
    yield Triple(me, _TYPE, term("nnet:NeuralNetwork"))
    yield Triple(me, term("schema:identifier"), Literal(model.digest))
    yield Triple(me, term("schema:name"), Literal(model.name))
    yield Triple(me, term("schema:description"), Literal(model.description or model.name))
    yield Triple(me, term("nnet:hasMultiplyAccumulateOps"), Literal(model.macs))
    yield Triple(me, term("ssn:hasInput"), entry)
    yield Triple(entry, _TYPE, term("nnet:NetworkInput"))
    if model.training_data is not None:
        yield Triple(me, term("nnet:trainingDataset"), Literal(model.training_data))
    if model.accuracy is not None:
        metric = BlankNode()
        yield Triple(me, term("nnet:hasMetric"), metric)
        yield Triple(metric, _TYPE, term(f"nnet:{model.accuracy[0]}"))
        yield Triple(metric, term("nnet:hasMetricValue"), Literal(model.accuracy[1]))
    for kind in sorted(model.sensors):
        part = BlankNode()
        yield Triple(part, _TYPE, sensor(kind))
        yield Triple(part, term("ssn_extend:provideInput"), entry)
    for memory, size in (("Flash", model.flash), ("RAM", model.ram)):
        feature, condition = BlankNode(), BlankNode()
        yield Triple(me, term("s3n:hasProcedureFeature"), feature)
        yield Triple(feature, term("ssn-system:inCondition"), condition)
        yield Triple(condition, _TYPE, term("s3n:Memory"))
        yield Triple(condition, _TYPE, term(f"s3n_extend:{memory}"))
        yield Triple(condition, term("schema:minValue"), Literal(size / 1000))
        yield Triple(condition, term("schema:unitCode"), term("om:kilobyte"))


def is_seloc(graph: NamedNode) -> bool:
    """Whether a named graph came from SeLoC-ML; a rebuild from SQL leaves it alone."""
    return graph == SELOC
